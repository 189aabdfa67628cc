#!/usr/bin/env python3
"""llama.cpp's presets of a model, made by its own quantizer.

    .venv-llama/bin/python bench/peers/llama_presets.py --model SmolLM2-135M-Instruct.Q4_1.gguf --imatrix imatrix.gguf --out presets

Writes presets/f32.gguf and presets/f16.gguf, the model decoded, and from the first of them presets/PRESET.gguf for each of --presets,
with the importance data of --imatrix (make_imatrix.py) or without any. A model that is in 16 or 32 bits already does as well. --pure gives every tensor
the preset's own type, as far as its shape admits it. Files that are there are left alone.
"""

import argparse
import os

import imatrix
import llama

PRESETS = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_NL", "Q3_K_M", "Q2_K"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the .gguf file")
    parser.add_argument("--imatrix", help="importance data, a .gguf file")
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--pure", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", required=True, help="folder")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    importance = imatrix.read(args.imatrix) if args.imatrix else None

    def make(source, name, ftype, **options):
        path = os.path.join(args.out, name + ".gguf")
        if not os.path.exists(path):
            llama.quantize(source, path + ".part", ftype, args.threads, **options)
            os.rename(path + ".part", path)
        print(f"{path}: {os.path.getsize(path):,} bytes", flush=True)
        return path

    exact = make(args.model, "f32", "F32")
    make(exact, "f16", "F16")
    for preset in args.presets:
        make(exact, preset, preset, importance=importance, pure=args.pure)


if __name__ == "__main__":
    main()
