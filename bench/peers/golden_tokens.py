#!/usr/bin/env python3
"""Golden tokens of the reference tokenizer (Hugging Face `tokenizers`).

    python golden_tokens.py --out ../../engine/testdata/tokenizers
    python golden_tokens.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf --out ../../engine/testdata/tokenizers

The first trains one small tokenizer for each kind of pre-tokenizer on text that this
script makes, and writes them (KIND.json) with their tokens for TEXTS (cases.json). The
second builds a tokenizer from the metadata of a GGUF file, with the pre-tokenizer of
SmolLM2, and writes its tokens for TEXTS (smollm2.json).

With --random N the texts are N random ones from --seed, with --codepoints every character
of Unicode in several places, and with --file the lines and the whole of a text file. Then
give an --out of your own and run the conformance test on it:

    python golden_tokens.py --keep ../../engine/testdata/tokenizers --random 20000 --out DIR
    PARETOPRESS_TOKENS=DIR go test ./engine -run TestTokens

where --keep takes the tokenizers of a folder instead of training them.

Texts are bytes; the reference reads them as bytes.decode(errors="replace").
"""

import argparse
import json
import pathlib
import random
import shutil

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
DEFAULT = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
]
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT4O = TEKKEN.replace("|[^\\r\\n\\p{L}\\p{N}]", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]").replace(
    "|\\p{N}|", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}|")
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
# Letters of scripts that have two cases.
CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-"
    "\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-"
    "\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-"
    "\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115"
    "\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b"
    "\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb"
    "\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
DEEPSEEK_LLM = [
    "[\r\n]",
    r"\s?[" + CASED + "]+",
    r"\s?[!-/:-~" + "\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"\s+$",
    CJK,
]
DEEPSEEK_CODER = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK]


def split(*patterns: str, digits: bool = False) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([
        *(pre_tokenizers.Split(Regex(p), "isolated") for p in patterns),
        *([pre_tokenizers.Digits(individual_digits=True)] if digits else []),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def digits(individual: bool) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=individual),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])


KINDS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "llama3": split(LLAMA3),
    "qwen2": split(QWEN2),
    "smollm": digits(True),
    # llama.cpp's, for GGUF files that name it or none.
    "default": split(*DEFAULT),
    # Not a model's: a space in front, and added tokens with every flag.
    "flags": pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=True)]),
    "tekken": split(TEKKEN),
    "gpt4o": split(GPT4O),
    "deepseek-llm": split(*DEEPSEEK_LLM, digits=True),
    "deepseek-coder": split(*DEEPSEEK_CODER, digits=True),
}

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
FLAGS = [
    AddedToken("<left>", lstrip=True),
    AddedToken("<right>", rstrip=True),
    AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
    AddedToken("word", single_word=True),
    AddedToken("wordless", normalized=False),
    AddedToken("Å", normalized=True),  # U+212B, which NFC makes U+00C5
    AddedToken("  "),
]

# Words of the text that the tokenizers are trained on.
WORDS = """the and of to in that it is was for on with as his they at be this have from or had by
tokens merge ranks prefer pairs model weight prune search front bytes layers level candidate
function return const value index error string struct while break continue default
naïve façade Größe Straße élève señor über żółw İstanbul ﬁnal Ωmega привет мир данные слово
数据 模型 语言 中文 日本語 ひらがな カタカナ 한국어 문장 हिन्दी भाषा ภาษาไทย العربية עברית
don't we'll they've I'm you're he'd it's O'Neil WE'LL IT'S""".split()


def corpus(rng: random.Random, lines: int):
    """Lines of words, numbers, code and emoji."""
    for _ in range(lines):
        parts = []
        for _ in range(rng.randint(1, 14)):
            kind = rng.random()
            if kind < 0.8:
                parts.append(rng.choice(WORDS) + rng.choice(["", "", "", ",", ".", "!", "?", ";"]))
            elif kind < 0.9:
                parts.append(str(rng.randint(0, 10 ** rng.randint(1, 9))))
            elif kind < 0.97:
                parts.append(rng.choice(["x := f(a, b)", "{\n\treturn nil\n}", "a[i] += b;", "// see §3", "if (x != 0) {"]))
            else:
                parts.append(rng.choice(["😀", "👍🏽", "👩‍👩‍👧", "🇩🇪", "→", "…"]))
        yield rng.choice(["", "", "    ", "\t"]) + " ".join(parts) + rng.choice(["\n", "\n", "\n\n", " \n"])


def train(kind: str) -> Tokenizer:
    tok = Tokenizer(models.BPE(ignore_merges=kind in ("llama3", "tekken")))
    if kind in ("qwen2", "flags"):
        tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = KINDS[kind]
    tok.decoder = decoders.ByteLevel()
    # SmolLM2 lacks the bytes that its text had not: so does ours.
    alphabet = [] if kind == "smollm" else sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False)
    tok.train_from_iterator(corpus(random.Random(7), 3000), trainer)
    tok.add_special_tokens([AddedToken("<｜begin of text｜>", special=True)])
    if kind == "flags":
        tok.add_tokens(FLAGS)
    return tok


def save(tok: Tokenizer, kind: str, path: pathlib.Path) -> None:
    """Writes a tokenizer.json; for gpt2 with merges in their old form, "a b"."""
    j = json.loads(tok.to_str())
    if kind == "gpt2":
        j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
    path.write_text(json.dumps(j, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    Tokenizer.from_file(str(path))


def from_gguf(path: str) -> Tokenizer:
    import gguf

    fields = gguf.GGUFReader(path).fields
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tok.pre_tokenizer, tok.decoder = digits(True), decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False)
                            for t, k in zip(tokens, kinds) if k in (2, 3, 4)])
    return tok


TEXTS = [
    "", " ", "  ", "   ", "\n", "\r\n", "\n\n\n", " \n", "\n ", "\t", "\t\t x", "a", " a", "  a", "a ", "a  ", "a  b", "a\n b", "a \n b",
    "a\n\n b\n", "  \n  \n  x", "\r\r\n\n x", "!\n\n", " !\r\n\r\n?", "?!\n x", "\u00a0x\u00a0 \u3000y", "\u2028\u2029 a", "\x85 b", "\u200b z", "\ufeffbom",
    "\x0b\x0c\x1c\x1d\x1e\x1f", "The quick brown fox.", "Hello, world!", "don't we'll they've I'm you're he'd it's",
    "DON'T WE'LL THEY'VE I'M YOU'RE HE'D IT'S", "'s's 't 'sx 'rex 'x ''s ''ll 'l 'r 'v 'Re 'vE", "it'ſ IT'ſ ſ", "O'Neil's 'tis d'être rock'n'roll",
    "1", "12", "123", "1234", "12345678901", " 1 12 123 1234", "3.14159, 2e-10, 0x1F, 1_000", "a1b22c333d4444", "١٢٣٤ ४५६ 五百 Ⅷ ½ ² ①", "٣.١٤",
    "func main() {\n\tfmt.Println(\"hi\\n\")\n}\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]*c; }", "def f(x):\n    return x**2  # squared\n",
    "<div class=\"a\">&nbsp;</div>", "$x^2 + y_1 \\leq \\frac{1}{2}$", "path/to/file.txt C:\\dir https://example.org/?q=a&b=%20#frag", "a@b.c +1-2=3 __init__ ->",
    "数据模型", "中文，标点。日本語のテキスト、カタカナ", "한국어 문장입니다", "각 각 가각힣", "ภาษาไทย", "हिन्दी भाषा क्षत्रिय", "العربية ١٢٣", "עִבְרִית", "Привет, мир!", "Ελληνικά ΆΈ",
    "naïve naïve Å Å Å ﬁ ﬀ ǆ ẞ İ ı", "é é é̂̃ ̀x q̣̇ q̣̇", "a\u0301\u0302\u0303\u0304\u0305", "\u0301start", "\u1100\u1161\u11a8 \u1112\u1175\u11c2",
    "\u0958 \u0344 \u2126 \u212a \u1f71 \ufb1d \U0002f800", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
    "😀 😀😀 👍🏽 👩‍👩‍👧‍👦 🇩🇪🇫🇷 ❤️ ☺ 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a😀b 😀1 !😀", "𝓗𝓮𝓵𝓵𝓸 𝟙𝟚𝟛 𐐷 𒀀 𓂀 \U0010ffff \ue000", "\u200d\u200c\u2060\u00ad", "\x00\x01\x7f\x04", "½¼ ㊿ ⅫⅤ 〇 ㆒",
    "<|endoftext|>", "a<|endoftext|>b", " <|im_start|>user\nhi<|im_end|>\n", "<|im_start|><|im_start|>", "<|im_start", "|im_end|><|im_end|", "<｜begin of text｜>x",
    "a <left> b", "a <right>  b", "a \n<both>\n\u3000b", "<left><right>", "  <left>  <left>", "<right> <right> <left> <both>  <both>", "word", "words word swordless", "wordless word_ _word 1word é",
    "word\u0301 word\u200d word", "pre-word-post (word)", "wordwordless", "Å\u212b A\u030a Å", "a   b    c", "<lef<left>t>", "word word", "\n<left>\t<right>\n",
    "HelloWorld helloWORLD XMLHttpRequest iPhone ABCdefGHI a1B2 I'M he'Ll X'S'T we'RE", "ÄÖÜäöü ΑΒΓαβγ АБВабв ǅ ǅa aǅ Aǅb ʰA ªB中Aa文bB", "A\u0301B\u0301c\u0301D",
    "\u0301ABC \u0301abc \u0301\u0301 \u0301 A", "a/b//c\n/ d /\n//\r\n/e", "\u3000\u3000。、 \u3000a \u3000\n", "。\u3000 \u3000数 数\u3000据  ", "x  \n  ", "\tdef \tGHI", "aͅb 가a나 ｆｕＬＬ！",
    "the" * 50, "a" * 2000, " " * 300 + "x", "\n" * 200 + " y", "ab" * 700, "0" * 500, "!?" * 300, "数" * 300, "é" * 300, "\u0301" * 100, "x" + " \n" * 100 + "z",
    b"\xff", b"\xc3\x28", b"a\xc3", b"\xe2\x82", b"\xe2\x82x\xe2\x28\xa1", b"\xe2", b"\xf0\x9f\x98", b"\xf0\x9fa", b"\xf0\x28\x8c\xbc", b"\xf0\x90\x28\xbc", b"\xed\xa0\x80\xed\xb0\x80", b"\xc0\xaf\xe0\x80\xaf",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\x80\x81 \x82", b"ok \xe6\x95 ok", b"\xe0\xa0\xc3\xa9", b"\xf0\x80\x80\xf0\x8f\xbf\xbf", b"\xfe\xff\x00h", b"caf\xe9 \xfcber", b"\xf4\x8f\xbf",
]


def random_text(rng: random.Random, more: list[str] = ()) -> bytes:
    """A text of up to some forty pieces, each from one of many kinds."""
    pieces = [
        lambda: rng.choice(WORDS),
        lambda: rng.choice(WORDS) + rng.choice("'’") + rng.choice(["s", "T", "re", "VE", "m", "Ll", "d", "ſ", "x"]),
        lambda: " " * rng.choice([1, 1, 1, 2, 3, 7]),
        lambda: "".join(rng.choice(" \t\n\r\u00a0\u3000\u2003\x0b\x85\u2028") for _ in range(rng.randint(1, 6))),
        lambda: "\n" * rng.randint(1, 3),
        lambda: str(rng.randint(0, 10 ** rng.randint(1, 12))),
        lambda: "".join(rng.choice("0123456789٣४五Ⅷ½²①𝟙") for _ in range(rng.randint(1, 8))),
        lambda: "".join(rng.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for _ in range(rng.randint(1, 6))),
        lambda: "".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 12))),
        lambda: "".join(chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(rng.randint(1, 6))),
        lambda: "".join(chr(rng.randint(0xAC00, 0xD7A3)) for _ in range(rng.randint(1, 4))),
        lambda: "".join(chr(rng.choice([0x1100, 0x1161, 0x11A8]) + rng.randint(0, 12)) for _ in range(rng.randint(1, 6))),
        lambda: rng.choice("aeiouAEIOUncszqx") + "".join(chr(rng.randint(0x300, 0x36F)) for _ in range(rng.randint(1, 5))),
        lambda: chr(rng.randint(0x1F300, 0x1FAFF)) + rng.choice(["", "\u200d", "\ufe0f", "\U0001f3fd"]),
        lambda: "".join(chr(rng.choice([rng.randint(0, 0x2FFF), rng.randint(0, 0xD7FF), rng.randint(0xE000, 0x10FFFF)]))
                        for _ in range(rng.randint(1, 5))),
        lambda: chr(rng.randint(0, 0x24F)),
        lambda: rng.choice(SPECIAL + [t.content for t in FLAGS] + ["<｜begin of text｜>", "<|im_", "|>", *more]),
        lambda: rng.choice(["ab", "the", "a", "é", "\u0301", "数", " \n"]) * rng.randint(2, 60),
    ]
    broken = [
        lambda: bytes(rng.randint(128, 255) for _ in range(rng.randint(1, 6))),
        lambda: rng.choice(WORDS).encode()[: -1],
        lambda: chr(rng.randint(0x10000, 0x1FFFF)).encode()[: rng.randint(1, 3)],
        lambda: b"\xed" + bytes([rng.randint(0x80, 0xBF)] * 2),
    ]
    odds = 0.15 if rng.random() < 0.3 else 0
    out = b""
    for _ in range(rng.randint(1, rng.choice([3, 10, 40]))):
        out += rng.choice(broken)() if rng.random() < odds else rng.choice(pieces)().encode()
    return out


def codepoint_texts() -> list[str]:
    """Every character but surrogates, beside letters, digits, marks, spaces and itself."""
    chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    forms = ["a{0}a", "{0}1{0}", "! {0}!", "{0}{0} ", "'{0}{0}\n", "e\u0301{0}\u0327"]
    return ["|".join(f.format(c) for c in chars[i:i + 64] for f in forms) for i in range(0, len(chars), 64)]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--out", required=True, type=pathlib.Path)
    args.add_argument("--keep", type=pathlib.Path, help="folder of tokenizers already trained")
    args.add_argument("--gguf", help="GGUF file of SmolLM2")
    args.add_argument("--random", type=int, default=0)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--codepoints", action="store_true")
    args.add_argument("--file", type=pathlib.Path)
    opt = args.parse_args()
    opt.out.mkdir(parents=True, exist_ok=True)

    texts: list[str | bytes] = TEXTS
    if opt.random:
        rng = random.Random(opt.seed)
        texts = [random_text(rng) for _ in range(opt.random)]
    elif opt.codepoints:
        texts = codepoint_texts()
    elif opt.file:
        whole = opt.file.read_bytes()
        texts = [whole, *whole.splitlines(keepends=True)]
    texts = [t.encode() if isinstance(t, str) else t for t in texts]

    toks = {}
    if opt.gguf:
        toks["smollm2"] = from_gguf(opt.gguf)
    else:
        for kind in KINDS:
            path = opt.out / f"{kind}.json"
            if opt.keep:
                shutil.copy(opt.keep / path.name, path)
            else:
                save(train(kind), kind, path)
            toks[kind] = Tokenizer.from_file(str(path))
    name = "smollm2.json" if opt.gguf else "cases.json"
    with open(opt.out / name, "w", encoding="utf-8") as f:
        f.write("[\n")
        for i, t in enumerate(texts):
            ids = {k: tok.encode(t.decode(errors="replace"), add_special_tokens=False).ids for k, tok in toks.items()}
            try:
                case = {"text": t.decode(), "ids": ids}
            except UnicodeDecodeError:
                case = {"hex": t.hex(), "ids": ids}
            f.write(json.dumps(case, separators=(",", ":")) + ("\n" if i == len(texts) - 1 else ",\n"))
        f.write("]\n")


if __name__ == "__main__":
    main()
