#!/usr/bin/env python3
"""Times matrix products on one thread, PyTorch beside the kernels.

    go test -c -o /tmp/kernel.test ./internal/kernel
    python bench/peers/time_matmul.py --kernel /tmp/kernel.test

A product is C[M,N] = A[M,K]·W[N,K]ᵀ in float32, or in bfloat16 with float32 accumulation, on the
shapes of SmolLM2-135M and two of an 8B model. PyTorch computes it in two ways: torch.nn.functional.linear,
and with W reordered beforehand (MKL's packed weights for float32, oneDNN's for bfloat16), as Inductor has
it for frozen weights. Its C is float32 and bfloat16, ours float32 in both.

The head (N=49152): our callers never hold a row of logits, so its columns go into a tile that stays in
cache. PyTorch computes it whole and also in tiles of as many columns; the faster counts.

Ours are BenchmarkProduct of internal/kernel's test binary, with the variant that PARETOPRESS_KERNEL
names. For each shape rounds alternate between all; the fastest product of each counts.
"""

import argparse
import math
import os
import time

import torch
import torch.nn.functional as F

import gobench

SHAPES = [(576, 576), (192, 576), (1536, 576), (576, 1536), (49152, 576), (4096, 4096), (14336, 4096)]
TILE = 2048
SECONDS = 0.3  # of one round of one way


def linear(weight, rows):
    return lambda a: F.linear(a, weight)


def prepacked(weight, rows):
    """A product with a weight that was reordered for this number of rows of A."""
    if weight.dtype == torch.float32:
        packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
        return lambda a: torch.ops.mkl._mkl_linear(a, packed, weight, None, rows)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return lambda a: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")


def tiled(way):
    """The same over tiles of the weight's rows, each result dropped."""

    def make(weight, rows):
        tiles = [way(w.contiguous(), rows) for w in weight.split(TILE)]

        def product(a):
            for tile in tiles:
                tile(a)

        return product

    return make


def gflops(product, a, flop):
    """GFLOP/s of the fastest product in about SECONDS."""
    best, end = math.inf, time.perf_counter() + SECONDS
    while best == math.inf or time.perf_counter() < end:
        start = time.perf_counter()
        product(a)
        best = min(best, time.perf_counter() - start)
    return flop / best / 1e9


@torch.inference_mode()
def measure(args, dtype, m, n, k):
    """GFLOP/s of PyTorch, PyTorch with reordered weights and ours, and the name of our variant."""
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(m, k, generator=generator).to(dtype)
    weight = torch.randn(n, k, generator=generator).to(dtype)
    ways = {name: [way(weight, m)] for name, way in (("linear", linear), ("prepacked", prepacked))}
    if n == 49152:
        for name, way in (("linear", linear), ("prepacked", prepacked)):
            ways[name].append(tiled(way)(weight, m))
    flop = 2 * m * n * k
    best, variant = {"linear": 0.0, "prepacked": 0.0, "ours": 0.0}, ""
    for products in ways.values():
        for product in products:
            product(a)  # warm up
    pattern = f"^BenchmarkProduct$/^{str(dtype).removeprefix('torch.')}$/.*/^{m}x{n}x{k}$"
    times = max(3, int(SECONDS * 100e9 / flop))
    for _ in range(args.rounds):
        for name, products in ways.items():
            best[name] = max(best[name], *(gflops(product, a, flop) for product in products))
        for name, values in gobench.run(args.kernel, pattern, 1, f"{times}x").items():
            variant = name.split("/")[2]
            best["ours"] = max(best["ours"], values["best-GFLOP/s"])
    return best["linear"], best["prepacked"], best["ours"], variant


def mean(ratios):
    return math.exp(sum(math.log(r) for r in ratios) / len(ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", required=True, help="test binary of internal/kernel")
    parser.add_argument("--types", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rows", nargs="+", type=int, default=[512, 2048], help="M")
    parser.add_argument("--shapes", nargs="+", default=[f"{n}x{k}" for n, k in SHAPES], help="NxK, of those above")
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("GOGC", "off")  # one thread is one thread

    for name in args.types:
        rows, ratios = [], []
        for m in args.rows:
            for n, k in (map(int, shape.split("x")) for shape in args.shapes):
                plain, packed, ours, variant = measure(args, getattr(torch, name), m, n, k)
                ratios.append((ours / plain, ours / packed, f"{m}x{n}x{k}"))
                print(f"{name} {m}x{n}x{k} {variant}: linear {plain:.0f}, prepacked {packed:.0f}, ours {ours:.0f}", flush=True)
                rows.append([f"{m},{n},{k}", *(f"{x:.0f}" for x in (plain, packed, ours)), *(f"{r:.2f}x" for r in ratios[-1][:2])])
        print(f"\n{name}, {variant}, GFLOP/s on one thread, best of {args.rounds} rounds, torch {torch.__version__}\n")
        gobench.markdown(["M,N,K", "F.linear", "prepacked", "ours", "to F.linear", "to prepacked"], rows)
        for i, peer in enumerate(("F.linear", "prepacked")):
            worst = min(ratios, key=lambda r: r[i])
            print(f"\nTo {peer}: geometric mean {mean([r[i] for r in ratios]):.2f}x, worst shape {worst[2]} {worst[i]:.2f}x", end="")
        print("\n")


if __name__ == "__main__":
    main()
