#!/usr/bin/env python3
"""Golden tensors of the `compressed-tensors` package.

    python golden_compressed_tensors.py --out ../../engine/testdata/compressed

One file, cases.safetensors. For each case random codes and what the package packs them to,
as CASE.weight_packed or CASE.weight, CASE.weight_scale and so on; beside them what went in:

    CASE.codes   U8, the integers plus 2^(bits-1), or the bits of FP8 numbers
    CASE.zeros   U8, the zeros plus 2^(bits-1); in asymmetric cases
    CASE.dense   F32, what the package unpacks them to

The package keeps the type of the scales for the weights, so it is given them in F32; stored
they are F16, in the FP8 cases BF16.
"""

import argparse
import pathlib

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file

# rows, columns, bits, group (None: the row), symmetric. Rows and columns fill words in some
# cases and not in others.
PACKED = {
    "g4sym": (8, 64, 4, 32, True),
    "g4": (11, 64, 4, 32, False),
    "g4odd": (13, 60, 4, 20, False),  # the package 0.20 does not unpack zeros of up to 8 rows
    "c4": (9, 36, 4, None, False),
    "c4sym": (3, 13, 4, None, True),
    "g8sym": (7, 96, 8, 32, True),
    "g8": (6, 64, 8, 64, False),
    "g8x2": (10, 64, 8, 16, False),
    "c8sym": (4, 27, 8, None, True),
}


def scheme(bits, kind, symmetric, group, form):
    args = QuantizationArgs(
        num_bits=bits, type=kind, symmetric=symmetric, group_size=group, strategy="group" if group else "channel"
    )
    return QuantizationScheme(targets=["Linear"], weights=args, format=form)


def unpack(form, tensors, how):
    given = {k: v.float() if k == "weight_scale" else v for k, v in tensors.items()}
    dense = BaseCompressor.get_value_from_registry(form).decompress(given, how)["weight"]
    assert dense.dtype == torch.float32 and torch.isfinite(dense).all()
    return dense


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    out = {}

    def keep(case, tensors, form, how, codes, zeros=None):
        out.update({f"{case}.{k}": v.contiguous() for k, v in tensors.items()})
        out[f"{case}.codes"] = codes
        if zeros is not None:
            out[f"{case}.zeros"] = zeros
        out[f"{case}.dense"] = unpack(form, tensors, how)

    for case, (rows, cols, bits, group, symmetric) in PACKED.items():
        groups, middle = cols // group if group else 1, 2 ** (bits - 1)
        codes = torch.randint(0, 2**bits, (rows, cols))
        zeros = torch.randint(0, 2**bits, (rows, groups))
        tensors = {
            "weight_packed": pack_to_int32((codes - middle).to(torch.int8), bits),
            "weight_scale": (torch.rand(rows, groups) / 50 + 1e-3).half(),
            "weight_shape": torch.tensor([rows, cols]),
        }
        if not symmetric:
            tensors["weight_zero_point"] = pack_to_int32((zeros - middle).to(torch.int8), bits, packed_dim=0)
        how = scheme(bits, "int", symmetric, group, "pack-quantized")
        keep(case, tensors, "pack-quantized", how, codes.byte(), None if symmetric else zeros.byte())

    rows, cols = 5, 21
    codes = torch.randint(0, 256, (rows, cols))
    tensors = {"weight": (codes - 128).to(torch.int8), "weight_scale": (torch.rand(rows, 1) / 50).half()}
    keep("int8", tensors, "int-quantized", scheme(8, "int", True, None, "int-quantized"), codes.byte())

    codes = torch.randint(0, 256, (13, cols)).byte()
    codes[(codes & 0x7F) == 0x7F] = 0x7E  # NaN
    codes[:, :4] = torch.tensor([0x00, 0x01, 0x7E, 0xFE])
    tensors = {"weight": codes.clone().view(torch.float8_e4m3fn), "weight_scale": (torch.rand(13, 1) / 5000).bfloat16()}
    keep("fp8", tensors, "float-quantized", scheme(8, "float", True, None, "float-quantized"), codes)

    args.out.mkdir(parents=True, exist_ok=True)
    save_file(out, args.out / "cases.safetensors")


if __name__ == "__main__":
    main()
