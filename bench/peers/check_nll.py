#!/usr/bin/env python3
"""Checks that GGUF files have the same NLL here, in llama.cpp and, the first of them, in Hugging Face transformers.

    .venv/bin/python bench/peers/check_nll.py --paretopress bin/paretopress --llama .venv-llama/bin/python \
        --text Isaac.Newton-Opticks.txt --files SmolLM2-135M-Instruct.Q4_1.gguf presets/*.gguf

On the text's first windows. llama.cpp multiplies quantized weights with activations in 8 bits, so that 0.5 % are allowed; transformers
computes in float32 and may differ by 1e-4.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

import windows

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA, TRANSFORMERS = 5e-3, 1e-4


def ours(paretopress, path, text, count):
    """The NLL of the text's first windows by `paretopress eval`."""
    command = [paretopress, "eval", "--model", path, "--text", text, "--max-seqs", str(count), "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["nll"]


def llama(python, files, ids, count, threads):
    """{file: NLL} of the same windows by llama.cpp."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "kl.json")
        subprocess.run([python, os.path.join(HERE, "llama_kl.py"), "--base", files[0], "--ids", ids, "--part", "all",
                        "--windows", str(count), "--threads", str(threads), "--out", out, *files[1:]], stdout=subprocess.DEVNULL, check=True)
        with open(out, encoding="utf-8") as f:
            return {path: r["nll"]["mean"] for path, r in json.load(f)["results"].items()}


@torch.inference_mode()
def transformers(path, samples):
    """The NLL of windows by transformers in float32."""
    folder, file = os.path.split(os.path.abspath(path))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    losses = [torch.nn.functional.cross_entropy(model(x).logits[0, :-1].double(), x[0, 1:]) for x in (torch.tensor([ids]) for ids in samples)]
    return torch.stack(losses).mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", nargs="+", required=True, help=".gguf files with the same tokenizer")
    parser.add_argument("--text", required=True)
    parser.add_argument("--windows", type=int, default=8, help="of 512 tokens, from the text's start")
    parser.add_argument("--paretopress", required=True, help="the binary")
    parser.add_argument("--llama", required=True, help="Python with llama-cpp-python")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(args.threads)

    ids = windows.tokens(args.paretopress, args.files[0], args.text)
    samples = [ids[i * windows.SEQ_LEN : (i + 1) * windows.SEQ_LEN] for i in range(args.windows)]
    failed = False

    def compare(path, runtime, theirs, mine, most):
        nonlocal failed
        off = abs(theirs - mine) / mine
        failed |= not off <= most
        print(f"{'ok  ' if off <= most else 'FAIL'} {os.path.basename(path)}: nll {mine:.6f}, in {runtime} {theirs:.6f}, {off:.1e} apart", flush=True)

    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump({"ids": ids}, f)
        f.flush()
        theirs = llama(args.llama, args.files, f.name, args.windows, args.threads)
    mine = {path: ours(args.paretopress, path, args.text, args.windows) for path in args.files}
    for path in args.files:
        compare(path, "llama.cpp", theirs[path], mine[path], LLAMA)
    compare(args.files[0], "transformers", transformers(args.files[0], samples), mine[args.files[0]], TRANSFORMERS)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
