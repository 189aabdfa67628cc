#!/usr/bin/env python3
"""What GGUF files of a model are made of, and how far their weights are from the model's.

    python gguf_error.py --base f32.gguf --imatrix imatrix.gguf --out errors.json Q8_0.gguf Q4_K_M.gguf

For each file a table of ggml's types with the number of matrices and their bytes, and the weighted error: the sum over rows i and
columns j of s_j·(w_ij − ŵ_ij)², s the mean squares of the inputs (make_imatrix.py), which is the expected squared error of a tensor's
outputs if inputs do not correlate, as a share of the same sum of w_ij². Summed over all matrices that have importance
data, and for each in the JSON file. Decoded by the `gguf` package.
"""

import argparse
import collections
import json
import os

import gobench
import gguf
import numpy as np
from gguf.quants import dequantize

import imatrix


def decoded(tensor):
    """A tensor's weights in float32, rows by columns."""
    return dequantize(tensor.data, tensor.tensor_type).reshape(-1, int(tensor.shape[0]))


def matrices(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors if len(t.shape) > 1}


def error(base, other, importance):
    """The weighted error of a matrix and the weighted sum of its squares."""
    w, v, s = decoded(base).astype(np.float64), decoded(other), importance.astype(np.float64)
    return float(((w - v) ** 2).sum(axis=0) @ s), float((w * w).sum(axis=0) @ s)


def measure(path, base, importance):
    """A file's bytes, its types and its errors."""
    types, tensors = collections.defaultdict(lambda: [0, 0]), {}
    found = matrices(path)
    if found.keys() != base.keys():
        raise SystemExit(f"{path}: not the base's tensors: {sorted(found.keys() ^ base.keys())[:3]}")
    for name, tensor in found.items():
        kind = tensor.tensor_type.name
        types[kind][0] += 1
        types[kind][1] += int(tensor.n_bytes)
        tensors[name] = {"type": kind, "bytes": int(tensor.n_bytes)}
        if name in importance:
            tensors[name]["error"], tensors[name]["norm"] = error(base[name], tensor, importance[name])
    weighted = [t for t in tensors.values() if "error" in t]
    return {
        "bytes": os.path.getsize(path),
        "types": {kind: {"matrices": n, "bytes": size} for kind, (n, size) in sorted(types.items())},
        "error": sum(t["error"] for t in weighted) / sum(t["norm"] for t in weighted),
        "tensors": tensors,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help=".gguf files")
    parser.add_argument("--base", required=True, help="the model in 16 or 32 bits, a .gguf file")
    parser.add_argument("--imatrix", required=True, help="importance data, a .gguf file")
    parser.add_argument("--out", help="JSON file")
    args = parser.parse_args()
    base, importance = matrices(args.base), imatrix.read(args.imatrix)
    results = {path: measure(path, base, importance) for path in args.files}
    rows = []
    for path, r in results.items():
        types = ", ".join(f"{kind} {t['matrices']} ({t['bytes'] / 1e6:.1f} MB)" for kind, t in r["types"].items())
        rows.append([os.path.basename(path), f"{r['bytes']:,}", types, f"{r['error']:.3e}"])
    gobench.markdown(["file", "bytes", "matrices", "weighted error"], rows)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump({"base": args.base, "imatrix": args.imatrix, "files": results}, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
