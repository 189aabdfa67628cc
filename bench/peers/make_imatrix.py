#!/usr/bin/env python3
"""Importance data of a model for llama.cpp's quantizer, from Hugging Face transformers.

    python make_imatrix.py --model SmolLM2-135M-Instruct.Q4_1.gguf --text Isaac.Newton-Opticks.txt --out imatrix.gguf

Runs the first calibration windows of the text (windows.py) through the model in float32 and sums the squares of the
inputs of every linear module, column by column. They are written in the GGUF form of llama.cpp's tool `imatrix` (imatrix.py). The
output head is included, as `imatrix --process-output` does it, under the name of the embedding where the two are one tensor.
"""

import argparse
import os

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

import imatrix
import windows

MODULES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def tensor_name(module, tied):
    """The name in a GGUF file of the weight of a linear module."""
    if module == "lm_head":
        return "token_embd.weight" if tied else "output.weight"
    _, _, block, rest = module.split(".", 3)
    return f"blk.{block}.{MODULES[rest]}.weight"


@torch.inference_mode()
def sums_of_squares(model, samples):
    """{tensor: sums over all tokens of the squares of the inputs}, float64."""
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    sums = {}

    def hook(name):
        def add(_, inputs):
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
            sums[name] = sums.get(name, 0) + (x * x).sum(dim=0)

        return add

    hooks = [m.register_forward_pre_hook(hook(tensor_name(name, tied)))
             for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    for i, ids in enumerate(samples):
        model(torch.tensor([ids]), use_cache=False)
        print(f"\r{i + 1}/{len(samples)} windows", end="", flush=True)
    print()
    for h in hooks:
        h.remove()
    return sums


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a .gguf file or a Hugging Face folder")
    windows.add_arguments(parser, "calibration", 64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(args.threads)

    folder, source = args.model, {}
    if os.path.isfile(args.model):
        folder, file = os.path.split(os.path.abspath(args.model))
        source = {"gguf_file": file}
    tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    encode = lambda text: tokenizer(text.decode("utf-8", errors="replace"), add_special_tokens=False)["input_ids"]
    _, samples = windows.chosen(args, encode)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **source).eval()
    sums = sums_of_squares(model, samples)
    imatrix.write(args.out, {name: s.numpy() for name, s in sums.items()}, len(samples), len(samples[0]), os.path.basename(args.text or args.ids))
    print(f"{args.out}: {len(sums)} tensors, {sum(map(len, samples))} tokens")


if __name__ == "__main__":
    main()
