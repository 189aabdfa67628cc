#!/usr/bin/env python3
"""NLL of GGUF files and their KL divergence from a base file, as llama.cpp computes them.

    .venv-llama/bin/python bench/peers/llama_kl.py --base f32.gguf --text Isaac.Newton-Opticks.txt --windows 16 \
        --out kl.json Q8_0.gguf Q4_K_M.gguf ours.gguf --pair ours.gguf Q4_K_M.gguf

Over positions 1 to L-1 of held-out windows of L tokens (windows.py) without special tokens, in nats a token: the mean negative
log-likelihood, and the mean over the whole vocabulary of KL(base‖file). Exponentials of llama.cpp's logits are
float32, their sums float64; the base's log-probabilities are kept in a temporary folder, 100 MB for a window of 512 tokens of a
vocabulary of 49152. Standard errors are those of the mean over windows. --pair A B prints how much A's numbers exceed B's, window by window.

The base's products too are llama.cpp's: with a quantized base both sides have the noise of 8-bit activations, so that a base in
16 or 32 bits is the better yardstick.
"""

import argparse
import json
import os
import tempfile
import time

import gobench
import llama
import numpy as np
import windows

ROWS = 64  # positions at a time


def log_probs(logits):
    """The log-softmax of rows of logits, float32, by sums in float64."""
    x = logits - logits.max(axis=1, keepdims=True)
    x -= np.log(np.exp(x).sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return x


def score(path, samples, base, args):
    """The NLL and the KL of each window. base has a row of log-probabilities a position, and is written where the file is the base."""
    nll, kl = [], []
    with llama.Model(path, args.seq_len, args.threads) as model:
        for i, ids in enumerate(samples):
            logits, likelihood, divergence = model.logits(ids), 0.0, 0.0
            for at in range(0, args.seq_len - 1, ROWS):
                to = min(at + ROWS, args.seq_len - 1)
                q = log_probs(logits[at:to])
                likelihood += float(q[np.arange(to - at), ids[at + 1 : to + 1]].sum(dtype=np.float64))
                if path == args.base:
                    base[i, at:to] = q
                else:
                    p = np.asarray(base[i, at:to])
                    divergence += float((np.exp(p) * (p - q)).sum(dtype=np.float64))
            nll.append(-likelihood / (args.seq_len - 1))
            kl.append(divergence / (args.seq_len - 1))
    return nll, kl


def summary(values):
    mean, error = windows.mean(values)
    return {"mean": mean, "stderr": error, "windows": values}


def shown(values, digits=4):
    mean, error = windows.mean(values)
    return f"{mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help=".gguf files")
    parser.add_argument("--base", required=True, help="the .gguf file that KL is taken from; its tokenizer is used")
    windows.add_arguments(parser, "held-out", 16)
    parser.add_argument("--pair", nargs=2, action="append", default=[], metavar=("A", "B"), help="two of the files")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--temp", help="folder for the base's log-probabilities")
    parser.add_argument("--out", help="JSON file")
    args = parser.parse_args()
    for name in [n for pair in args.pair for n in pair]:
        if name not in args.files:
            parser.error(f"--pair: {name} is not one of the files")
    for name in [args.base, *args.files]:
        if not os.path.isfile(name):
            parser.error(f"{name}: no such file")

    with llama.Model(args.base, args.seq_len, args.threads) as model:
        numbers, samples = windows.chosen(args, model.tokens)
        shape = (len(samples), args.seq_len - 1, model.n_vocab)
    results = {}
    with tempfile.TemporaryDirectory(dir=args.temp) as folder:
        base = np.memmap(os.path.join(folder, "base"), np.float32, "w+", shape=shape)
        for path in [args.base, *(f for f in args.files if f != args.base)]:
            start = time.perf_counter()
            nll, kl = score(path, samples, base, args)
            results[path] = {"bytes": os.path.getsize(path), "nll": summary(nll), "kl": summary(kl)}
            print(f"{path}: nll {shown(nll)} kl {shown(kl, 5)} in {time.perf_counter() - start:.0f} s", flush=True)
    pairs = []
    for a, b in args.pair:
        over = {key: summary([x - y for x, y in zip(results[a][key]["windows"], results[b][key]["windows"])]) for key in ("nll", "kl")}
        pairs.append({"a": a, "b": b, **over})

    print(f"\n{len(samples)} {args.part} windows of {args.seq_len} tokens, base {args.base}\n")
    gobench.markdown(["file", "bytes", "NLL", "KL"], [
        [os.path.basename(path), f"{r['bytes']:,}", shown(r["nll"]["windows"]), shown(r["kl"]["windows"], 5)] for path, r in results.items()])
    if pairs:
        print()
        gobench.markdown(["A", "B", "NLL of A − B", "KL of A − B"], [
            [os.path.basename(p["a"]), os.path.basename(p["b"]), shown(p["nll"]["windows"]), shown(p["kl"]["windows"], 5)] for p in pairs])
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump({"base": args.base, "seq_len": args.seq_len, "part": args.part, "numbers": numbers,
                       "text": os.path.basename(args.text or args.ids), "results": results, "pairs": pairs}, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
