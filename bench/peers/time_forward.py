#!/usr/bin/env python3
"""Times the forward pass of SmolLM2-135M with NLL and KL, PyTorch beside paretopress.

    go test -c -o /tmp/engine.test ./engine
    python bench/peers/time_forward.py --model SmolLM2-135M-Instruct.Q4_1.gguf --engine /tmp/engine.test

A unit of work is windows of 512 tokens in one of three ways:

forward  the layers and the head: logits
NLL      and the negative log-likelihood of the tokens
KL       and the full-vocabulary KL divergence from a teacher, as EvoPress's fitness has it: F.kl_div of
         log-softmaxes. The teacher's logits, or where that is faster their log-softmax, lie in
         memory in the model's type, computed before the clock starts

PyTorch runs in float32 and in bfloat16, with scaled-dot-product attention. A trial finds, for each
type and kind of work, the fastest of 1, 2 and 4 windows a call and, for the KL, of the formulations below; it alone
goes into the rounds. Ours are benchmarks of package engine. Rounds alternate between all of them, so that
a busy machine slows all alike; the best round of each counts. Tokens per CPU second, of all threads, are
given too: they change less with what else the machine does.
"""

import argparse
import os
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM
from transformers.utils import logging

import gobench

SEQ_LEN = 512
WINDOWS = 4
BATCHES = (1, 2, 4)


def divergence(logits, target):
    """Sum over positions of KL(target‖logits), both log-probabilities or logits."""
    return F.kl_div(logits.log_softmax(dim=-1), target, log_target=True, reduction="sum")


# How to compute the KL of logits[n, vocabulary] from what is kept of the teacher.
FORMULATIONS = {
    "both": lambda logits, kept: divergence(logits, kept.log_softmax(dim=-1)),  # EvoPress's own
    "kept": divergence,  # the teacher's log-softmax is kept
    "rows": lambda logits, kept: sum(divergence(a, b) for a, b in zip(logits.split(64), kept.split(64))),  # in cache
}


class Torch:
    """A model with its teacher's predictions for WINDOWS windows."""

    @torch.inference_mode()
    def __init__(self, path, dtype):
        folder, file = os.path.split(os.path.abspath(path))
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=dtype, attn_implementation="sdpa"
        ).eval()
        # transformers can run on packed weights instead, which is something else.
        assert all(type(p) is torch.nn.Parameter and p.dtype == dtype for p in self.model.parameters())
        vocabulary = self.model.config.vocab_size
        self.ids = torch.randint(0, vocabulary, (WINDOWS, SEQ_LEN), generator=torch.Generator().manual_seed(1))
        self.logits = [self.forward(ids[None])[0, :-1].clone() for ids in self.ids]
        self.log_probs = [x.log_softmax(dim=-1) for x in self.logits]

    def forward(self, ids):
        return self.model(input_ids=ids, use_cache=False).logits

    @torch.inference_mode()
    def rates(self, work, batch, formulation=None):
        """Tokens per second and per CPU second over the windows, `batch` at a time."""
        teacher = self.logits if formulation == "both" else self.log_probs
        start, cpu = time.perf_counter(), time.process_time()
        for first in range(0, WINDOWS, batch):
            ids = self.ids[first : first + batch]
            logits = self.forward(ids)
            if work == "NLL":
                logits = logits[:, :-1].reshape(-1, logits.shape[-1])
                F.cross_entropy(logits, ids[:, 1:].reshape(-1), reduction="sum").item()
            elif work == "KL":
                for row, kept in zip(logits, teacher[first : first + batch]):
                    FORMULATIONS[formulation](row[:-1], kept).item()
        tokens = WINDOWS * SEQ_LEN
        return tokens / (time.perf_counter() - start), tokens / (time.process_time() - cpu)

    def fastest(self, work):
        """The arguments of rates that are fastest."""
        ways = [(work, batch, f) for batch in BATCHES for f in (FORMULATIONS if work == "KL" else (None,))]
        cpu = {way: self.rates(*way)[1] for way in ways}
        print(f"  {work}: " + ", ".join(f"{b}{' ' + f if f else ''} {cpu[w, b, f]:.0f}/cpu-s" for w, b, f in ways), flush=True)
        return max(cpu, key=cpu.get)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the .gguf file")
    parser.add_argument("--engine", help="test binary of package engine (none: PyTorch alone)")
    parser.add_argument("--benchmarks", nargs="+", default=["ScoreSmolLM2", "KLSmolLM2"],
                        help="benchmarks of it that report tokens/s; those with KL in their name compute it, "
                        "and those with fast are held against bfloat16")
    parser.add_argument("--types", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--work", nargs="+", default=["forward", "NLL", "KL"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    peers = {}
    for name in args.types:
        model = Torch(args.model, getattr(torch, name))
        print(f"torch {name}, windows a call and formulation:", flush=True)
        for work in args.work:
            peers[f"torch {name} {work}"] = (model, model.fastest(work))

    best = {}

    def note(i, name, rates):
        print(f"round {i}: {name}: {rates[0]:.0f}/s {rates[1]:.0f}/cpu-s", flush=True)
        best[name] = tuple(max(x) for x in zip(best.get(name, (0, 0)), rates))

    for i in range(args.rounds):
        for name, (model, way) in peers.items():
            note(i, name, model.rates(*way))
        for pattern in args.benchmarks if args.engine else ():
            found = gobench.run(args.engine, gobench.exact("Benchmark" + pattern), args.threads, "2x",
                                PARETOPRESS_SMOLLM2=os.path.abspath(args.model))
            for name, values in found.items():
                note(i, name, (values["tokens/s"], values["tokens/cpu-s"]))

    def ratio(name, peer):
        """The two ratios of a row to one of PyTorch's."""
        return [f"{a / b:.2f}x" for a, b in zip(best[name], best[peer])] if peer in best else ["", ""]

    print(f"\ntorch {torch.__version__}, best of {args.rounds} rounds, {args.threads} threads")
    rows = []
    for name, (wall, cpu) in best.items():
        peer = ""
        if name not in peers:
            peer = f"torch {'bfloat16' if 'fast' in name else 'float32'} {'KL' if 'KL' in name else 'NLL'}"
        a, b = ratio(name, peer)
        rows.append([name, f"{wall:.0f}", f"{cpu:.0f}", peer, a, b])
    gobench.markdown(["", "tokens/s", "tokens/CPU s", "beside", "tokens/s", "tokens/CPU s"], rows)


if __name__ == "__main__":
    main()
