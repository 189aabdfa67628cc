#!/usr/bin/env python3
"""Loads tokenizers that paretopress made and compares their tokens.

    python check_tokenizer.py CASES.json KIND FOLDER [CASES.json KIND FOLDER …]

FOLDER has a tokenizer.json and a tokenizer_config.json; `transformers` loads it, beside a config.json
of a Llama model, and `tokenizers` its tokenizer.json alone. Both encode the texts of CASES.json, one of
engine/testdata/tokenizers, and each must give the tokens that are there under KIND. The test
TestPeersTokenizer of package engine runs this with the Python that PARETOPRESS_PYTHON names.
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer
from transformers import AutoTokenizer


def check(cases: list, kind: str, folder: pathlib.Path) -> int:
    """Prints the differences and gives their number."""
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    alone, loaded = Tokenizer.from_file(str(folder / "tokenizer.json")), AutoTokenizer.from_pretrained(folder)
    wrong = 0

    def differ(what: str, got, want) -> None:
        nonlocal wrong
        if got != want:
            wrong += 1
            print(f"{kind}, {what}: {got}, want {want}")

    for case in cases:
        text = case["text"] if "text" in case else bytes.fromhex(case["hex"]).decode(errors="replace")
        differ(f"tokenizers, {text!r:.80}", alone.encode(text, add_special_tokens=False).ids, case["ids"][kind])
        differ(f"transformers, {text!r:.80}", loaded(text, add_special_tokens=False)["input_ids"], case["ids"][kind])
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    body = loaded("x", add_special_tokens=False)["input_ids"]
    ends = [loaded.bos_token_id] * config["add_bos_token"] + body + [loaded.eos_token_id] * config["add_eos_token"]
    differ("transformers, with special tokens", loaded("x")["input_ids"], ends)
    if config.get("chat_template"):
        differ("chat template", bool(loaded.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)), True)
    print(f"{kind}: {len(cases)} texts, {wrong} differences")
    return wrong + (not cases)


def main() -> None:
    args, wrong = sys.argv[1:], 0
    for cases, kind, folder in zip(args[::3], args[1::3], args[2::3], strict=True):
        wrong += check(json.loads(pathlib.Path(cases).read_text(encoding="utf-8")), kind, pathlib.Path(folder))
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
