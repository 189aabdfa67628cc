package evalworker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/sparseft"
	"github.com/paretopress/paretopress/workflows"
)

// grace is how long a microbatch in hand may take to its end when the training is interrupted: only between two microbatches can it be saved.
const grace = 6 * time.Second

// Train goes on with a training from its last checkpoint up to a step: a microbatch at a time forward and backward, a step of the optimizer
// after as many of them as the job says, a checkpoint every half minute, or more rarely where saving takes more than a twentieth of the time, and at
// the end. Between two steps it is written while the next one is computed. What comes out does not depend on where it was interrupted. A loss or a gradient that is not finite ends it for good; the last checkpoint is
// that of the last good step.
func (w *Workbench) Train(ctx context.Context, in workflows.TrainInput, report Reporter) (workflows.TrainResult, error) {
	began := time.Now()
	var out workflows.TrainResult
	t, err := w.training(ctx, in.Folder)
	if err != nil {
		return out, err
	}
	defer t.close()
	if _, err := t.prepared(); err != nil {
		return out, err
	}
	trainer, kept, err := t.restore()
	if err != nil {
		return out, err
	}
	trainer.Threads = w.models.threads
	start := kept.Tokens
	err = t.goOn(ctx, trainer, &kept, in.To, report)
	out.Step, _ = trainer.Cursor()
	out.Loss, out.Tokens, out.Seconds = trainer.Loss(), kept.Tokens-start, time.Since(began).Seconds()
	return out, t.explain(err)
}

// explain sorts the errors of a training.
func (t *training) explain(err error) error {
	if errors.Is(err, sparseft.ErrDiverged) || errors.Is(err, engine.ErrNotFinite) {
		return mark(ErrJob, fmt.Errorf("%w; %s holds the last good state", err, t.checkpoint()))
	}
	return err
}

// goOn trains up to a step.
func (t *training) goOn(ctx context.Context, trainer *sparseft.Trainer, kept *checkpointed, to int, report Reporter) (err error) {
	weights, candidate := t.working(trainer)
	at := map[string]int{}
	for i, g := range t.targets {
		at[g.Name] = i
	}
	began, start := time.Now(), kept.Tokens
	saves := saver{t: t, trainer: trainer, last: began}
	defer func() { err = errors.Join(err, saves.wait()) }()
	begun, _ := trainer.Cursor()
	progress := workflows.Progress{Done: int64(begun), Total: int64(t.options.Steps), Unit: "steps", Note: "training"}
	for !trainer.Done() {
		report(progress)
		if ctx.Err() != nil { // between two microbatches nothing is lost
			return errors.Join(ctx.Err(), saves.save(*kept))
		}
		step, _ := trainer.Cursor()
		if step >= to {
			break
		}
		if saves.due() { // a step of many microbatches may take longer
			if err := saves.begin(*kept); err != nil {
				return err
			}
		}
		if err := t.microbatch(ctx, trainer, candidate, at, kept, &saves); err != nil {
			return err
		}
		if !trainer.Due() {
			continue
		}
		if err := saves.wait(); err != nil {
			return err
		}
		patches, err := trainer.Step()
		if err != nil {
			return err
		}
		trainer.Apply(patches, weights)
		kept.Losses = append(kept.Losses, trainer.Loss())
		progress.Done = int64(step + 1)
		progress.Note = fmt.Sprintf("loss %.4f, %.0f tokens/s", trainer.Loss(), float64(kept.Tokens-start)/time.Since(began).Seconds())
	}
	report(progress)
	return saves.save(*kept)
}

// microbatch runs the next microbatch forward and backward. An interruption waits for its end a while, and then saves what was before it, if that is
// still there.
func (t *training) microbatch(ctx context.Context, trainer *sparseft.Trainer, candidate engine.Candidate, at map[string]int, kept *checkpointed, saves *saver) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
			cancel()
		case <-work.Done():
		}
	})()
	step, micro := trainer.Cursor()
	e := t.train.pick(order(t.job.Seed, len(t.train.tokens), t.job.Batch, step*t.options.Accumulation+micro))
	var added atomic.Bool
	var value engine.LossValue
	var teacher *engine.Teacher
	var err error
	if t.job.Objective == workflows.ObjectiveKL {
		teacher, err = t.teach(work, e)
	}
	if err == nil {
		value, err = t.slot.model.Gradient(work, e.tokens, candidate, t.loss(e, teacher),
			func(name string) bool { _, ok := at[name]; return ok },
			func(p *engine.Product) error {
				added.Store(true)
				return trainer.Add(at[p.Name], p)
			})
	}
	switch {
	case err != nil && ctx.Err() != nil && !added.Load():
		return errors.Join(ctx.Err(), saves.save(*kept))
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("evalworker: step %d, microbatch %d: %w", step+1, micro+1, err)
	}
	if err := trainer.EndMicrobatch(value.Loss, float64(value.Counted)); err != nil {
		return err
	}
	for _, tokens := range e.tokens {
		kept.Tokens += int64(len(tokens))
	}
	return nil
}
