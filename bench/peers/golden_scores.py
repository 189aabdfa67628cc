#!/usr/bin/env python3
"""Reference scores of a model from Hugging Face transformers in float32.

    python golden_scores.py --model SmolLM2-135M-Instruct.Q4_1.gguf --text Isaac.Newton-Opticks.txt \
        --drop model.layers.4.self_attn model.layers.10.mlp model.layers.21.self_attn \
        --out ../../engine/testdata/smollm2_scores.json

    go run ../../internal/builtin/gen -seed 20 -bytes 16384 > /tmp/builtin.txt
    python golden_scores.py --model ../../internal/builtin/model --text /tmp/builtin.txt --seq-len 256 \
        --drop model.layers.1.self_attn model.layers.5.mlp --out ../../engine/testdata/builtin_scores.json

For each configuration: the log-probability of every token of the windows but the
first of each, their mean negative log-likelihood, the mean KL divergence from the
dense model, and a digest of the weights of all linear modules, so that a test that
makes the same weights sees at once whether it made the same. The rules:

dense     as transformers dequantizes the file
dropped   the modules of --drop put out 0
pruned    in each linear module of the blocks, the floor(0.3*n) weights of smallest
          magnitude are 0; of equal ones the first in row-major order go first
quantized groups of 64 consecutive weights of a row become 4-bit integers:
          scale = float16((max-min)/15), or 1 where that is 0;
          zero = clip(round(-min/scale), 0, 15); q = clip(round(w/scale)+zero, 0, 15);
          w = (q-zero)*scale; in float32, rounding half to even
"""

import argparse
import hashlib
import json
import os
import platform

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

PRUNED = 0.3
BITS, GROUP = 4, 64


def sha256_file(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def linears(model):
    """The linear modules of the blocks, in forward order."""
    return [m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in name]


def weights_digest(model):
    h = hashlib.sha256()
    for module in linears(model):
        h.update(module.weight.detach().numpy().astype("<f4").tobytes())
    return h.hexdigest()


def prune(w):
    flat = w.reshape(-1).copy()
    order = np.argsort(np.abs(flat), kind="stable")
    flat[order[: int(PRUNED * flat.size)]] = 0
    return flat.reshape(w.shape)


def quantize(w):
    top = np.float32(2**BITS - 1)
    g = w.reshape(w.shape[0], -1, GROUP)
    low, high = g.min(axis=2, keepdims=True), g.max(axis=2, keepdims=True)
    scale = ((high - low) / top).astype(np.float16).astype(np.float32)
    scale[scale == 0] = 1
    zero = np.clip(np.round(-low / scale), 0, top)
    q = np.clip(np.round(g / scale) + zero, 0, top)
    return ((q - zero) * scale).reshape(w.shape)


@torch.no_grad()
def score(model, windows):
    """log p of the whole vocabulary at every predicting position, in float64."""
    return [torch.log_softmax(model(torch.tensor([w])).logits[0, :-1].double(), dim=-1) for w in windows]


def summary(name, model, windows, dense):
    probs = score(model, windows)
    picked = [p.gather(1, torch.tensor(w[1:])[:, None])[:, 0] for p, w in zip(probs, windows)]
    kl = [(d.exp() * (d - p)).sum(dim=-1) for d, p in zip(dense or probs, probs)]
    result = {
        "name": name,
        "weights_sha256": weights_digest(model),
        "nll": -torch.cat(picked).mean().item(),
        "kl": torch.cat(kl).mean().item(),
        "log_probs": [[round(x, 5) for x in p.tolist()] for p in picked],
    }
    print(f"{name}: nll {result['nll']:.6f} kl {result['kl']:.6f}")
    return result, probs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a .gguf file or a Hugging Face folder")
    parser.add_argument("--text", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--drop", nargs="+", required=True, help="sub-blocks of the dropped configuration")
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--windows", type=int, nargs="+", default=[2, 3], help="numbers of the windows to score")
    args = parser.parse_args()
    torch.set_num_threads(2)

    folder, source, weights = args.model, {}, os.path.join(args.model, "model.safetensors")
    if os.path.isfile(args.model):
        folder, file = os.path.split(os.path.abspath(args.model))
        source, weights = {"gguf_file": file}, args.model
    tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", **source
    ).eval()
    with open(args.text, encoding="utf-8") as f:
        ids = tokenizer(f.read(), add_special_tokens=False)["input_ids"]
    windows = [ids[i * args.seq_len : (i + 1) * args.seq_len] for i in args.windows]

    dense_weights = [m.weight.detach().clone() for m in linears(model)]

    def assign(rule):
        for module, w in zip(linears(model), dense_weights):
            module.weight.data = torch.from_numpy(rule(w.numpy()))

    result, dense = summary("dense", model, windows, None)
    scores = [result]

    def zero(module, inputs, output):
        if isinstance(output, tuple):
            return (torch.zeros_like(output[0]),) + output[1:]
        return torch.zeros_like(output)

    hooks = [model.get_submodule(name).register_forward_hook(zero) for name in args.drop]
    scores.append(summary("dropped", model, windows, dense)[0])
    for hook in hooks:
        hook.remove()
    assign(prune)
    scores.append(summary("pruned", model, windows, dense)[0])
    assign(quantize)
    scores.append(summary("quantized", model, windows, dense)[0])

    golden = {
        "provenance": {
            "script": "bench/peers/golden_scores.py",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "model": os.path.basename(weights),
            "model_sha256": sha256_file(weights),
            "text": os.path.basename(args.text),
            "text_sha256": sha256_file(args.text),
        },
        "seq_len": args.seq_len,
        "windows": args.windows,
        "tokens_sha256": hashlib.sha256(np.array(windows, dtype="<i4").tobytes()).hexdigest(),
        "dropped": args.drop,
        "scores": scores,
    }
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
