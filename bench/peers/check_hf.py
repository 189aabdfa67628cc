#!/usr/bin/env python3
"""Opens Hugging Face folders that paretopress wrote in transformers and compares tokens and NLL.

    mkdir /tmp/out
    PARETOPRESS_HF_OUT=/tmp/out go test ../../export -run TestWriteForPeers   # from this folder
    python check_hf.py /tmp/out

The folder holds models and cases.json: for each a text, its tokens and the mean negative
log-likelihood, in nats a token, that the candidate has in `engine`. AutoTokenizer must give the
tokens and AutoModelForCausalLM, computing in float32, the NLL: within 1e-4 of it where the weights
are those that were evaluated, which those of the second folder of each case, in F32, always are.
Where values had to be rounded to 16 bits 1e-3 is allowed, and 3e-2 where the runtime rounds
activations to 8 bits (w8a8), which is not evaluated. Packed models need compressed-tensors.

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


def check(case, folder, tolerance):
    tokens = AutoTokenizer.from_pretrained(folder)(case["text"], add_special_tokens=False)["input_ids"]
    same = tokens[: len(case["tokens"])] == case["tokens"]
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    lost = [k for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for k in info[kind]]
    got = nll(model.eval(), case["tokens"])
    relative = abs(got - case["nll"]) / case["nll"]
    good = same and not lost and relative <= tolerance
    print(
        f"{'ok  ' if good else 'FAIL'} {folder.name}: nll {got:.6f}, evaluated {case['nll']:.6f}, "
        f"relative {relative:.1e} of {tolerance:.0e}, tokens {'equal' if same else 'DIFFER'}"
        f"{', keys ' + str(lost[:4]) if lost else ''}",
        flush=True,
    )
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    good = True
    for case in json.loads((args.out / "cases.json").read_text()):
        if args.only in case["folder"]:
            good &= check(case, args.out / case["folder"], case["tolerance"])
            good &= check(case, args.out / case["dense"], 1e-4)
    sys.exit(not good)


if __name__ == "__main__":
    main()
