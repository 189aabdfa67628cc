#!/usr/bin/env python3
"""Checks GGUF files of paretopress with the `gguf` package, and in llama.cpp.

    PARETOPRESS_GGUF_OUT=$PWD/out go test ./export -run 'TestMixtures|TestDrops|TestWidths$|TestAdapters'   # makes an existing folder full of them
    python check_gguf.py out/*.gguf            # or any other files
    python check_gguf.py --llama out/*.gguf    # llama-cpp-python too

Of each file: the reader takes it; tensors lie one after the other at multiples of 32 and end with the file; their
types, shapes and bytes agree; every weight decodes to a finite number; names are those that the architecture has;
there is a token for each row of the embedding; numbers of each layer have a length of block_count. With --llama
the file is loaded, and where FILE.json lies beside it (windows of tokens and their NLLs as paretopress computed them),
llama.cpp's NLL is within 0.5 %, and those of single windows within 1 % in the mean. Beside FILE.gguf an adapter FILE-lora.gguf is applied to it.
Of adapters, each pair of factors belongs to a tensor of the model beside them.
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader
from gguf.constants import MODEL_ARCH_NAMES, MODEL_TENSORS, TENSOR_NAMES
from gguf.quants import dequantize

TOLERANCE = 1e-2  # of the mean absolute difference of windows; that of all is held to half of it


def check(path: pathlib.Path) -> str:
    """Raises AssertionError, or returns a summary."""
    reader = GGUFReader(path)
    value = lambda key: reader.fields[key].contents()
    arch = value("general.architecture")
    end = reader.data_offset
    for t in reader.tensors:
        block, size = GGML_QUANT_SIZES[t.tensor_type]
        shape = [int(d) for d in t.shape]
        assert t.data_offset == end and end % 32 == 0, f"{t.name} lies at {t.data_offset}, not {end}"
        assert shape[0] % block == 0 and t.n_bytes == math.prod(shape) // block * size, f"{t.name}: {shape} in {t.n_bytes} bytes"
        end = (end + t.n_bytes + 31) // 32 * 32
        assert np.isfinite(dequantize(t.data, t.tensor_type)).all(), f"{t.name} is not finite"
    assert path.stat().st_size == end, f"{path.stat().st_size} bytes, the tensors end at {end}"

    if value("general.type") == "adapter":
        return check_adapter(path, reader)
    blocks = value(f"{arch}.block_count")
    known = next(a for a, name in MODEL_ARCH_NAMES.items() if name == arch)
    formats = [TENSOR_NAMES[t] for t in MODEL_TENSORS[known]]
    names = {f.format(bid=b) for f in formats for b in range(blocks)}
    for t in reader.tensors:
        stem, _, kind = t.name.rpartition(".")
        assert stem in names and kind in ("weight", "bias"), f"{t.name} is no tensor of {arch}"
    embedding = next(t for t in reader.tensors if t.name == "token_embd.weight")
    assert len(value("tokenizer.ggml.tokens")) == int(embedding.shape[1]), "tokens and rows of the embedding"
    for key in ("attention.head_count", "attention.head_count_kv", "feed_forward_length"):
        n = value(f"{arch}.{key}")
        assert not isinstance(n, list) or len(n) == blocks, f"{key} has {len(n)} numbers for {blocks} blocks"
    kinds = sorted({GGMLQuantizationType(t.tensor_type).name for t in reader.tensors})
    return f"{arch}, {blocks} blocks, {len(reader.tensors)} tensors, {' '.join(kinds)}"


LORA = "-lora.gguf"


def check_adapter(path: pathlib.Path, reader: GGUFReader) -> str:
    """Compares an adapter with the model beside it."""
    model = GGUFReader(path.with_name(path.name.removesuffix(LORA) + ".gguf"))
    same = lambda key: reader.fields[key].contents() == model.fields[key].contents()
    assert same("general.architecture") and reader.fields["adapter.type"].contents() == "lora"
    alpha = reader.fields["adapter.lora.alpha"].contents()
    have, want = {t.name: t for t in reader.tensors}, {t.name: t for t in model.tensors}
    for name in {n.rpartition(".")[0] for n in have}:
        a, b, base = (t.shape.tolist() for t in (have.pop(name + ".lora_a"), have.pop(name + ".lora_b"), want[name]))
        assert [a[0], b[1]] == base and a[1] == b[0], f"{name}: {a} and {b} beside {base}"
    assert alpha and not have, f"alpha {alpha}, left {list(have)}"
    return f"adapter, alpha {alpha:g}, {len(reader.tensors)} tensors"


def nll(model, window: list[int]) -> float:
    """Sum over all positions but the first, in nats."""
    logits = model.logits(window)[:-1].astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    logp = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return -float(logp[np.arange(len(window) - 1), window[1:]].sum())


def run(path: pathlib.Path) -> str:
    """Loads the file in llama.cpp and compares the NLL."""
    import llama  # beside this script; it wants llama-cpp-python

    beside = path.with_name(path.name + ".json")
    want = json.loads(beside.read_text()) if beside.exists() else {"windows": [[1, 2, 3]]}
    lora = path.with_name(path.name.removesuffix(".gguf") + LORA)
    with llama.Model(str(path), max(len(w) for w in want["windows"]), 1, str(lora) if lora.exists() else None) as model:
        got = np.array([nll(model, w) for w in want["windows"]])
    if "nll" not in want:
        return "llama.cpp loads it"
    due = np.array(want["nll"])
    each, all_ = np.abs(got - due).sum() / due.sum(), abs(got.sum() - due.sum()) / due.sum()
    assert each < TOLERANCE and all_ < TOLERANCE / 2, f"llama.cpp has NLLs {got.round(3)}, paretopress {due.round(3)}"
    return f"llama.cpp's NLL is off by {all_:.1e}, that of a window by {each:.1e}"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("files", nargs="+", type=pathlib.Path)
    args.add_argument("--llama", action="store_true", help="load them in llama.cpp too (needs llama-cpp-python)")
    options = args.parse_args()
    failed = False
    for path in options.files:
        try:
            line = check(path)
            if options.llama and not path.name.endswith(LORA):
                line += "; " + run(path)
        except (Exception, SystemExit) as err:  # the reader and llama.cpp raise what they like
            failed, line = True, f"FAILED: {type(err).__name__}: {err}"
        print(f"{path.name}: {line}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
