#!/usr/bin/env python3
"""Golden values of ggml's block formats from the `gguf` package.

    python golden_dequant.py --out ../../internal/kernel/testdata/ggml

For each format one file, NAME.bin: random blocks, then the float32 that
gguf.quants.dequantize gives for them, little-endian. The blocks are random bytes;
where the binary16 scale of one would be NaN or infinite its exponent is cleared, and
so some scales are subnormal or zero. The first blocks of MXFP4 have its least exponents,
subnormal in float32, and its largest finite one.
"""

import argparse
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize

# Offsets of the binary16 numbers in a block.
SCALES = {
    "F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0],
}


def blocks(name: str, weights: int, rng: np.random.Generator) -> np.ndarray:
    """Random blocks of a format that hold at least that many weights."""
    per_block, size = GGML_QUANT_SIZES[Type[name]]
    raw = rng.integers(0, 256, (-(-weights // per_block), size), dtype=np.uint8)
    for at in SCALES.get(name, []):
        bad = (raw[:, at + 1] & 0x7C) == 0x7C
        raw[bad, at + 1] &= 0x83
    if name == "MXFP4":
        raw[:, 0] %= 253
        raw[:4, 0] = [0, 1, 2, 252]
    if name in ("BF16", "F32"):  # the highest bit of the exponent off: finite
        raw[:, size - 1] &= 0xBF
    return raw


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--out", required=True, type=pathlib.Path)
    args.add_argument("--weights", type=int, default=768, help="weights of each format")
    args.add_argument("--seed", type=int, default=1)
    opt = args.parse_args()
    opt.out.mkdir(parents=True, exist_ok=True)
    for name in ["F32", "BF16", "MXFP4", *SCALES]:
        raw = blocks(name, opt.weights, np.random.default_rng([opt.seed, Type[name].value]))
        want = dequantize(raw.reshape(-1), Type[name]).astype("<f4")
        assert np.isfinite(want).all(), name
        (opt.out / f"{name}.bin").write_bytes(raw.tobytes() + want.tobytes())


if __name__ == "__main__":
    main()
