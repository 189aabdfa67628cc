#!/usr/bin/env python3
"""Opens Hugging Face folders that paretopress wrote in transformers and compares tokens and NLL.

    mkdir /tmp/out
    PARETOPRESS_HF_OUT=/tmp/out go test ../../export -run TestWriteForPeers   # from this folder
    python check_hf.py /tmp/out

The folder holds models and cases.json: for each a text, its tokens and the mean negative
log-likelihood, in nats a token, that the candidate has in `engine`. AutoTokenizer must give the
tokens and AutoModelForCausalLM, computing in float32, the NLL: within 1e-4 of it where the weights
are those that were evaluated. Where the runtime rounds activations to 8 bits (w8a8), which is not
evaluated, 3e-2 is allowed. Needs compressed-tensors for the models that are packed.

Zeros of groups need compressed-tensors 0.15 to 0.17: 0.18 to 0.20 leave them unpacked in the model
that they prepare on the meta device, so that transformers 5.23 finds them of another shape than the
package packs them to. Models without zeros load with each of these.
"""

import argparse
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@torch.no_grad()
def nll(model, window):
    logits = model(torch.tensor([window])).logits[0, :-1].double()
    return -torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(window[1:])[:, None]).mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    failed = 0
    for case in json.loads((args.out / "cases.json").read_text()):
        if args.only not in case["folder"]:
            continue
        folder = args.out / case["folder"]
        tokens = AutoTokenizer.from_pretrained(folder)(case["text"], add_special_tokens=False)["input_ids"]
        same = tokens[: len(case["tokens"])] == case["tokens"]
        tolerance = args.tolerance if case["exact"] else 3e-2
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        got = nll(model.eval(), case["tokens"])
        # Quantization keeps names of its own out of the way; what is left is a fault.
        lost = [k for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for k in info[kind]]
        relative = abs(got - case["nll"]) / case["nll"]
        good = same and not lost and relative <= tolerance
        failed += not good
        print(
            f"{'ok  ' if good else 'FAIL'} {case['folder']}: nll {got:.6f}, evaluated {case['nll']:.6f}, "
            f"relative {relative:.1e}, tokens {'equal' if same else 'DIFFER'}{', keys ' + str(lost[:4]) if lost else ''}",
            flush=True,
        )
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
