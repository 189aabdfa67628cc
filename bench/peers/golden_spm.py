#!/usr/bin/env python3
"""Golden tokens of tokenizers of SentencePiece's kind.

    python golden_spm.py --out ../../engine/testdata/tokenizers

Trains a small BPE model with byte fallback with `sentencepiece` on text that golden_tokens.py
makes (spm.model), writes it as the tokenizer.json that Hugging Face makes of such a model
(spm.json) and variants of it (spm_variants.json: members that take the place of those of
spm.json), and the tokens of texts under each of them, from Hugging Face `tokenizers`
(spm_cases.json). spm_pieces.json has tokens that `sentencepiece` itself gives, for the texts in
which there is nothing that it treats otherwise: no added token.

With --random N the texts are N random ones from --seed; --keep takes spm.model from a folder
instead of training it:

    python golden_spm.py --keep ../../engine/testdata/tokenizers --random 20000 --out DIR
    PARETOPRESS_TOKENS=DIR go test ./engine -run TestSPM

Texts are bytes; the reference reads them as bytes.decode(errors="replace").
"""

import argparse
import io
import json
import pathlib
import random

import sentencepiece
from golden_tokens import TEXTS, corpus, random_text
from tokenizers import Tokenizer

SPACE = "\u2581"
USER = ["<|im_start|>", "<|im_end|>", "\u2581\u2581\u2581\u2581\u2581"]
MORE = [
    "▁", "a▁b", " ▁ ▁", "<s>", "</s>a", "<s> a", " <s>  a", "a<unk>b</s>", "<s><s>", "<0x0A>", "<0xff><0xFF>", "<0x", "the  the   the    the", "\n the", "      x",
    "aaaa aaaaa aaaaaa", "thethethe ththth", "levellevel  level", "     ", "      ", "<|im_start|> user\n<|im_end|>  x", "[PAD0]",
]


def train() -> bytes:
    out = io.BytesIO()
    lines = [line for text in corpus(random.Random(11), 3000) for line in text.splitlines() if line.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type="bpe", vocab_size=800, byte_fallback=True,
        character_coverage=0.998, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, user_defined_symbols=USER, num_threads=1, minloglevel=2)
    return out.getvalue()


def tokenizer_json(model: bytes) -> dict:
    """What Hugging Face's converter of LlamaTokenizer makes of a model."""
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [sp.id_to_piece(i) for i in range(sp.vocab_size())]
    vocab = {p: i for i, p in enumerate(pieces)}
    merges = []
    for i, p in enumerate(pieces):
        if sp.is_control(i) or sp.is_unknown(i) or sp.is_byte(i) or p in USER:
            continue
        local = [(p[:k], p[k:]) for k in range(1, len(p)) if p[:k] in vocab and p[k:] in vocab]
        merges += [(sp.get_score(i), len(a), len(b), a, b) for a, b in local]
    merges.sort(key=lambda m: m[:3], reverse=True)
    added = [{"id": i, "content": p, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
             for i, p, special in [(0, "<unk>", True), (1, "<s>", True), (2, "</s>", True),
                                   *((vocab[u], u.replace(SPACE, " "), False) for u in USER)]]
    for a in added:  # matched in the text as it is
        if a["content"] not in vocab:
            vocab[a["content"]] = a["id"]
            del vocab[pieces[a["id"]]]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": SPACE}, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab,
                  "merges": [f"{a} {b}" for *_, a, b in merges]},
    }


def meta(**members) -> dict:
    return {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": SPACE, **members}}


def variants(base: dict) -> dict:
    """Members of a tokenizer.json by the name of the variant; those of "model" take the place of members of it."""
    bytes_missing = {t: i for t, i in base["model"]["vocab"].items() if t not in ("<0xE2>", "<0xC3>", "<0xF0>")}
    return {
        "first": meta(prepend_scheme="first", split=False),
        "always": meta(prepend_scheme="always", split=True),
        "old": meta(add_prefix_space=True),
        "never": meta(prepend_scheme="never", split=False),
        "replace": {"normalizer": base["normalizer"]["normalizers"][1]},
        "normalized": {"added_tokens": [{**a, "normalized": True, "lstrip": i % 2 == 1, "rstrip": i > 2} for i, a in enumerate(base["added_tokens"])]},
        "unknown": {"model": {"byte_fallback": False}},
        "unfused": {"model": {"byte_fallback": False, "fuse_unk": False}},
        "some": {"model": {"vocab": bytes_missing}},
        "whole": {**meta(prepend_scheme="first", split=True), "model": {"ignore_merges": True, "merges": base["model"]["merges"][:200]}},
    }


def apply(base: dict, change: dict) -> dict:
    out = {**base, **change}
    out["model"] = {**base["model"], **change.get("model", {})}
    return out


def dump(value) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--out", required=True, type=pathlib.Path)
    args.add_argument("--keep", type=pathlib.Path, help="folder with spm.model")
    args.add_argument("--random", type=int, default=0)
    args.add_argument("--seed", type=int, default=1)
    opt = args.parse_args()
    opt.out.mkdir(parents=True, exist_ok=True)

    model = (opt.keep / "spm.model").read_bytes() if opt.keep else train()
    (opt.out / "spm.model").write_bytes(model)
    base = tokenizer_json(model)
    changes = variants(base)
    (opt.out / "spm.json").write_text(dump(base) + "\n", encoding="utf-8")
    (opt.out / "spm_variants.json").write_text(dump(changes) + "\n", encoding="utf-8")
    toks = {"spm": Tokenizer.from_str(dump(base)), **{k: Tokenizer.from_str(dump(apply(base, c))) for k, c in changes.items()}}
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)

    texts: list[str | bytes] = [*(t for t in TEXTS if len(t) <= 60), *MORE]
    if opt.random:
        rng = random.Random(opt.seed)
        texts = [random_text(rng, ["<s>", "</s>", "<unk>", "<0x0A>", SPACE, *USER, " " * 5]) for _ in range(opt.random)]
    cases, pieces = [], []
    added = [a["content"] for a in base["added_tokens"]]
    for t in texts:
        t = t.encode() if isinstance(t, str) else t
        read = t.decode(errors="replace")
        key = {"text": read} if read.encode() == t else {"hex": t.hex()}
        cases.append({**key, "ids": {k: tok.encode(read, add_special_tokens=False).ids for k, tok in toks.items()}})
        normal = SPACE + read.replace(" ", SPACE)
        if not any(a in read or a.replace(" ", SPACE) in normal for a in added) and "\0" not in read:
            pieces.append({**key, "ids": {"sentencepiece": sp.encode(read)}})
    for name, list_ in (("spm_cases.json", cases), ("spm_pieces.json", pieces)):
        (opt.out / name).write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in list_) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
