"""The windows of a text and how they are shared out, as paretopress does it.

A text's tokens, without special ones, are cut into windows of one length, numbered from the start, and the rest is
cut off. Of every four windows the first two calibrate, the third scores candidates and the fourth is held out.
"""

import json
import math
import subprocess

SEQ_LEN = 512
PARTS = {"calibration": (0, 1), "search": (2,), "held-out": (3,), "all": (0, 1, 2, 3)}


def numbers(count, part, most=0):
    """The numbers of the first windows of a part, of count in all. most 0: every one."""
    chosen = [i for i in range(count) if i % 4 in PARTS[part]]
    return chosen[:most] if most else chosen


def tokens(paretopress, model, text):
    """The token ids of a text file, by the command paretopress."""
    done = subprocess.run([paretopress, "model", "tokens", model, "--text", text, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)["ids"]


def add_arguments(parser, part, most):
    """The flags that choose windows; chosen() reads them."""
    parser.add_argument("--text", help="text file")
    parser.add_argument("--ids", help="JSON file of the text's tokens, as `paretopress model tokens --json` prints it")
    parser.add_argument("--seq-len", type=int, default=SEQ_LEN)
    parser.add_argument("--part", choices=PARTS, default=part, help="which of every four windows")
    parser.add_argument("--windows", type=int, default=most, help="how many of them, from the first (0: all)")


def chosen(args, tokenize):
    """The numbers of the windows that the flags choose and their tokens. tokenize takes the text as bytes."""
    if bool(args.text) == bool(args.ids):
        raise SystemExit("give --text or --ids")
    if args.ids:
        with open(args.ids, encoding="utf-8") as f:
            ids = json.load(f)["ids"]
    else:
        with open(args.text, "rb") as f:
            ids = tokenize(f.read())
    which = numbers(len(ids) // args.seq_len, args.part, args.windows)
    if not which:
        raise SystemExit(f"{args.ids or args.text}: {len(ids)} tokens give no window of this part")
    return which, [ids[i * args.seq_len : (i + 1) * args.seq_len] for i in which]


def mean(values):
    """The mean of values, one a window, and its standard error, None of one window."""
    count = len(values)
    at = math.fsum(values) / count
    if count < 2:
        return at, None
    return at, math.sqrt(math.fsum((v - at) ** 2 for v in values) / (count - 1) / count)
