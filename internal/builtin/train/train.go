package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/builtin"
)

// Seeds of [builtin.Text]: texts of the seeds from trainSeed on train, one after another.
const (
	trainSeed   = 1000
	heldOutSeed = 77
)

// Held-out loss is that of the first windows of a text.
const (
	heldOutBytes   = 1 << 17
	heldOutWindows = 64
	heldOutLength  = 257
)

// cache is memory for what the backward pass would compute again.
const cache = 1 << 30

// options say what is trained, and how.
type options struct {
	Config, Tokenizer []byte // config.json and tokenizer.json
	Out, Checkpoint   string // a folder and a file
	Steps             int
	Lengths           []stretch
	Batch             int // tokens of a step
	Rate              float64
	Warmup            int     // steps in which the rate ascends
	Decay             float64 // share of the steps in which it descends to 0
	Every             int     // steps between held-out losses and checkpoints
	Text              int     // bytes of a text
	Seed              uint64  // of the first weights
	Threads           int
	Log               io.Writer
}

// stretch is the length of windows, in tokens, from a step on.
type stretch struct{ From, Length int }

// length is that of the windows of a step, counted from 0.
func (o *options) length(step int) int {
	i, _ := slices.BinarySearchFunc(o.Lengths, step+1, func(s stretch, at int) int { return s.From - at })
	return o.Lengths[i-1].Length
}

// rate is the learning rate of a step: a warm-up, a plateau, and a straight descent to zero, so that a training can be made longer or
// shorter from a checkpoint.
func (o *options) rate(step int) float64 {
	up := float64(step+1) / float64(o.Warmup)
	down := float64(o.Steps-step) / (o.Decay * float64(o.Steps))
	return o.Rate * min(1, up, down)
}

func (o *options) check(c engine.Config, vocab int) error {
	if o.Steps < 1 || o.Every < 1 || o.Warmup < 0 || !(o.Decay >= 0 && o.Decay <= 1) || !(o.Rate > 0 && o.Rate < 1) {
		return fmt.Errorf("%d steps, a checkpoint every %d, warm-up of %d, decay %v and rate %v make no training", o.Steps, o.Every, o.Warmup, o.Decay, o.Rate)
	}
	for _, s := range o.Lengths {
		if s.Length < 2 || s.Length > min(o.Batch, c.MaxPositions) {
			return fmt.Errorf("windows of %d tokens, want 2 to those of a step, %d, and to the model's positions, %d", s.Length, o.Batch, c.MaxPositions)
		}
	}
	if vocab > c.Vocab || heldOutLength > c.MaxPositions {
		return fmt.Errorf("a model with %d tokens and %d positions, want at least the tokenizer's %d and %d", c.Vocab, c.MaxPositions, vocab, heldOutLength)
	}
	return nil
}

// progress is what a checkpoint has beside weights and moments.
type progress struct {
	Step   int     `json:"step"`   // steps made
	Tokens int64   `json:"tokens"` // of their windows
	Loss   float64 `json:"loss"`   // a mean that forgets: a step counts 0.98 of the next
	Cursor cursor  `json:"cursor"`
}

// training is a training in memory.
type training struct {
	options
	progress
	model   *model
	windows windows
	heldOut [][]int32
}

// train trains a model to the last step and writes it.
func train(ctx context.Context, o options) error {
	t, err := newTraining(o)
	if err != nil {
		return err
	}
	if err := t.resume(); err != nil {
		return err
	}
	began, tokens, saved := time.Now(), t.Tokens, t.Step
	for t.Step < o.Steps {
		if err := t.step(ctx); err != nil {
			return fmt.Errorf("step %d (the checkpoint is of step %d): %w", t.Step+1, saved, err)
		}
		if t.Step%o.Every != 0 && t.Step != o.Steps {
			continue
		}
		speed := float64(t.Tokens-tokens) / time.Since(began).Seconds()
		nll, err := t.score(ctx)
		if err != nil {
			return fmt.Errorf("held-out loss after step %d (the checkpoint is of step %d): %w", t.Step, saved, err)
		}
		if err := t.save(); err != nil {
			return err
		}
		saved = t.Step
		fmt.Fprintf(o.Log, "step %d tokens %d loss %.4f held-out %.4f tokens/s %.0f\n", t.Step, t.Tokens, t.Loss, nll, speed)
	}
	return nil
}

// newTraining is the state before the first step.
func newTraining(o options) (*training, error) {
	m, err := newModel(o.Config, o.Tokenizer, o.Seed, o.Threads)
	if err != nil {
		return nil, err
	}
	ck, err := m.open(m.stored("BF16"))
	if err != nil {
		return nil, err
	}
	tokenizer, err := ck.Tokenizer()
	if err != nil {
		return nil, err
	}
	if err := o.check(m.config, tokenizer.Vocab()); err != nil {
		return nil, err
	}
	t := &training{options: o, model: m, windows: windows{tokenizer: tokenizer, size: o.Text}}
	t.heldOut = cut(tokenizer.Encode(builtin.Text(heldOutSeed, heldOutBytes)), heldOutLength)
	if len(t.heldOut) < heldOutWindows {
		return nil, fmt.Errorf("the held-out text has %d windows of %d tokens, want %d", len(t.heldOut), heldOutLength, heldOutWindows)
	}
	t.heldOut = t.heldOut[:heldOutWindows]
	return t, nil
}

// step makes one step.
func (t *training) step(ctx context.Context) error {
	length := t.length(t.Step)
	batch, err := t.windows.batch(length, t.Batch/length)
	if err != nil {
		return err
	}
	loss, err := t.model.gradient(ctx, batch)
	if err != nil {
		return err
	}
	t.model.update(t.Step+1, t.rate(t.Step))
	if t.Step == 0 {
		t.Loss = loss
	}
	t.Loss = float64(0.98*t.Loss) + float64(0.02*loss)
	t.Step++
	t.Tokens += int64(len(batch) * length)
	return nil
}

// score is the held-out loss, in nats a token, of the model as it is written.
func (t *training) score(ctx context.Context) (float64, error) {
	m, err := t.model.load(t.model.stored("BF16"))
	if err != nil {
		return 0, err
	}
	defer m.Close()
	out, err := m.Score(ctx, t.heldOut, nil, []engine.Candidate{nil}, nil)
	if err != nil {
		return 0, err
	}
	if out[0].Err != nil {
		return 0, out[0].Err
	}
	sum, n := 0.0, 0
	for _, w := range out[0].Windows {
		sum += w.NLL
		n += heldOutLength - 1
	}
	if nll := sum / float64(n); !math.IsNaN(nll) {
		return nll, nil
	}
	return 0, fmt.Errorf("it is not a number")
}
