// Train trains a model of the Llama family from scratch on the text of package builtin, with the engine's backward pass, and writes it
// in Hugging Face's layout in BF16. How the embedded model was made, and what this program reaches: README.md.
//
//	go run ./internal/builtin/train --out model --checkpoint run.safetensors
//
// Progress goes to standard error. It goes on from its checkpoint, if that is there, to the bytes that it would have come to without
// a stop; they do not depend on the number of threads.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/paretopress/paretopress/internal/builtin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	o := options{Text: 4 << 20, Log: os.Stderr}
	flags := flag.NewFlagSet("train", flag.ContinueOnError)
	config := flags.String("config", "", "config.json of the model (default that of the embedded model)")
	tokenizer := flags.String("tokenizer", "", "tokenizer.json (default that of the embedded model)")
	lengths := flags.String("lengths", "0:256,2000:512,3200:1024", "tokens of a window from each step on")
	flags.StringVar(&o.Out, "out", "", "folder for the model")
	flags.StringVar(&o.Checkpoint, "checkpoint", "", "file that is written every --every steps, and gone on from if it is there")
	flags.IntVar(&o.Steps, "steps", 3600, "steps in all")
	flags.IntVar(&o.Batch, "tokens", 2048, "tokens a step")
	flags.Float64Var(&o.Rate, "lr", 3e-3, "learning rate")
	flags.IntVar(&o.Warmup, "warmup", 100, "steps in which the rate ascends")
	flags.Float64Var(&o.Decay, "decay", 0.3, "share of the steps in which the rate descends")
	flags.IntVar(&o.Every, "every", 200, "steps between held-out losses and checkpoints")
	flags.Uint64Var(&o.Seed, "seed", 0, "seed of the first weights")
	flags.IntVar(&o.Threads, "threads", 0, "threads that compute; 0 stands for all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.Out == "" || o.Checkpoint == "" {
		return fmt.Errorf("--out and --checkpoint are needed, and no argument beside flags")
	}
	var err error
	if o.Lengths, err = parseLengths(*lengths); err != nil {
		return err
	}
	if o.Config, err = given(*config, "config.json"); err != nil {
		return err
	}
	if o.Tokenizer, err = given(*tokenizer, "tokenizer.json"); err != nil {
		return err
	}
	return train(ctx, o)
}

// given reads a file that a flag names or, where it names none, that of the embedded model.
func given(path, name string) ([]byte, error) {
	if path == "" {
		return fs.ReadFile(builtin.FS(), name)
	}
	return os.ReadFile(path)
}

// parseLengths reads a schedule like 0:256,2000:512.
func parseLengths(s string) ([]stretch, error) {
	var out []stretch
	for part := range strings.SplitSeq(s, ",") {
		at, length, _ := strings.Cut(part, ":")
		from, err1 := strconv.Atoi(at)
		n, err2 := strconv.Atoi(length)
		last := -1
		if len(out) > 0 {
			last = out[len(out)-1].From
		}
		if err1 != nil || err2 != nil || from <= last || len(out) == 0 && from != 0 {
			return nil, fmt.Errorf("--lengths: %q, want step:tokens with ascending steps from 0", s)
		}
		out = append(out, stretch{from, n})
	}
	return out, nil
}
