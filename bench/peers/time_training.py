#!/usr/bin/env python3
"""Times training steps, PyTorch beside package evalworker, and their memory.

    go test -c -o /tmp/evalworker.test ./evalworker
    PARETOPRESS_SMOLLM2=SmolLM2-135M-Instruct.Q4_1.gguf python bench/peers/time_training.py --evalworker /tmp/evalworker.test

Steps of 8 windows of 512 tokens of Opticks on SmolLM2-135M in float32, trained on the NLL; all matrices of the blocks, nothing else. PyTorch's are:
gradients of all that are masked to 5 % before AdamW's step ("masked"), PEFT's LoRA of rank 8 ("lora") and AdamW on all ("full"). Ours are
BenchmarkTrainSmolLM2 of the test binary, whose SpIEL has the default schedule from 20 steps on. Steps alternate, so that a machine whose speed changes from minute to
minute is the same for both; both processes are in memory meanwhile, about 18 GB. The first step of each, which warms up, does not count, nor do opening
and end; ours saves checkpoints by the clock, which runs through the steps of PyTorch, and so up to twice as often as alone.
"""

import argparse
import os
import subprocess
import sys

import gobench

TORCH = """
import os, sys, time
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
for step in range(steps + 1):
    first = 8 * (step % 16)
    x = torch.tensor([ids[i * 512 : (i + 1) * 512] for i in range(first, first + 8)])
    input()
    start, cpu = time.perf_counter(), time.process_time()
    model(x, labels=x).loss.backward()
    for p, mask in zip(trained, masks):
        p.grad.mul_(mask)
    adamw.step()
    adamw.zero_grad(set_to_none=False)
    print("paced", time.perf_counter() - start, time.process_time() - cpu, flush=True)
"""

# Ours beside what of PyTorch's.
BESIDE = {"spiel-ag": "masked", "spiel-ma": "masked", "static-random": "masked", "lora": "lora", "full": "full"}


class Paced:
    """A process whose steps begin when it is told so."""

    def __init__(self, command, **env):
        self.process = subprocess.Popen(command, env=dict(os.environ, **env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def go(self):
        print(file=self.process.stdin, flush=True)

    def wait(self):
        """Waits for the end of what it does; its seconds, and those of CPUs."""
        for line in self.process.stdout:
            if line.startswith("paced "):
                return [float(x) for x in line.split()[1:]]
        raise RuntimeError("a process ended before its last step")

    def end(self):
        """Waits for the end of the process; its peak memory in MB."""
        with self.process:
            self.process.stdin.close()
            self.process.stdout.read()
            _, status, usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode != 0:
            raise RuntimeError(f"{self.process.args[0]} ended with {self.process.returncode}")
        return usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalworker", required=True, help="test binary of package evalworker")
    parser.add_argument("--text", default=os.path.join(subprocess.check_output(["go", "env", "GOROOT"], text=True).strip(),
                                                       "src/testdata/Isaac.Newton-Opticks.txt"))
    parser.add_argument("--methods", default=",".join(BESIDE))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20, help="steps that count; 20 are a whole cycle of SpIEL's default schedule")
    args = parser.parse_args()
    rows = []
    for method in args.methods.split(","):
        ours = Paced([os.path.abspath(args.evalworker), "-test.run", "^$", "-test.bench", gobench.exact(f"BenchmarkTrainSmolLM2/{method}"), "-test.benchtime", "1x",
                      "-test.timeout", "0"], GOMAXPROCS=str(args.threads), PARETOPRESS_STEPS=str(args.steps + 1), PARETOPRESS_PACED="1")
        ours.wait()  # the model is open
        peer = Paced([sys.executable, "-c", TORCH, BESIDE[method], args.text, str(args.steps), str(args.threads)], TQDM_DISABLE="1")
        seconds = {ours: [], peer: []}
        for step in range(args.steps + 1):
            for process in (peer, ours):
                process.go()
                seconds[process].append(process.wait())
        tokens = args.steps * 8 * 512
        rates = {}
        for name, process in ((f"PyTorch, {BESIDE[method]}", peer), (f"ours, {method}", ours)):
            wall, cpu = (sum(column) for column in zip(*seconds[process][1:]))
            rates[process] = tokens / wall
            rows.append([name, f"{rates[process]:.0f}", f"{tokens / cpu:.0f}", f"{process.end():.0f}", f"{rates[process] / rates[peer]:.2f}"])
            print(rows[-1], *(f"{step[0]:.1f}" for step in seconds[process]), file=sys.stderr)
    gobench.markdown(["", "tokens/s", "tokens/cpu-s", "peak MB", "x PyTorch"], rows)


if __name__ == "__main__":
    main()
