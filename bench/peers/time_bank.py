#!/usr/bin/env python3
"""Times a bank of SparseGPT levels of SmolLM2-135M, EvoPress's prune.py beside paretopress.

    git clone https://github.com/IST-DASLab/EvoPress /tmp/evopress
    python bench/peers/time_bank.py --evopress /tmp/evopress --paretopress bin/paretopress \\
        --model SmolLM2-135M-Instruct.Q4_1.gguf --text Opticks.txt --blocks 3

Both build 13 levels of every linear module from 32,768 calibration tokens of the same text, in windows
of 512. With --blocks N both get the same model cut to its first N blocks: the work is the same in each
block, so that ratios hold for the whole model. Rounds alternate and the best of each side counts.

EvoPress runs on the CPU: what prune.py does after loading the model, FastOBCPruner.prune, unchanged and
on its default device, without torch.distributed. Its time is the one that prune.py prints and leaves the
loading of model and tokens out; paretopress's is that of the whole command `paretopress bank build`. Its
levels are 0.5 ± i·(9000 weights) for i up to 6, which gives every module 13 and none at sparsity 0, where
prune.py fails; those of paretopress are the multiples of 1/14. On a busy machine PyTorch's threads wait
for each other at every one of its many small operations: then --threads 1 and CPU seconds compare better.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SEQ_LEN = 512
WINDOWS = 64
LEVELS = 13
SPARSITY, WEIGHTS_DIFF, NUM_LEVELS = 0.5, 9000, (LEVELS - 1) // 2
MODULES = r".*layers.*((q|k|v|o|down|up|gate)_proj)$"


def truncate(source, target, blocks):
    """Copies a .gguf file of a Llama model without the blocks from `blocks` on."""
    reader = gguf.GGUFReader(source)
    arch = reader.get_field("general.architecture").contents()
    writer = gguf.GGUFWriter(target, arch)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = blocks if name == f"{arch}.block_count" else field.contents()
        kind = field.types[0]
        writer.add_key_value(name, value, kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for t in reader.tensors:
        if not t.name.startswith("blk.") or int(t.name.split(".")[1]) < blocks:
            writer.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def usage(who):
    """CPU seconds of this process or of its children."""
    u = resource.getrusage(who)
    return u.ru_utime + u.ru_stime


def load(model, dtype):
    folder, file = os.path.split(os.path.abspath(model))
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=getattr(torch, dtype)).eval()


def evopress(pruner, model, windows, folder):
    """Wall and CPU seconds of EvoPress, which writes its files to a folder."""
    data = [([], {"input_ids": w}) for w in windows]
    run = pruner(
        model, data, prunable_modules=MODULES, pre_block_modules=["model.embed_tokens", "model.rotary_emb"],
        block_modules="model.layers", save_dir=folder, rel_damp=1e-2, block_size=128,
    )
    start, cpu = time.perf_counter(), usage(resource.RUSAGE_SELF)
    run.prune(SPARSITY, WEIGHTS_DIFF, NUM_LEVELS)
    seconds = time.perf_counter() - start, usage(resource.RUSAGE_SELF) - cpu
    return seconds, sum(1 for _ in pathlib.Path(folder).glob("*/*.pth"))


def paretopress(binary, model, text, numerics, threads, folder):
    """The same of `paretopress bank build`."""
    command = [
        os.path.abspath(binary), "bank", "build", "--json", "--data", folder, "--model", model, "--text", text, "--space", "sparsity",
        "--numerics", numerics, "--seq-len", str(SEQ_LEN), "--calibration-tokens", str(SEQ_LEN * WINDOWS), "--sparsity-step", repr(1 / (LEVELS + 1)),
    ]
    start, cpu = time.perf_counter(), usage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=dict(os.environ, GOMAXPROCS=str(threads)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    seconds = time.perf_counter() - start, usage(resource.RUSAGE_CHILDREN) - cpu
    return seconds, json.loads(done.stdout)["levels"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evopress", required=True, help="a clone of EvoPress")
    parser.add_argument("--paretopress", required=True, help="the binary")
    parser.add_argument("--model", required=True, help="the .gguf file")
    parser.add_argument("--text", required=True)
    parser.add_argument("--blocks", type=int, default=3, help="of the model, from the first")
    parser.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"], help="of EvoPress's model; none: paretopress alone")
    parser.add_argument("--numerics", nargs="+", default=["exact"], help="of paretopress")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    sys.path.insert(0, args.evopress)
    from src.pruner import FastOBCPruner

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as top:
        cut = os.path.join(top, "model.gguf")
        truncate(args.model, cut, args.blocks)
        text = os.path.abspath(args.text)
        ids = AutoTokenizer.from_pretrained(top, gguf_file="model.gguf")(
            pathlib.Path(text).read_text(), return_tensors="pt", verbose=False
        ).input_ids
        windows = ids[:, : SEQ_LEN * WINDOWS].split(SEQ_LEN, dim=1)
        best = {}
        for i in range(args.rounds):
            for side, how in [("EvoPress", d) for d in args.dtypes] + [("paretopress", n) for n in args.numerics]:
                name = f"{side} {how}"
                with tempfile.TemporaryDirectory(dir=top) as folder:
                    if side == "paretopress":
                        seconds, levels = paretopress(args.paretopress, cut, text, how, args.threads, folder)
                    else:
                        seconds, levels = evopress(FastOBCPruner, load(cut, how), windows, folder)
                if levels != LEVELS * 7 * args.blocks:
                    sys.exit(f"{name} made {levels} levels, want {LEVELS * 7 * args.blocks}")
                print(f"round {i}: {name}: {seconds[0]:.1f} s, {seconds[1]:.1f} CPU s", flush=True)
                best[name] = tuple(map(min, zip(best.get(name, seconds), seconds)))
    reference = f"paretopress {args.numerics[0]}"
    own = best[reference]
    print(f"\nbest of {args.rounds} rounds, {args.threads} threads, {args.blocks} blocks")
    print(f"| | s | to {reference} | CPU s | to {reference} |\n|---|---|---|---|---|")
    for name, (wall, cpu) in best.items():
        print(f"| {name} | {wall:.1f} | {wall / own[0]:.2f}x | {cpu:.1f} | {cpu / own[1]:.2f}x |")


if __name__ == "__main__":
    main()
