#!/usr/bin/env python3
"""Times the float32 forward pass of SmolLM2-135M, PyTorch beside paretopress.

    go test -c -o /tmp/engine.test ./engine
    python bench/peers/time_forward.py --model SmolLM2-135M-Instruct.Q4_1.gguf --engine /tmp/engine.test

One unit of work is the NLL of windows of 512 tokens: the layers, the head and the
log-softmax. Rounds alternate between the two, so that a busy machine slows both;
the best round of each counts. PyTorch runs with scaled-dot-product attention, with 1, 2
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
def torch_rate(model, batch):
    """Tokens per second over WINDOWS windows, `batch` at a time."""
    ids = torch.randint(0, 49152, (WINDOWS, SEQ_LEN), generator=torch.Generator().manual_seed(1))
    start = time.perf_counter()
    for part in ids.split(batch):
        logits = model(input_ids=part, use_cache=False).logits[:, :-1]
        F.cross_entropy(logits.reshape(-1, logits.shape[-1]), part[:, 1:].reshape(-1), reduction="sum").item()
    return WINDOWS * SEQ_LEN / (time.perf_counter() - start)


def go_rate(engine, model, threads, benchmark):
    """Tokens per second of a benchmark of the engine's test binary."""
    env = dict(os.environ, PARETOPRESS_SMOLLM2=os.path.abspath(model), GOMAXPROCS=str(threads))
    command = [os.path.abspath(engine), "-test.run", "^$", "-test.bench", f"^{benchmark}$", "-test.benchtime", "2x"]
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    return float(re.search(r"([0-9.]+) tokens/s", out).group(1))


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
    torch_rate(model, 1)  # warm up
    peer, ours, kl = [], [], []
    for i in range(args.rounds):
        peer.append(max(torch_rate(model, batch) for batch in (1, 2, 4)))
        ours.append(go_rate(args.engine, args.model, args.threads, "BenchmarkScoreSmolLM2"))
        kl.append(go_rate(args.engine, args.model, args.threads, "BenchmarkKLSmolLM2"))
        print(f"round {i}: torch {peer[-1]:.0f} tokens/s, paretopress NLL {ours[-1]:.0f}, NLL and KL {kl[-1]:.0f}", flush=True)
    print(f"best: torch {torch.__version__} {max(peer):.0f} tokens/s, paretopress NLL {max(ours):.0f} "
          f"({max(ours) / max(peer):.2f}x), NLL and KL {max(kl):.0f} ({max(kl) / max(peer):.2f}x), {args.threads} threads")


if __name__ == "__main__":
    main()
