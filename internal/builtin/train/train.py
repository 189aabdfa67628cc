"""Trains the embedded model on generated text and writes it in Hugging Face's layout. See README.md."""
import argparse
import json
import math
import pathlib
import subprocess
import time

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

TOKENIZER_SEED, TRAIN_SEED, HELD_OUT_SEED = 1, 1000, 77


def text_of(gen, seed, size):
    return subprocess.run([gen, "-seed", str(seed), "-bytes", str(size)], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.decode("ascii")


def train_tokenizer(gen, size, vocab):
    """A byte-level BPE tokenizer in the form of GPT-2's, without special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=[], show_progress=False)
    tokenizer.train_from_iterator([text_of(gen, TOKENIZER_SEED, size)], trainer)
    return tokenizer


class Block(nn.Module):
    """A Llama block; parameter names are Hugging Face's."""

    def __init__(self, c):
        super().__init__()
        d, h, kv, hd, f = (c[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size"))
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.heads, self.kv, self.hd, self.eps = h, kv, hd, c["rms_norm_eps"]
        self.self_attn = nn.ModuleDict(dict(q_proj=linear(d, h * hd), k_proj=linear(d, kv * hd), v_proj=linear(d, kv * hd), o_proj=linear(h * hd, d)))
        self.mlp = nn.ModuleDict(dict(gate_proj=linear(d, f), up_proj=linear(d, f), down_proj=linear(f, d)))
        self.input_layernorm = nn.RMSNorm(d, self.eps)
        self.post_attention_layernorm = nn.RMSNorm(d, self.eps)

    def forward(self, x, cos, sin, mask):
        b, t, d = x.shape
        a = self.self_attn
        y = self.input_layernorm(x)
        q = rope(a.q_proj(y).view(b, t, self.heads, self.hd).transpose(1, 2), cos, sin)
        k = rope(a.k_proj(y).view(b, t, self.kv, self.hd).transpose(1, 2), cos, sin)
        v = a.v_proj(y).view(b, t, self.kv, self.hd).transpose(1, 2)
        n = self.heads // self.kv
        k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
        # Written out: on CPUs the backward pass of scaled_dot_product_attention takes as long as all the rest.
        y = torch.softmax(torch.baddbmm(mask, q.flatten(0, 1), k.flatten(0, 1).mT, alpha=self.hd**-0.5), -1)
        y = torch.bmm(y, v.flatten(0, 1)).view(b, self.heads, t, self.hd)
        x = x + a.o_proj(y.transpose(1, 2).reshape(b, t, d))
        y = self.post_attention_layernorm(x)
        return x + self.mlp.down_proj(F.silu(self.mlp.gate_proj(y)) * self.mlp.up_proj(y))


def rope(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.norm = nn.RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.hd, self.theta = c["head_dim"], c["rope_theta"]
        for name, p in self.named_parameters():
            if p.dim() == 2:
                std = c["initializer_range"]
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    std /= math.sqrt(2 * c["num_hidden_layers"])
                nn.init.normal_(p, std=std)

    def forward(self, ids, targets):
        freq = self.theta ** (-torch.arange(0, self.hd, 2) / self.hd)
        angle = torch.outer(torch.arange(ids.shape[1]), freq)
        x = self.embed_tokens(ids)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        mask = torch.full((ids.shape[1],) * 2, -1e4, dtype=x.dtype).triu(1)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        logits = F.linear(self.norm(x), self.embed_tokens.weight)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


class Windows:
    """Windows of fresh text in shuffled order: text after text, each of the next seed, cut into windows of length + 1."""

    def __init__(self, gen, tokenizer, seed, size):
        self.gen, self.tokenizer, self.seed, self.size = gen, tokenizer, seed, size
        self.rows, self.length = None, 0

    def batch(self, length, tokens):
        n = tokens // length
        if self.length != length or len(self.rows) < n:
            ids = self.tokenizer.encode(text_of(self.gen, self.seed, self.size)).ids
            ids = torch.tensor(ids[: len(ids) // (length + 1) * (length + 1)]).view(-1, length + 1)
            self.rows = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(self.seed))]
            self.seed, self.length = self.seed + 1, length
        b, self.rows = self.rows[:n], self.rows[n:]
        return b[:, :-1], b[:, 1:]


def rate(step, steps, warmup, decay):
    """Warm-up, a plateau, and a straight descent to zero, so that a run can be made longer or shorter from a checkpoint."""
    return min(1.0, (step + 1) / warmup, (steps - step) / (decay * steps))


def save(model, tokenizer, config, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"model." + k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, folder / "model.part", metadata={"format": "pt"})
    (folder / "model.part").chmod(0o644)
    (folder / "model.part").replace(folder / "model.safetensors")  # never in place: another process may have it mapped
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "config.json").write_bytes(config.read_bytes())


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--gen", required=True, help="the gen command, built")
    p.add_argument("--config", required=True, type=pathlib.Path, help="config.json of the model")
    p.add_argument("--out", required=True, type=pathlib.Path, help="folder for the model")
    p.add_argument("--checkpoint", required=True, type=pathlib.Path, help="written every --every steps; resumed from if it exists")
    p.add_argument("--steps", type=int, default=3600)
    p.add_argument("--lengths", default="0:256,2000:512,3200:1024", help="window length from each step on")
    p.add_argument("--tokens", type=int, default=2048, help="tokens a step")
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--warmup", type=int, default=100)
    p.add_argument("--decay", type=float, default=0.3, help="share of the steps in which the rate descends")
    p.add_argument("--every", type=int, default=200)
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    config = json.loads(args.config.read_text())
    tokenizer = train_tokenizer(args.gen, 8 << 20, config["vocab_size"])
    lengths = [tuple(map(int, x.split(":"))) for x in args.lengths.split(",")]
    windows = Windows(args.gen, tokenizer, TRAIN_SEED, 4 << 20)
    held = torch.tensor(tokenizer.encode(text_of(args.gen, HELD_OUT_SEED, 1 << 17)).ids)
    held = held[: len(held) // 257 * 257].view(-1, 257)[:64]

    master = Model(config)  # float32; the forward and backward passes run on a bfloat16 copy
    work = Model(config).bfloat16()
    groups = [dict(params=[p for n, p in master.named_parameters() if p.dim() == 2 and n.startswith("layers.")], weight_decay=0.1),
              dict(params=[p for n, p in master.named_parameters() if p.dim() == 1 or not n.startswith("layers.")], weight_decay=0.0)]
    adamw = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95), fused=True)
    step, spent = 0, 0.0
    if args.checkpoint.exists():
        c = torch.load(args.checkpoint, weights_only=False)
        master.load_state_dict(c["model"])
        adamw.load_state_dict(c["optimizer"])
        step, spent = c["step"], c["seconds"]
        windows.seed, windows.rows, windows.length = c["windows"]

    start, mean = time.monotonic() - spent, None
    while step < args.steps:
        length = [n for at, n in lengths if at <= step][-1]
        with torch.no_grad():
            for a, b in zip(work.parameters(), master.parameters()):
                a.copy_(b)
                a.grad = None
        loss = work(*windows.batch(length, args.tokens))
        loss.backward()
        for a, b in zip(work.parameters(), master.parameters()):
            b.grad = a.grad.float()
        nn.utils.clip_grad_norm_(master.parameters(), 1.0)
        for g in adamw.param_groups:
            g["lr"] = args.lr * rate(step, args.steps, args.warmup, args.decay)
        adamw.step()
        step += 1
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % args.every == 0 or step == args.steps:
            with torch.no_grad():
                nll = work(held[:, :-1], held[:, 1:]).item()
            seconds = time.monotonic() - start
            print(f"step {step} tokens {step * args.tokens} loss {mean:.4f} held-out {nll:.4f} seconds {seconds:.0f}", flush=True)
            state = dict(model=master.state_dict(), optimizer=adamw.state_dict(), step=step, seconds=seconds,
                         windows=(windows.seed, windows.rows, windows.length))
            torch.save(state, args.checkpoint.with_suffix(".part"))
            args.checkpoint.with_suffix(".part").replace(args.checkpoint)
            save(master, tokenizer, args.config, args.out)


if __name__ == "__main__":
    main()
