#!/usr/bin/env python3
"""Rounding to ggml's types beside llama.cpp's own quantizer, tensor by tensor, with the same importance data.

    go test -c -o quant.test ../../quant
    python quantizer_errors.py --base f32.gguf --imatrix imatrix.gguf --quant ./quant.test [--rows 64] [--equal] [--out errors.json]

Every matrix that has importance data (or --rows rows of it, evenly spaced) is rounded to every type that its rows admit, by `ggml_quantize_chunk` of
llama.cpp and by package quant, with importances s (--equal: 1 for all, and none for llama.cpp). The error is Σ s_j·(w_ij − ŵ_ij)², decoded by the `gguf`
package for both; the table shows ours over theirs: the least, the median and the largest of all tensors.
"""

import argparse
import ctypes
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

import gobench
import gguf
import numpy as np
from gguf.quants import dequantize
from llama_cpp import _ggml

import imatrix

TYPES = {t.name.lower().replace("_k", "_K"): t for t in (
    gguf.GGMLQuantizationType[n] for n in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4"))}


def quantizer():
    """llama.cpp's ggml_quantize_chunk."""
    for lib in ("base", ""):
        path = next(iter(pathlib.Path(_ggml.libggml_base_path).glob(f"libggml{'-' + lib if lib else ''}.so")), None)
        if path and hasattr(ctypes.CDLL(str(path)), "ggml_quantize_chunk"):
            f = ctypes.CDLL(str(path)).ggml_quantize_chunk
            f.restype = ctypes.c_size_t
            f.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
            return f
    raise SystemExit("llama-cpp-python has no ggml_quantize_chunk")


def theirs(f, kind, w, s):
    rows, cols = w.shape
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros((rows, cols // block * size), np.uint8)
    f(int(kind), w.ctypes.data, out.ctypes.data, 0, rows, cols, s.ctypes.data if s is not None else None)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="the model in 16 or 32 bits, a .gguf file")
    parser.add_argument("--imatrix", required=True, help="importance data, a .gguf file")
    parser.add_argument("--quant", required=True, help="the tests of package quant, compiled")
    parser.add_argument("--rows", type=int, help="of each matrix (default: all)")
    parser.add_argument("--equal", action="store_true", help="columns weigh the same")
    parser.add_argument("--out", help="JSON file")
    args = parser.parse_args()
    importance, f, ratios = imatrix.read(args.imatrix), quantizer(), {name: {} for name in TYPES}
    with tempfile.TemporaryDirectory() as tmp:
        folder, list_, kept = pathlib.Path(tmp), [], {}
        for t in gguf.GGUFReader(args.base).tensors:
            if t.name not in importance:
                continue
            w = dequantize(t.data, t.tensor_type).reshape(-1, int(t.shape[0])).astype(np.float32)
            if args.rows and args.rows < len(w):
                w = w[np.linspace(0, len(w) - 1, args.rows).astype(int)]
            s = np.ones(w.shape[1], np.float32) if args.equal else np.ascontiguousarray(importance[t.name], np.float32)
            w = np.ascontiguousarray(w)
            w.tofile(folder / f"{t.name}.f32")
            s.tofile(folder / f"{t.name}.importance")
            list_.append({"name": t.name, "rows": w.shape[0], "cols": w.shape[1]})
            kept[t.name] = w, s
        (folder / "list.json").write_text(json.dumps(list_))
        subprocess.run([os.path.abspath(args.quant), "-test.run", "^TestPeerBlocks$", "-test.timeout", "0"], check=True, stdout=subprocess.DEVNULL,
                       env=os.environ | {"PARETOPRESS_QUANTIZER_DIR": tmp})
        for name, (w, s) in kept.items():
            for kind_name, kind in TYPES.items():
                if w.shape[1] % gguf.GGML_QUANT_SIZES[kind][0]:
                    continue
                a = np.fromfile(folder / f"{name}.{kind_name}", np.uint8).reshape(len(w), -1)
                b = theirs(f, kind, w, None if args.equal else s)
                errors = [float(((w - dequantize(x, kind)).astype(np.float64) ** 2).sum(axis=0) @ s.astype(np.float64)) for x in (a, b)]
                ratios[kind_name][name] = errors
    rows = []
    for kind, errors in ratios.items():
        r = [a / b if b else (1.0 if a == 0 else float("inf")) for a, b in errors.values()]
        total = [sum(e[i] for e in errors.values()) for i in (0, 1)]
        rows.append([kind, str(len(r)), f"{min(r):.3f}", f"{statistics.median(r):.3f}", f"{max(r):.3f}", f"{total[0] / total[1]:.3f}" if total[1] else "both 0"])
    gobench.markdown(["type", "matrices", "least", "median", "largest", "of the sums"], rows)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(ratios, indent=1) + "\n")


if __name__ == "__main__":
    main()
