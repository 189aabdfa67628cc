#!/usr/bin/env python3
"""Times the scoring of an EvoPress search's candidates, EvoPress's own loop beside ours.

    git clone https://github.com/IST-DASLab/EvoPress /tmp/evopress
    go test -c -o /tmp/evalworker.test ./evalworker
    python bench/peers/time_search.py --model SmolLM2-135M-Instruct.Q4_1.gguf --text Isaac.Newton-Opticks.txt \
        --evopress /tmp/evopress --evalworker /tmp/evalworker.test

One generation of its search for sparsity at its own settings: 64 offspring of a parent are scored on 2048
tokens, 8 of them on 16384, and 2 and the parent on 65536, by KL divergence from the dense model. Offspring are its
mutation of a parent at 50 % everywhere: up to three times a module goes a level up and another a level down. Levels are
5 % apart, by magnitude. Which offspring survive is not decided here: the first do, which cost the same.

Neither side's rate depends on the number of windows once there are a few: of a stage with more tokens than --tokens only the
first windows are scored, by both.

EvoPress's side is its load_layers and compute_kl_div in their loop, imported from the clone, on the CPU in bfloat16 (or, where the
processor has no instructions for that, the faster float32), with its database of dense layers on disk (and in the page cache) and the teacher's logits in memory, both made before the clock
starts. It scores every candidate by itself, so its rate is taken from the first --sample of a stage.

Ours are BenchmarkSearch of package evalworker's test binary, which reads parent, candidates and windows from a file that
this script writes:

    {"parent": {unit: level}, "warm": [ids], "stages": [{"name": "64x2048", "candidates": [{unit: level}], "windows": [[ids]]}]}

Levels are named as paretopress names them, and a unit that a candidate leaves out is dense. "warm" is a window on which the parent is
scored before the clock starts: in EvoPress, too, the parent's weights are loaded then. It scores all candidates of a stage.

Rounds alternate between all; the best of each counts. Tokens are credited: candidates times windows times their length.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
import types

os.environ["TQDM_DISABLE"] = "1"  # before it is imported

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

import gobench

SEQ_LEN = 512


def level_name(level):
    """The name of EvoPress's level number."""
    return f"magnitude-{0.5 + 0.05 * level:.2f}"


def prune(weight, level):
    """A copy whose floor(s·n) smallest weights are 0; of equal ones the first go first."""
    flat = weight.flatten().clone()
    count = (50 + 5 * level) * flat.numel() // 100
    flat[flat.abs().argsort(stable=True)[:count]] = 0
    return flat.view_as(weight)


def mutate(parent, rng):
    """EvoPress's mutation of a list of levels."""
    child = list(parent)
    for _ in range(min(rng.randint(1, 3), rng.randint(1, 3))):
        child[rng.randrange(len(child))] -= 1
        child[rng.randrange(len(child))] += 1
    return child


def offspring(parent, count, rng):
    """Different children of a parent."""
    children = []
    while len(children) < count:
        child = mutate(parent, rng)
        if child != parent and child not in children:
            children.append(child)
    return children


class EvoPress:
    """A model, a database of layers in a folder, and EvoPress's functions."""

    def __init__(self, repo, model, names, database):
        # Its data loaders need a package that its search does not.
        sys.modules.setdefault("datasets", types.SimpleNamespace(load_dataset=None))
        sys.path.insert(0, repo)
        from evo_prune_search import load_layers
        from src.metrics import compute_kl_div

        self.load_layers, self.compute_kl_div = load_layers, compute_kl_div
        self.model, self.names, self.database = model, names, database
        self.model.config.use_cache = False
        self.model.state = [None] * len(names)
        self.kept = {}  # logits of the dense model, by window

    def save(self, states, weights):
        """Writes the layers of all states, from the float32 weights."""
        for i, name in enumerate(self.names):
            os.makedirs(os.path.join(self.database, name))
            for level in {state[i] for state in states}:
                path = os.path.join(self.database, name, f"{level}.pth")
                torch.save(prune(weights[name], level).to(self.model.dtype), path)

    @torch.no_grad()
    def teach(self, windows):
        """Keeps the dense model's logits. Call it before the first candidate is scored."""
        for ids in windows:
            self.kept[tuple(ids)] = self.model(torch.tensor([ids])).logits

    def rate(self, parent, states, windows):
        """Tokens per second and per CPU second, and the KL of the first state."""
        self.load_layers(self.model, self.names, parent, self.database)
        data = [torch.tensor([ids]) for ids in windows]
        targets = [self.kept[tuple(ids)] for ids in windows]
        start, cpu, fitnesses = time.perf_counter(), time.process_time(), []
        for state in states:
            self.load_layers(self.model, self.names, state, self.database)
            fitnesses.append(self.compute_kl_div(self.model, data, targets))
        tokens = len(states) * len(windows) * SEQ_LEN
        return tokens / (time.perf_counter() - start), tokens / (time.process_time() - cpu), fitnesses[0]


def load(path, dtype):
    folder, file = os.path.split(os.path.abspath(path))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=dtype, attn_implementation="sdpa").eval()
    assert all(p.dtype == dtype for p in model.parameters())
    return model


def tokens_of(path, text):
    folder, file = os.path.split(os.path.abspath(path))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    with open(text, encoding="utf-8") as f:
        ids = tokenizer(f.read(), add_special_tokens=False)["input_ids"]
    return [ids[i : i + SEQ_LEN] for i in range(0, len(ids) - SEQ_LEN + 1, SEQ_LEN)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the .gguf file")
    parser.add_argument("--text", required=True)
    parser.add_argument("--evopress", required=True, help="a clone of EvoPress")
    parser.add_argument("--evalworker", required=True, help="test binary of package evalworker")
    parser.add_argument("--numerics", nargs="+", default=["exact", "fast"])
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="of EvoPress's model")
    parser.add_argument("--stages", nargs="+", default=["64x2048", "8x16384", "3x65536"], help="candidates x tokens")
    parser.add_argument("--tokens", type=int, default=4096, help="most tokens of a candidate that are scored")
    parser.add_argument("--sample", type=int, default=4, help="candidates of a stage that EvoPress scores")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    rng = random.Random(args.seed)

    exact = load(args.model, torch.float32)
    weights = {n: m.weight.data for n, m in exact.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in n}
    names = sorted(weights)
    parent = [0] * len(names)
    sizes = {stage: tuple(map(int, stage.split("x"))) for stage in args.stages}
    children = offspring(parent, max(count for count, _ in sizes.values()), rng)
    windows = tokens_of(args.model, args.text)
    warm = windows.pop(0)
    stages = []
    for i, (name, (count, tokens)) in enumerate(sizes.items()):
        states = children[:count]
        if i > 0 and i == len(sizes) - 1:
            states[-1] = parent  # takes part in the last selection
        stages.append((name, states, rng.sample(windows, min(tokens, args.tokens) // SEQ_LEN)))

    with tempfile.TemporaryDirectory() as folder:
        listed = os.path.join(folder, "search.json")
        config = lambda state: {name: level_name(level) for name, level in zip(names, state)}
        with open(listed, "w", encoding="utf-8") as f:
            json.dump({"parent": config(parent), "warm": warm, "stages": [
                {"name": name, "candidates": [config(s) for s in states], "windows": windows}
                for name, states, windows in stages]}, f)
        peer = EvoPress(args.evopress, load(args.model, getattr(torch, args.dtype)), names, os.path.join(folder, "database"))
        peer.save([parent, *children], weights)
        del exact, weights
        for _, _, windows in stages:
            peer.teach(windows)

        best = {}  # stage and side: tokens per second, per CPU second

        def note(i, stage, side, wall, cpu, kl):
            print(f"round {i}: {stage} {side}: {wall:.0f}/s {cpu:.0f}/cpu-s, KL of the first {kl:.5f}", flush=True)
            best[stage, side] = tuple(map(max, best.get((stage, side), (0, 0)), (wall, cpu)))

        for i in range(args.rounds):
            for name, states, windows in stages:
                note(i, name, "EvoPress", *peer.rate(parent, states[: args.sample], windows))
                for numerics in args.numerics:
                    pattern = f"^BenchmarkSearch$/^{numerics}$/^{name}$"
                    for values in gobench.run(args.evalworker, pattern, args.threads, "1x", PARETOPRESS_SEARCH=listed,
                                              PARETOPRESS_SMOLLM2=os.path.abspath(args.model)).values():
                        note(i, name, numerics, values["tokens/s"], values["tokens/cpu-s"], values["kl"])

    sides = ["EvoPress", *args.numerics]
    for at, what in enumerate(("second", "CPU second")):
        print(f"\nTokens credited a {what}, best of {args.rounds} rounds, {args.threads} threads, torch {torch.__version__}\n")
        rates = {stage: [best[stage, side][at] for side in sides] for stage in sizes}
        credit = {stage: count * tokens for stage, (count, tokens) in sizes.items()}
        rates["generation"] = [
            sum(credit.values()) / sum(credit[stage] / rates[stage][i] for stage in sizes) for i in range(len(sides))]
        rows = [[stage, *(f"{r:.0f}" for r in rs), *(f"{r / rs[0]:.2f}x" for r in rs[1:])] for stage, rs in rates.items()]
        gobench.markdown(["candidates x tokens", *sides, *(f"{n} to EvoPress" for n in args.numerics)], rows)


if __name__ == "__main__":
    main()
