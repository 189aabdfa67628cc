#!/usr/bin/env python3
"""What llama.cpp makes of models of its architecture `deci`, whose layers may differ in heads and widths.

    .venv-llama/bin/python bench/peers/check_deci.py --model f32.gguf --text Isaac.Newton-Opticks.txt [--out deci.json] \
        [--paretopress bin/paretopress --source SmolLM2-135M-Instruct.Q4_1.gguf]

Single sub-blocks that are dropped, and FFNs and attention that are narrowed, are expressible in GGUF by this architecture alone. Each case below is
written twice from a Llama model: as `deci`, and as `llama` with zeros where something is missing, which needs no trust in
`deci`. The mean NLL of the two is compared on held-out windows (windows.py), and on predictions of the last position alone, as when text
is generated (then llama.cpp selects rows inside the last layer). A case is named by what it is meant to show; those that end in "trap" are known to
go wrong, which the check wants to see too: a build that no longer does may be used without the way around it.

With --paretopress, a model with widths of single layers is exported too (EXPORTED), and the NLL of the file in llama.cpp is to be what
paretopress evaluates, within 0.5 %, as llama.cpp rounds the inputs of quantized weights to 8 bits. It exits with 1 where anything is not as
expected.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import gguf
import numpy as np

import llama
import windows

TINY = 32  # width of an FFN of zeros
SAME = 2e-3  # relative difference of NLL that counts as the same

# Each case: {layer: (attention, ffn)}, what is done to the two.
# attention: "keep", "drop" (no heads), "zero" (one head of zeros), "linear" (heads, but none for keys: a projection of zeros), or how
# many groups of heads that share keys stay
# ffn: "keep", "drop" (width 0), "zero" (width TINY, zeros), or a share of the width
CASES = {
    "nothing": {},
    "attention of a middle layer": {2: ("drop", "keep")},
    "ffn of a middle layer, tiny zeros": {3: ("keep", "zero")},
    "widths": {2: ("keep", 0.75), 4: ("keep", 0.5), -1: ("keep", 0.25)},
    "groups of heads": {2: (1, "keep"), -1: (2, "keep")},
    "groups of heads of the first layer, widths": {0: (1, 0.5), 3: (2, "keep"), 4: ("keep", 0.75)},
    "both of a middle layer": {3: ("drop", "drop")},
    "attention of the last layer": {-1: ("drop", "keep")},
    "ffn of the last layer, tiny zeros": {-1: ("keep", "zero")},
    "attention of the first layer, one head of zeros": {0: ("zero", "keep")},
    "attention of the first layer, linear of zeros": {0: ("linear", "keep")},
    "ffn of the first layer, tiny zeros": {0: ("keep", "zero")},
    "everything": {0: ("zero", "zero"), 1: ("drop", "drop"), 2: ("drop", 0.5), 3: ("keep", "zero"), 4: ("drop", "zero"), -1: ("drop", "zero")},
    "ffn of width 0, trap": {3: ("keep", "drop")},
    "both of the last layer, trap": {-1: ("drop", "drop")},
    "attention of the first layer, trap": {0: ("drop", "keep")},
}

# What is exported: widths alone, with types joined to them, and beside a sub-block that is dropped.
EXPORTED = """model.layers.5.mlp: width-1408
model.layers.7.mlp: width-1280
model.layers.7.mlp.down_proj: q6_K
model.layers.12.mlp: width-1184
model.layers.12.mlp.down_proj: q8_0
model.layers.12.mlp.up_proj: q5_0
model.layers.15.self_attn: drop
model.layers.21.mlp: width-1500
"""
EXPORTED_SAME = 5e-3


class Source:
    """A Llama model in a .gguf file, or its first blocks."""

    def __init__(self, path, blocks):
        self.reader = gguf.GGUFReader(path)
        if self.get("general.architecture") != "llama":
            raise SystemExit(f"{path}: not of architecture llama")
        self.layers, self.heads = min(blocks, self.get("llama.block_count")), self.get("llama.attention.head_count")
        self.kv_heads, self.width = self.get("llama.attention.head_count_kv"), self.get("llama.feed_forward_length")
        self.hidden = self.get("llama.embedding_length")

    def get(self, key):
        return self.reader.get_field(key).contents()

    def parts(self, case):
        """What is done to attention and FFN of every layer."""
        parts = [("keep", "keep")] * self.layers
        for layer, (attention, ffn) in case.items():
            parts[layer] = attention, int(ffn * self.width) if isinstance(ffn, float) else ffn
        return parts


def write(source, path, arch, keys, tensor):
    """Copies a model. keys replace those under the architecture; tensor(name, data, type) gives data and type, or None to leave it out."""
    writer = gguf.GGUFWriter(path, arch)
    keys = {f"{arch}.block_count": source.layers, **keys}
    for name, field in source.reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        key = re.sub("^llama", arch, name)
        if key in keys:
            continue
        kind = field.types[0]
        writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for key, value in keys.items():
        writer.add_array(key, value) if isinstance(value, list) else writer.add_uint32(key, value)
    for t in source.reader.tensors:
        if (place(t.name)[0] or 0) >= source.layers:
            continue
        made = tensor(t.name, t.data, t.tensor_type)
        if made:
            writer.add_tensor(t.name, made[0], raw_dtype=made[1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def place(name):
    """The layer of a tensor and the rest of its name, or (None, name)."""
    match = re.fullmatch(r"blk\.(\d+)\.(.*)\.weight", name)
    return (int(match[1]), match[2]) if match else (None, name)


def zeros(*shape):
    return np.zeros(shape, np.float32), gguf.GGMLQuantizationType.F32


def narrowed(rest, data, kind, width):
    """gate and up with their first rows, down with its first columns."""
    return (data[:width] if rest != "ffn_down" else np.ascontiguousarray(data[:, :width])), kind


def write_deci(source, path, case):
    parts = source.parts(case)
    head = source.hidden // source.heads
    heads = {"keep": (source.heads, source.kv_heads), "drop": (0, 0), "zero": (1, 1), "linear": (source.heads, 0)}
    heads |= {n: (n * source.heads // source.kv_heads, n) for n in range(1, source.kv_heads)}
    widths = [{"keep": source.width, "drop": 0, "zero": TINY}.get(ffn, ffn) for _, ffn in parts]
    keys = {
        "deci.attention.head_count": [heads[a][0] for a, _ in parts], "deci.attention.head_count_kv": [heads[a][1] for a, _ in parts],
        "deci.feed_forward_length": widths, "deci.attention.key_length": head, "deci.attention.value_length": head,
    }

    def tensor(name, data, kind):
        layer, rest = place(name)
        if layer is None:
            return data, kind
        attention, ffn = parts[layer]
        if rest.startswith("attn"):
            if attention == "keep" or rest == "attn_norm" and attention != "drop":
                return data, kind
            if isinstance(attention, int):
                width = head * heads[attention][rest in ("attn_k", "attn_v")]
                return (np.ascontiguousarray(data[:, :width]) if rest == "attn_output" else data[:width]), kind
            if attention == "zero":
                return zeros(source.hidden, head) if rest == "attn_output" else zeros(head, source.hidden)
            return zeros(source.hidden, source.hidden) if attention == "linear" and rest == "attn_output" else None
        if ffn == "drop":
            return None
        if rest == "ffn_norm" or ffn == "keep":
            return data, kind
        if ffn == "zero":
            return zeros(source.hidden, TINY) if rest == "ffn_down" else zeros(TINY, source.hidden)
        return narrowed(rest, data, kind, ffn)

    write(source, path, "deci", keys, tensor)


def write_llama(source, path, case):
    parts = source.parts(case)

    def tensor(name, data, kind):
        layer, rest = place(name)
        if layer is None:
            return data, kind
        attention, ffn = parts[layer]
        if rest == "attn_output" and isinstance(attention, int):
            data = data.copy()
            data[:, attention * source.hidden // source.kv_heads:] = 0
            return data, kind
        if rest == "attn_output" and attention != "keep" or rest == "ffn_down" and ffn in ("drop", "zero"):
            return zeros(*data.shape)
        if rest == "ffn_down" and ffn != "keep":
            data = data.copy()
            data[:, ffn:] = 0
        return data, kind

    write(source, path, "llama", {}, tensor)


def score(path, samples, threads):
    """The mean NLL of the windows, and the mean over them of that of the last token after the rest in one batch."""
    with llama.Model(path, len(samples[0]), threads) as model:
        last = [-log_softmax(model.last_logits(ids[:-1]))[ids[-1]] for ids in samples]
        every = []
        for ids in samples:
            logits = model.logits(ids)
            every.append(-np.mean([log_softmax(logits[i])[ids[i + 1]] for i in range(len(ids) - 1)]))
        return float(np.mean(every)), float(np.mean(last))


def log_softmax(logits):
    x = logits.astype(np.float64) - logits.max()
    return x - np.log(np.exp(x).sum())


def apart(path, args):
    """What score gives in a process of its own, since llama.cpp ends the process where an assertion fails; or None and what it said."""
    command = [sys.executable, __file__, "--score", path, "--ids", args.windows_file, "--threads", str(args.threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, GGML_NO_BACKTRACE="1"))
    if done.returncode:
        lines = [l for l in (done.stdout + done.stderr).splitlines() if "ASSERT" in l or "error" in l]
        return None, (lines or [f"ends with {done.returncode}"])[0]
    return json.loads(done.stdout), ""


def exported(args, folder):
    """The NLL of paretopress and of llama.cpp of a file that paretopress exports."""
    config, path = os.path.join(folder, "config"), os.path.join(folder, "exported.gguf")
    with open(config, "w", encoding="utf-8") as f:
        f.write(EXPORTED)
    run = lambda *command: json.loads(subprocess.run([args.paretopress, *command, "--json"], stdout=subprocess.PIPE, check=True).stdout)
    run("export", "--model", args.source, "--config", config, "--format", "gguf", "--out", path)
    flags = ["--text", args.text, "--seq-len", str(args.seq_len), "--max-seqs", str(args.windows)]
    mine, same = run("eval", "--model", args.source, "--config", config, *flags)["nll"], run("eval", "--model", path, *flags)["nll"]
    ids = windows.tokens(args.paretopress, path, args.text)
    samples = [ids[i * args.seq_len : (i + 1) * args.seq_len] for i in range(args.windows)]
    return mine, same, score(path, samples, args.threads)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a .gguf file of architecture llama, in 16 or 32 bits")
    parser.add_argument("--blocks", type=int, default=6, help="of the model, from its first")
    windows.add_arguments(parser, "held-out", 2)
    parser.set_defaults(seq_len=128)
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--keep", help="folder for the files; else they are removed")
    parser.add_argument("--paretopress", help="the binary, to check what it exports")
    parser.add_argument("--source", help="the .gguf file that it exports")
    parser.add_argument("--out", help="JSON file")
    parser.add_argument("--score", help=argparse.SUPPRESS)  # for apart
    args = parser.parse_args()
    if args.score:
        with open(args.ids, encoding="utf-8") as f:
            print(json.dumps(score(args.score, json.load(f), args.threads)))
        return 0

    with llama.Model(args.model, args.seq_len, args.threads) as model:
        _, samples = windows.chosen(args, model.tokens)
    source, results, failed = Source(args.model, args.blocks), {}, False
    with tempfile.TemporaryDirectory() as temp:
        args.windows_file = os.path.join(temp, "windows.json")
        with open(args.windows_file, "w", encoding="utf-8") as f:
            json.dump(samples, f)
        for name in args.cases:
            folder = args.keep or temp
            deci, plain = (os.path.join(folder, f"{re.sub('[^a-z0-9]+', '-', name)}.{arch}.gguf") for arch in ("deci", "llama"))
            write_deci(source, deci, CASES[name])
            write_llama(source, plain, CASES[name])
            want, _ = apart(plain, args)
            got, why = apart(deci, args)
            same = got is not None and all(abs(g - w) <= SAME * w for g, w in zip(got, want))
            expected = same != name.endswith("trap")
            failed |= not expected
            results[name] = {"deci": got, "llama": want, "error": why, "same": same}
            shown = why if got is None else "nll {:.5f}, last {:.5f}".format(*got)
            print(f"{'ok  ' if expected else 'FAIL'} {name}: deci {shown}; llama with zeros nll {want[0]:.5f}, last {want[1]:.5f}", flush=True)
            if not args.keep:
                os.remove(deci)
                os.remove(plain)
        if args.paretopress:
            mine, same, theirs = exported(args, temp)
            off = abs(theirs - mine) / mine
            failed |= not off <= EXPORTED_SAME
            results["exported"] = {"candidate": mine, "file": same, "llama.cpp": theirs}
            print(f"{'ok  ' if off <= EXPORTED_SAME else 'FAIL'} exported widths: nll {mine:.6f}, of the file {same:.6f}, in llama.cpp {theirs:.6f}, {off:.1e} apart", flush=True)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)
            f.write("\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
