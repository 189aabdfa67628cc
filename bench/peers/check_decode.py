#!/usr/bin/env python3
"""Checks that engine decodes every tensor of GGUF files as the `gguf` package does, bit for bit.

    .venv/bin/python bench/peers/check_decode.py --files SmolLM2-135M-Instruct.Q4_1.gguf presets/*.gguf

Writes the digests of the decoded tensors to a temporary file and runs the test of package engine that compares them. Rows of query and
key projections of architecture llama are brought back from rotary pairs to Hugging Face's order, as its converter reordered them.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import gguf
from gguf.quants import dequantize

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def digests(path):
    """{tensor: SHA-256 of its float32} of a file."""
    reader = gguf.GGUFReader(path)
    arch = reader.get_field("general.architecture").contents()
    key = lambda name: reader.get_field(f"{arch}.{name}").contents()
    head = key("rope.dimension_count") if arch == "llama" else 0
    found = {}
    for t in reader.tensors:
        w = dequantize(t.data, t.tensor_type).reshape(-1, int(t.shape[0])).astype("<f4")
        if head and t.name.endswith(("attn_q.weight", "attn_k.weight")):
            w = w.reshape(-1, head // 2, 2, w.shape[1]).swapaxes(1, 2)
        found[t.name] = hashlib.sha256(w.tobytes()).hexdigest()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", nargs="+", required=True, help=".gguf files")
    parser.add_argument("--go", default="go")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        listed = os.path.join(folder, "decoded.json")
        with open(listed, "w", encoding="utf-8") as f:
            json.dump({os.path.abspath(path): digests(path) for path in args.files}, f)
        return subprocess.run([args.go, "test", "./engine", "-count=1", "-run", "TestDecodesLikeGGUF"], cwd=ROOT,
                              env=dict(os.environ, PARETOPRESS_DECODED=listed)).returncode


if __name__ == "__main__":
    sys.exit(main())
