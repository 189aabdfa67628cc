#!/usr/bin/env python3
"""Times the float32 forward pass of SmolLM2-135M, PyTorch beside paretopress.

    go test -c -o /tmp/engine.test ./engine
    python bench/peers/time_forward.py --model SmolLM2-135M-Instruct.Q4_1.gguf --engine /tmp/engine.test

One unit of work is the NLL of windows of 512 tokens: the layers, the head and the
log-softmax. Rounds alternate between the two, so that a busy machine slows both;
the best round of each counts. Tokens per CPU second, of all threads, are given too: they change
less with what else the machine does. PyTorch runs with scaled-dot-product attention, with 1, 2
and 4 windows a call, of which the fastest counts.
"""

import argparse
import os
import re
import subprocess
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

SEQ_LEN = 512
WINDOWS = 4


@torch.inference_mode()
def torch_rates(model, batch):
    """Tokens per second and per CPU second over WINDOWS windows, `batch` at a time."""
    ids = torch.randint(0, 49152, (WINDOWS, SEQ_LEN), generator=torch.Generator().manual_seed(1))
    start, cpu = time.perf_counter(), time.process_time()
    for part in ids.split(batch):
        logits = model(input_ids=part, use_cache=False).logits[:, :-1]
        F.cross_entropy(logits.reshape(-1, logits.shape[-1]), part[:, 1:].reshape(-1), reduction="sum").item()
    tokens = WINDOWS * SEQ_LEN
    return tokens / (time.perf_counter() - start), tokens / (time.process_time() - cpu)


def go_rates(engine, model, threads, benchmark):
    """The same of a benchmark of the engine's test binary."""
    env = dict(os.environ, PARETOPRESS_SMOLLM2=os.path.abspath(model), GOMAXPROCS=str(threads))
    command = [os.path.abspath(engine), "-test.run", "^$", "-test.bench", f"^{benchmark}$", "-test.benchtime", "2x"]
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    return tuple(float(re.search(rf"([0-9.]+) {unit}\b", out).group(1)) for unit in ("tokens/s", "tokens/cpu-s"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the .gguf file")
    parser.add_argument("--engine", required=True, help="test binary of package engine")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    folder, file = os.path.split(os.path.abspath(args.model))
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, attn_implementation="sdpa"
    ).eval()
    torch_rates(model, 1)  # warm up
    names = [f"torch {torch.__version__}", "paretopress NLL", "paretopress NLL and KL"]
    best = {name: (0.0, 0.0) for name in names}
    for i in range(args.rounds):
        rounds = [
            [torch_rates(model, batch) for batch in (1, 2, 4)],
            [go_rates(args.engine, args.model, args.threads, "BenchmarkScoreSmolLM2")],
            [go_rates(args.engine, args.model, args.threads, "BenchmarkKLSmolLM2")],
        ]
        for name, rates in zip(names, rounds):
            print(f"round {i}: {name}: " + ", ".join(f"{wall:.0f}/s {cpu:.0f}/cpu-s" for wall, cpu in rates), flush=True)
            best[name] = tuple(max(x) for x in zip(best[name], *rates))
    peer = best[names[0]]
    print(f"\nbest of {args.rounds} rounds, {args.threads} threads")
    print("| | tokens/s | to torch | tokens/CPU s | to torch |\n|---|---|---|---|---|")
    for name, (wall, cpu) in best.items():
        print(f"| {name} | {wall:.0f} | {wall / peer[0]:.2f}x | {cpu:.0f} | {cpu / peer[1]:.2f}x |")


if __name__ == "__main__":
    main()
