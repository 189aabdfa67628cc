#!/usr/bin/env python3
"""Times training steps, PyTorch beside package evalworker, and their memory.

    go test -c -o /tmp/evalworker.test ./evalworker
    PARETOPRESS_SMOLLM2=SmolLM2-135M-Instruct.Q4_1.gguf python bench/peers/time_training.py --evalworker /tmp/evalworker.test

Steps of 8 windows of 512 tokens of Opticks on SmolLM2-135M in float32, trained on the NLL; all matrices of the blocks, nothing else. PyTorch's are:
gradients of all that are masked to 5 % before AdamW's step ("masked"), PEFT's LoRA of rank 8 ("lora") and AdamW on all ("full"). Ours are
BenchmarkTrainSmolLM2 of the test binary, whose time has the opening of the model and the checkpoint at the end in it. Rounds alternate; PyTorch's fastest
step counts, its first one not, and the fastest of our trainings.
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
mode, text, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(int(sys.argv[4]))
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32, attn_implementation="sdpa").train()
if mode == "lora":
    from peft import LoraConfig, get_peft_model
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
else:
    for name, p in model.named_parameters():
        p.requires_grad_("_proj" in name)
trained = [p for p in model.parameters() if p.requires_grad]
masks = [torch.rand_like(p) < 0.05 * 134_515_008 / 106_168_320 for p in trained] if mode == "masked" else []
adamw = torch.optim.AdamW(trained, lr=3e-4)
ids = tokenizer(open(text).read(), add_special_tokens=False)["input_ids"]
rates = []
for step in range(steps + 1):
    x = torch.tensor([ids[i * 512 : (i + 1) * 512] for i in range(8 * step, 8 * step + 8)])
    start, cpu = time.perf_counter(), time.process_time()
    model(x, labels=x).loss.backward()
    for p, mask in zip(trained, masks):
        p.grad.mul_(mask)
    adamw.step()
    adamw.zero_grad(set_to_none=False)
    if step > 0:
        rates.append((x.numel() / (time.perf_counter() - start), x.numel() / (time.process_time() - cpu)))
print(*max(rates), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""

# Ours beside what of PyTorch's.
BESIDE = {"spiel-ag": "masked", "spiel-ma": "masked", "static-random": "masked", "lora": "lora", "full": "full"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalworker", required=True, help="test binary of package evalworker")
    parser.add_argument("--text", default=os.path.join(subprocess.check_output(["go", "env", "GOROOT"], text=True).strip(),
                                                       "src/testdata/Isaac.Newton-Opticks.txt"))
    parser.add_argument("--methods", default=",".join(BESIDE))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    methods = args.methods.split(",")
    best = {}

    def note(name, wall, cpu, peak):
        old = best.get(name, (0, 0, 0))
        best[name] = (max(old[0], wall), max(old[1], cpu), max(old[2], peak))

    for _ in range(args.rounds):
        for mode in dict.fromkeys(BESIDE[m] for m in methods):
            out = subprocess.run([sys.executable, "-c", TORCH, mode, args.text, str(args.steps // 2), str(args.threads)], check=True,
                                 stdout=subprocess.PIPE, text=True).stdout
            note(f"PyTorch, {mode}", *map(float, out.split()[-3:]))
            for method in methods:
                if BESIDE[method] == mode:
                    name = f"TrainSmolLM2/{method}"
                    values = gobench.run(args.evalworker, gobench.exact("Benchmark" + name), args.threads, "1x", PARETOPRESS_STEPS=str(args.steps))
                    note(f"ours, {method}", *(values[name][unit] for unit in ("tokens/s", "tokens/cpu-s", "peak-MB")))
    rows = []
    for name, (w, c, p) in best.items():
        side, what = name.split(", ")
        peer = best["PyTorch, " + (BESIDE[what] if side == "ours" else what)]
        rows.append([name, f"{w:.0f}", f"{c:.0f}", f"{p:.0f}", f"{w / peer[0]:.2f}"])
    gobench.markdown(["", "tokens/s", "tokens/cpu-s", "peak MB", "x PyTorch"], rows)


if __name__ == "__main__":
    main()
