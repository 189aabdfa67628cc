"""Scores the embedded model with transformers in float32, whole and damaged. See README.md."""
import argparse
import contextlib
import re
import subprocess

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

HELD_OUT_SEED = 77  # the model is trained on the seeds from 1000 on


def held_out(gen, size):
    """The text, and the nats a byte that its random choices cost."""
    r = subprocess.run([gen, "-seed", str(HELD_OUT_SEED), "-bytes", str(size)], check=True, capture_output=True)
    return r.stdout.decode("ascii"), float(re.search(rb"([\d.]+) nats a byte", r.stderr)[1])


@torch.no_grad()
def nll(model, windows):
    """Mean nats a token over positions 1 … L-1 of the windows."""
    total = 0.0
    for w in windows.split(4):
        logp = model(w).logits[:, :-1].log_softmax(-1)
        total -= logp.gather(-1, w[:, 1:, None]).double().sum().item()
    return total / (windows.shape[0] * (windows.shape[1] - 1))


def matrices(model):
    return [m.weight for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]


@contextlib.contextmanager
def dropped(module):
    """The sub-block's output is 0: the residual passes."""
    zero = lambda _, __, out: (torch.zeros_like(out[0]), *out[1:]) if isinstance(out, tuple) else torch.zeros_like(out)
    handle = module.register_forward_hook(zero)
    yield
    handle.remove()


@contextlib.contextmanager
def replaced(model, change):
    """Every linear module's matrix goes through change."""
    saved = [w.data for w in matrices(model)]
    for w in matrices(model):
        w.data = change(w.data)
    yield
    for w, s in zip(matrices(model), saved):
        w.data = s


def magnitude(sparsity):
    def prune(w):
        k = int(sparsity * w.numel())
        return w.flatten().scatter(0, w.abs().flatten().argsort()[:k], 0).view_as(w)
    return prune


def rtn(bits, group=64):
    def quantize(w):
        g = w.reshape(w.shape[0], -1, group)
        lo, hi = g.amin(-1, keepdim=True).clamp(max=0), g.amax(-1, keepdim=True).clamp(min=0)
        scale = ((hi - lo) / (2**bits - 1)).clamp(min=1e-8)
        zero = (-lo / scale).round()
        return (((g / scale).round() + zero).clamp(0, 2**bits - 1) - zero).mul(scale).view_as(w)
    return quantize


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--gen", required=True, help="the gen command, built")
    p.add_argument("--model", required=True, help="folder of the model")
    p.add_argument("--bytes", type=int, default=1 << 18, help="length of the held-out text")
    p.add_argument("--lengths", type=int, nargs="+", default=[512], help="window lengths; damage is measured at the first")
    p.add_argument("--windows", type=int, default=40, help="windows that damage is measured on")
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)

    model = LlamaForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=args.model + "/tokenizer.json")
    text, entropy = held_out(args.gen, args.bytes)
    ids = torch.tensor(tokenizer(text, add_special_tokens=False).input_ids)
    per_token = len(text) / len(ids)
    print(f"{len(text)} bytes, {len(ids)} tokens, {per_token:.3f} bytes a token")
    print(f"generator: {entropy:.4f} nats a byte, {entropy * per_token:.4f} a token")
    for length in args.lengths:
        loss = nll(model, ids[: len(ids) // length * length].view(-1, length))
        print(f"held-out, windows of {length}: {loss:.4f} nats a token, {loss / per_token:.4f} a byte")

    length = args.lengths[0]
    windows = ids[: len(ids) // length * length].view(-1, length)[: args.windows]
    dense = nll(model, windows)
    print(f"the first {len(windows)} windows: {dense:.4f}; what follows is the increase on them")
    for i, layer in enumerate(model.model.layers):
        rises = []
        for part in (layer.self_attn, layer.mlp):
            with dropped(part):
                rises.append(nll(model, windows) - dense)
        print(f"drop layer {i}: self_attn {rises[0]:+.4f} mlp {rises[1]:+.4f}")
    for s in (0.3, 0.5, 0.7):
        with replaced(model, magnitude(s)):
            print(f"magnitude-{s:.2f}: {nll(model, windows) - dense:+.4f}")
    for b in (4, 3, 2):
        with replaced(model, rtn(b)):
            print(f"rtn-{b}b-g64: {nll(model, windows) - dense:+.4f}")


if __name__ == "__main__":
    main()
