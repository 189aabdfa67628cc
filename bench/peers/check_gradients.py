#!/usr/bin/env python3
"""Reference gradients of a model from PyTorch, in float64 unless --float32 is given, for the tests of package engine.

    go run ../../internal/builtin/gen -seed 20 -bytes 16384 > /tmp/builtin.txt
    python check_gradients.py --model ../../internal/builtin/model --text /tmp/builtin.txt --seq-len 96 \
        --drop model.layers.1.self_attn model.layers.5.mlp --out ../../engine/testdata/builtin_gradients.json

writes the loss of each case and, of every parameter's gradient, the norm and some elements. With --raw FILE all elements
are written to that file as well, one parameter after the other in the order of the JSON:

    python check_gradients.py --model SmolLM2-135M-Instruct.Q4_1.gguf --text Isaac.Newton-Opticks.txt --seq-len 512 \
        --drop model.layers.4.self_attn model.layers.10.mlp --out /tmp/gradients/gradients.json --raw /tmp/gradients/gradients.f32
    PARETOPRESS_SMOLLM2=SmolLM2-135M-Instruct.Q4_1.gguf PARETOPRESS_GRADIENTS=/tmp/gradients \
        go test ../../engine -run GradientsMatchTorch -v

compares all of them: the test prints the largest relative error, ‖ours - PyTorch's‖ / ‖PyTorch's‖. The cases:

nll    the mean negative log-likelihood of the next token
mixed  of the model without the sub-blocks of --drop: 0.25 times the NLL and 0.75 times 4 times the KL divergence from the dense model,
       both at temperature 2, over the tokens whose number in the window is no multiple of 3
"""

import argparse
import json
import os
import platform

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

TEMPERATURE, MIX = 2.0, 0.25
SAMPLES = 8


def losses(model, windows, teacher, counted):
    """The sums over what counts of the NLL and of T²·KL, and the number of predictions."""
    nll = kl = 0.0
    n = 0
    for w, logits in zip(windows, teacher):
        y = model(torch.tensor([w])).logits[0, :-1]
        keep = torch.tensor([p for p in range(1, len(w)) if counted(p)])
        target = torch.tensor(w)[keep]
        n += len(keep)
        nll = nll + torch.nn.functional.cross_entropy(y[keep - 1], target, reduction="sum")
        if logits is not None:
            s = torch.log_softmax(y[keep - 1] / TEMPERATURE, dim=-1)
            t = torch.log_softmax(logits[keep - 1] / TEMPERATURE, dim=-1)
            kl = kl + TEMPERATURE**2 * torch.nn.functional.kl_div(s, t, reduction="sum", log_target=True)
    return nll / n, kl / n


def in_float64(model):
    """Has a model compute in float64, but for rotary angles: transformers takes norms in float32."""

    def norm(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = norm.__get__(module)
    return model.double()


def zero(module, inputs, output):
    if isinstance(output, tuple):
        return (torch.zeros_like(output[0]),) + output[1:]
    return torch.zeros_like(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a .gguf file or a Hugging Face folder")
    parser.add_argument("--text", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--raw", help="file for all elements")
    parser.add_argument("--drop", nargs="+", required=True, help="sub-blocks that case mixed leaves out")
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--windows", type=int, nargs="+", default=[0, 2], help="numbers of the windows")
    parser.add_argument("--float32", action="store_true", help="compute as transformers does, not in float64")
    args = parser.parse_args()

    folder, source = args.model, {}
    if os.path.isfile(args.model):
        folder, file = os.path.split(os.path.abspath(args.model))
        source = {"gguf_file": file}
    tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa", **source).eval()
    if not args.float32:
        model = in_float64(model)
    with open(args.text, encoding="utf-8") as f:
        ids = tokenizer(f.read(), add_special_tokens=False)["input_ids"]
    windows = [ids[i * args.seq_len : (i + 1) * args.seq_len] for i in args.windows]
    with torch.no_grad():
        dense = [model(torch.tensor([w])).logits[0, :-1] for w in windows]

    raw = open(args.raw, "wb") if args.raw else None
    rng = np.random.default_rng(0)
    cases = []
    for name, drop, mix, teacher, counted in [
        ("nll", [], 1.0, [None] * len(windows), lambda p: True),
        ("mixed", args.drop, MIX, dense, lambda p: p % 3 != 0),
    ]:
        hooks = [model.get_submodule(sub).register_forward_hook(zero) for sub in drop]
        model.zero_grad(set_to_none=True)
        nll, kl = losses(model, windows, teacher, counted)
        loss = mix * nll + (1 - mix) * kl
        loss.backward()
        for hook in hooks:
            hook.remove()
        parameters = []
        for tensor, p in model.named_parameters():
            if p.grad is None or any(tensor.startswith(sub + ".") for sub in drop):
                continue
            g = p.grad.numpy().astype("<f4").reshape(-1)
            if not g.any():  # the norm before a sub-block that is left out
                continue
            if raw:
                raw.write(g.tobytes())
            # Where it is large, so that rounding plays no part.
            at = np.sort(rng.choice(np.argsort(-np.abs(g), kind="stable")[: max(SAMPLES, g.size // 20)], SAMPLES, replace=False))
            norm = float(np.linalg.norm(g.astype(np.float64)))
            parameters.append({"name": tensor, "size": g.size, "norm": float(f"{norm:.8g}"), "at": at.tolist(),
                               "values": [float(f"{x:.8g}") for x in g[at]]})
        cases.append({"name": name, "drop": drop, "mix": mix, "temperature": TEMPERATURE, "loss": loss.item(), "parameters": parameters})
        print(f"{name}: loss {loss.item():.6f}, {len(parameters)} parameters")
    golden = {
        "provenance": {
            "script": "bench/peers/check_gradients.py",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "model": os.path.basename(args.model),
            "text": os.path.basename(args.text),
        },
        "windows": windows,
        "cases": cases,
    }
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
