#!/usr/bin/env python3
"""What the authors' implementation of SpIEL makes of a fixed sequence of gradients.

    git clone https://github.com/AlanAnsell/peft reference && git -C reference checkout 73b455b480c5a93ec17ff0e817f946df5899b2af
    python golden_spiel.py --reference reference --out ../../sparseft/testdata/spiel.json

It runs the SftSelector, the SftAdamW and the SftSM3 of that repository, in float32 and with one microbatch a step, and
hands them gradients instead of a model. One thing is mended: a weight that is grown with n gradients behind it is of age
n+1 at its first own step, as the moments then hold n+1 gradients (the repository has n).

The gradient of weight i of tensor t at step s is signal(t, i) + noise(s, t, i) in float32, both from a linear congruential
generator that the test has too: see draw.
"""

import argparse
import importlib.util
import json
import os
import sys
import types

import numpy as np
import torch

SHAPES = [(6, 8), (5, 9)]
TRAINABLE = [20, 18]
STEPS, RESELECTION, ACCUMULATION = 34, 6, 2


def draw(seed, n):
    """n numbers from -1 to 1 with 23 bits, exact in float32."""
    out = np.empty(n, dtype=np.float32)
    x = seed
    for i in range(n):
        x = (1103515245 * x + 12345) % 2**31
        out[i] = np.float32((x >> 7) / 2**23 - 1)
    return out


def gradient(step, t):
    n = SHAPES[t][0] * SHAPES[t][1]
    return draw(1000 + t, n) + np.float32(0.5) * draw(100 * step + t, n)


def load(folder):
    """The repository's modules, without the parts of peft and the CUDA kernel that they import."""
    package = types.ModuleType("sft")
    package.__path__ = [os.path.join(folder, "src", "peft", "tuners", "sft")]
    sys.modules["sft"] = package
    stubs = {
        "accelerate": {}, "accelerate.optimizer": {"AcceleratedOptimizer": type("AcceleratedOptimizer", (), {})},
        "transformers": {"TrainerCallback": object}, "linear_sd": {}, "peft": {}, "peft.tuners": {},
        "peft.import_utils": {"is_bnb_available": lambda: False},
        "peft.tuners.tuners_utils": {"BaseTunerLayer": type("BaseTunerLayer", (), {})},
    }
    for name, members in stubs.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
    out = []
    for name in "layer", "optimizer", "trainer":
        spec = importlib.util.spec_from_file_location("sft." + name, os.path.join(package.__path__[0], name + ".py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules["sft." + name] = module
        spec.loader.exec_module(module)
        out.append(module)
    return out


def run(reference, method, policy, decay, rate):
    layer, optimizer_module, trainer = reference
    mended = trainer.update_optimizer

    def update_optimizer(optimizer, param, changing, init_momenta={}):
        init = dict(init_momenta)
        init["age"] = init["age"] + 1
        mended(optimizer, param, changing, init_momenta=init)

    torch.manual_seed(0)
    kind = layer.AddSparseDelta(torch.nn.Linear)
    modules = [kind("default", c, r, k, bias=False, dtype=torch.float32) for (r, c), k in zip(SHAPES, TRAINABLE)]
    model = torch.nn.ModuleList(modules)
    deltas = [m.sft_delta["default"] for m in modules]
    values = [d.values for d in deltas]
    groups = [{"params": values, "weight_decay": decay}]
    if method == "spiel-ma":
        optimizer = optimizer_module.SftSM3(groups, {d.values: d for d in deltas}, lr=rate)
    else:
        optimizer = optimizer_module.SftAdamW(groups, lr=rate)
    config = types.SimpleNamespace(
        selection_algorithm="sm3" if method == "spiel-ma" else "rigl", reselection_steps=RESELECTION,
        selection_accumulation_steps=ACCUMULATION, reselection_rate_policy=policy, initial_reselection_rate=0.4)
    trainer.update_optimizer = update_optimizer
    selector = trainer.SftSelector(model, optimizer, config, STEPS, 1)
    result = {"method": method, "policy": policy, "weight_decay": decay, "learning_rate": rate,
              "initial": [d.indices.tolist() for d in deltas], "supports": []}
    for step in range(1, STEPS + 1):
        for t, (module, delta) in enumerate(zip(modules, deltas)):
            g = torch.from_numpy(gradient(step, t))
            if module.hook is not None:
                module.hook(g.view(SHAPES[t]))
            delta.values.grad = g[delta.indices.long()].clone()
        optimizer.step()
        selector.step()
        if step % RESELECTION == ACCUMULATION:
            result["supports"].append({"step": step, "indices": [sorted(d.indices.tolist()) for d in deltas]})
    trainer.update_optimizer = mended
    final = []
    for delta in deltas:
        order = torch.argsort(delta.indices)
        state = optimizer.state[delta.values]
        one = {"indices": delta.indices[order].tolist(), "values": delta.values.data[order].tolist()}
        if method == "spiel-ma":
            one["row"], one["col"] = state["accumulator_0"].tolist(), state["accumulator_1"].tolist()
        else:
            one["m"], one["v"] = state["exp_avg"][order].tolist(), state["exp_avg_sq"][order].tolist()
            one["gradients"] = [round(a) - 1 for a in state["age"][order].tolist()]
        final.append(one)
    result["final"] = final
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--reference", required=True, help="folder of a clone of AlanAnsell/peft")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    reference = load(a.reference)
    cases = [run(reference, "spiel-ag", "linear", 0.0, 0.01), run(reference, "spiel-ag", "cosine", 3.0, 0.02),
             run(reference, "spiel-ma", "linear", 0.0, 0.05), run(reference, "spiel-ma", "cosine", 1.0, 0.1)]
    with open(a.out, "w") as f:
        json.dump({"torch": torch.__version__, "shapes": SHAPES, "steps": STEPS, "reselection_steps": RESELECTION,
                   "selection_accumulation_steps": ACCUMULATION, "initial_reselection_rate": 0.4, "cases": cases}, f)
        f.write("\n")


if __name__ == "__main__":
    main()
