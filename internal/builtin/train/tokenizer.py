"""Trains the tokenizer of the embedded model on generated text. See README.md."""
import argparse
import subprocess

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SEED, SIZE = 1, 8 << 20


def train_tokenizer(text, vocab):
    """A byte-level BPE tokenizer in the form of GPT-2's, without special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=[], show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--gen", required=True, help="the gen command, built")
    p.add_argument("--vocab", type=int, default=1024, help="tokens")
    p.add_argument("--out", required=True, help="tokenizer.json to write")
    args = p.parse_args()
    text = subprocess.run([args.gen, "-seed", str(SEED), "-bytes", str(SIZE)], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.decode("ascii")
    train_tokenizer(text, args.vocab).save(args.out, pretty=False)


if __name__ == "__main__":
    main()
