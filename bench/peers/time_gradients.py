#!/usr/bin/env python3
"""Times forward and backward passes, PyTorch beside package engine, and their memory.

    go test -c -o /tmp/engine.test ./engine
    PARETOPRESS_SMOLLM2=SmolLM2-135M-Instruct.Q4_1.gguf python bench/peers/time_gradients.py --engine /tmp/engine.test

Windows of 512 tokens of Opticks through SmolLM2-135M in float32: the NLL and the gradient of every parameter ("all"), of the blocks'
matrices ("linear") or of a share of the latter's elements. PyTorch computes all in every case, as a step with masked gradients does. Rounds alternate;
the fastest of each counts. Ours are BenchmarkGradientSmolLM2 of the test binary; it reads Go's copy of Opticks.
"""

import argparse
import os
import subprocess
import sys

import gobench

TORCH = """
import os, resource, sys, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, file = os.path.split(os.path.abspath(os.environ["PARETOPRESS_SMOLLM2"]))
torch.set_num_threads(int(sys.argv[1]))
n, rounds = int(sys.argv[2]), int(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32, attn_implementation="sdpa").train()
ids = tokenizer(open(sys.argv[4]).read(), add_special_tokens=False)["input_ids"]
x = torch.tensor([ids[i * 512 : (i + 1) * 512] for i in range(n)])
for _ in range(rounds):
    model.zero_grad(set_to_none=False)
    start, cpu = time.perf_counter(), time.process_time()
    model(x, labels=x).loss.backward()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(x.numel() / wall, x.numel() / cpu, peak, flush=True)
    sys.stdin.readline()
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True, help="test binary of package engine")
    parser.add_argument("--text", default=os.path.join(subprocess.check_output(["go", "env", "GOROOT"], text=True).strip(),
                                                       "src/testdata/Isaac.Newton-Opticks.txt"))
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--cache-mb", type=int, default=6144, help="of ours: half is for activations")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch = subprocess.Popen([sys.executable, "-c", TORCH, str(args.threads), str(args.windows), str(args.rounds + 1), args.text],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def step():
        return [float(x) for x in torch.stdout.readline().split()]

    best = {}

    def note(name, wall, cpu, peak):
        old = best.get(name, (0, 0, 0))
        best[name] = (max(old[0], wall), max(old[1], cpu), max(old[2], peak))

    step()  # the first warms up
    for _ in range(args.rounds):
        torch.stdin.write("\n")
        torch.stdin.flush()
        note("PyTorch", *step())
        for what in ("all", "linear", "5%", "1%"):
            name = f"GradientSmolLM2/exact/{what}"
            values = gobench.run(args.engine, gobench.exact("Benchmark" + name), args.threads, "1x", PARETOPRESS_WINDOWS=str(args.windows),
                                 PARETOPRESS_CACHE_MB=str(args.cache_mb))
            note(f"ours, {what}", *(values[name][unit] for unit in ("tokens/s", "tokens/cpu-s", "peak-MB")))
    torch.stdin.close()
    gobench.markdown(["", "tokens/s", "tokens/cpu-s", "peak MB", "x PyTorch"],
                     [[name, f"{w:.0f}", f"{c:.0f}", f"{p:.0f}", f"{w / best['PyTorch'][0]:.2f}"] for name, (w, c, p) in best.items()])


if __name__ == "__main__":
    main()
