package evalworker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/workflows"
)

// SingleInput is what [Workbench.Single] is to score.
type SingleInput struct {
	Model      string // as for a job
	Text       string // file; empty: the text that goes with the builtin model
	Config     string // file of levels, see [ParseConfig]; empty: the dense model
	Bank       string // folder of a bank, for levels that need calibration
	Delta      string // file of a fine-tuning's delta on top of these levels; empty: none
	SeqLen     int    // tokens a window
	MaxWindows int    // of the text to use, 0 for all
	Numerics   string // exact or fast; empty: exact
}

// SingleResult is how one model did on a text.
type SingleResult struct {
	Windows int
	Tokens  int64   // scored positions
	NLL     Mean    // nats a token
	KL      *Mean   // of the dense model to it, nats a token; nil for the dense model itself
	Bytes   int64   // stored bytes of the whole model, with what a delta adds to it
	Bits    float64 // stored bits of the linear modules over their weights
	Seconds float64 // of its evaluation, without loading and without the dense model's
}

// Single scores one model on a whole text, without a run folder.
func (w *Workbench) Single(ctx context.Context, in SingleInput, report Reporter) (SingleResult, error) {
	var out SingleResult
	s, err := w.models.acquire(ctx, modelKey{ref: in.Model, numerics: numericsOf(cmp.Or(in.Numerics, workflows.NumericsExact))})
	if err != nil {
		return out, err
	}
	defer w.models.release(s)
	text, err := readSource(in.Text, "")
	if err != nil {
		return out, err
	}
	tokenizer, err := s.checkpoint.Tokenizer()
	if err != nil {
		return out, err
	}
	windows, err := text.windows(tokenizer, s.model.Config(), in.SeqLen, in.MaxWindows)
	if err != nil {
		return out, err
	}
	levels := map[string]string{}
	var b *bank.Bank
	if in.Bank != "" {
		if b, err = openBankOf(in.Bank, s); err != nil {
			return out, err
		}
		defer b.Close() // it was only read
	}
	if in.Config != "" {
		if levels, err = readConfig(in.Config, s.model.Config(), b); err != nil {
			return out, err
		}
	}
	if out.Bytes, out.Bits, err = storedBytes(s.model.Config(), levels); err != nil {
		return out, err
	}
	candidates, err := s.candidates([]map[string]string{levels}, b)
	if err != nil {
		return out, err
	}
	delta, err := readDelta(in.Delta, s)
	if err != nil {
		return out, err
	}
	candidate, more, err := delta.apply(s, candidates[0])
	if err != nil {
		return out, err
	}
	out.Bytes += more.regrown + more.beside
	kl := in.Config != "" || delta != nil
	score, err := w.scoreAll(ctx, s, windows, candidate, kl, report)
	if err != nil {
		return out, err
	}
	out.Windows, out.Tokens, out.NLL, out.Seconds = windows.Len(), score.total(), score.nll(), score.Seconds
	if kl {
		mean := score.kl()
		out.KL = &mean
	}
	return out, nil
}

// scoreAll scores a candidate on windows, as many at a time as the dense model's
// predictions have room for; without KL these are not needed.
func (w *Workbench) scoreAll(ctx context.Context, s *slot, windows Windows, c engine.Candidate, kl bool, report Reporter) (Score, error) {
	var score Score
	n := windows.Len()
	if kl {
		n = w.teachers.room(s, len(windows.Tokens[0]))
	}
	progress := workflows.Progress{Total: int64(windows.Len()), Unit: "windows"}
	for chunk := range slices.Chunk(windows.Tokens, n) {
		var teacher *engine.Teacher
		if kl {
			progress.Note = "dense model"
			var err error
			if teacher, err = s.model.Teach(ctx, chunk, func(int) { report(progress) }); err != nil {
				return score, err
			}
		}
		progress.Note = ""
		first := progress.Done
		began := time.Now()
		outcomes, err := s.model.Score(ctx, chunk, teacher, []engine.Candidate{c}, func(done int) {
			progress.Done = first + int64(done)
			report(progress)
		})
		if err == nil {
			err = outcomes[0].Err
		}
		if err != nil {
			return score, err
		}
		score.Seconds += time.Since(began).Seconds()
		for _, x := range outcomes[0].Windows {
			score.Tokens, score.KL, score.NLL = append(score.Tokens, x.Tokens), append(score.KL, x.KL), append(score.NLL, x.NLL)
		}
	}
	return score, nil
}

// readConfig reads a config file into the levels of the units that are not dense.
func readConfig(name string, c engine.Config, b *bank.Bank) (map[string]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, mark(ErrJob, fmt.Errorf("evalworker: --config: %w", err))
	}
	var aliases Aliases
	if b != nil {
		aliases = b.Alias
	}
	list, err := ParseConfig(name, data, c, aliases)
	if err != nil {
		return nil, err
	}
	levels := map[string]string{}
	for _, a := range list {
		if a.Level == LevelDense {
			continue
		}
		levels[a.Unit] = a.Level
		l, err := ParseLevel(a.Level)
		if err != nil {
			return nil, err
		}
		if l.NeedsCalibration() && (b == nil || !b.Has(a.Unit, a.Level)) {
			where := "give one with --bank"
			if b != nil {
				where = "--bank " + b.Dir() + " does not have it"
			}
			return nil, jobErrorf("%s: level %s of %s comes from a bank: %s", name, a.Level, a.Unit, where)
		}
	}
	return levels, nil
}

// storedBytes is the size of a model with some levels, and the stored bits of its linear modules over their
// weights. What is in a dropped sub-block takes nothing.
func storedBytes(c engine.Config, levels map[string]string) (size int64, bits float64, err error) {
	var weights, linear, others int64
	levels = expand(levels)
	for _, m := range matrices(c) {
		level := LevelDense
		if l, ok := levels[m.name]; ok {
			level = l
		}
		if sub := m.name[:strings.LastIndexByte(m.name, '.')+1]; levels[strings.TrimSuffix(sub, ".")] == LevelDrop {
			level = LevelDrop
		}
		l, err := ParseLevel(level)
		if err != nil {
			return 0, 0, err
		}
		bytes := l.Bytes(l.Shape(m.name, m.rows, m.cols))
		if m.name == unitEmbedding || m.name == unitHead {
			others += bytes - denseBytes*int64(m.rows)*int64(m.cols) // part of the fixed weights
			continue
		}
		weights += int64(m.rows) * int64(m.cols)
		linear += bytes
	}
	if weights == 0 {
		return 0, 0, errors.New("evalworker: the model has no linear modules")
	}
	return linear + others + denseBytes*fixedParams(c), 8 * float64(linear) / float64(weights), nil
}
