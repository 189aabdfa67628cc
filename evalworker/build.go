package evalworker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/obs"
	"github.com/paretopress/paretopress/workflows"
)

// BuildLevels builds the levels of the units in blocks [From,To) that the run's bank lacks: it runs the
// calibration windows through the model, a block at a time, factors the Hessian of each input once for
// all levels and modules that share it, and puts each unit into the bank when its levels are done. Inputs
// are those of the dense model, so that no block waits for another. Memory beyond the model's: the
// hidden states of the calibration windows, and the Hessians and weights of one block.
func (w *Workbench) BuildLevels(ctx context.Context, in workflows.BuildLevelsInput, report Reporter) (workflows.BuildLevelsResult, error) {
	began := time.Now()
	r, err := openRun(in.Folder)
	if err != nil {
		return workflows.BuildLevelsResult{}, err
	}
	b, err := w.bank(r)
	if err != nil || b == nil {
		return workflows.BuildLevelsResult{}, err
	}
	need, err := calibrated(r.space)
	if err != nil {
		return workflows.BuildLevelsResult{}, err
	}
	windows, err := r.windows(partCalibration)
	if err != nil {
		return workflows.BuildLevelsResult{}, err
	}
	s, err := w.models.acquire(ctx, r.modelKey())
	if err != nil {
		return workflows.BuildLevelsResult{}, err
	}
	defer w.models.release(s)
	build := &builderOf{bank: b, checkpoint: s.checkpoint, threads: w.models.threads, quant: r.job.Space == workflows.SpaceQuant && r.job.Deployable == ""}
	progress := workflows.Progress{Total: int64(in.To - in.From), Unit: "blocks", Note: "calibrating"}
	report(progress)
	err = s.model.Calibrate(ctx, windows.Tokens, in.From, in.To, func(block int, grams []engine.Gram) error {
		note := func(what string) { p := progress; p.Note = what; report(p) }
		if err := build.block(ctx, need, grams, note); err != nil {
			return err
		}
		progress.Done++
		report(progress)
		return nil
	})
	build.result.Seconds = time.Since(began).Seconds()
	return build.result, err
}

// builderOf builds the levels of a model into a bank.
type builderOf struct {
	bank       *bank.Bank
	checkpoint *checkpoint
	threads    int
	quant      bool // levels are known by their bits as well, which no two of a unit have in common

	mu     sync.Mutex
	result workflows.BuildLevelsResult
}

// levelJob is a level of a module that is to be built.
type levelJob struct {
	gram   int
	module string
	level  Level
	last   *atomic.Int32 // levels of the module that are not built yet
	built  []bank.Entry  // of the module, this one at index at
	at     int
}

// block builds the levels of one block: first the factors, then the levels, in parallel.
func (b *builderOf) block(ctx context.Context, need map[string][]Level, grams []engine.Gram, note func(string)) error {
	var jobs []levelJob
	for g, gram := range grams {
		for _, module := range gram.Modules {
			var lacks []Level
			for _, l := range need[module] {
				if b.bank.Has(module, l.Name) {
					b.result.Reused++
				} else {
					lacks = append(lacks, l)
				}
			}
			last, built := new(atomic.Int32), make([]bank.Entry, len(lacks))
			last.Store(int32(len(lacks)))
			for i, l := range lacks {
				jobs = append(jobs, levelJob{gram: g, module: module, level: l, last: last, built: built, at: i})
				built[i].Level = l.Name
				if b.quant {
					built[i].Aliases = b.alias(module, l)
				}
			}
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	factors := make([]*obs.Factor, len(grams))
	err := parallel(ctx, b.threads, len(grams), func(i int) error {
		if !slices.ContainsFunc(jobs, func(j levelJob) bool { return j.gram == i }) {
			return nil
		}
		f, err := obs.New(grams[i].Sum, grams[i].Cols, grams[i].Tokens)
		if err != nil {
			return fmt.Errorf("evalworker: Hessian of %s: %w", grams[i].Modules[0], err)
		}
		if f.Failure() != nil {
			note(fmt.Sprintf("the Hessian of %s cannot be factored (%v): its levels are built without feedback", grams[i].Modules[0], f.Failure()))
		}
		factors[i] = f
		return nil
	})
	if err != nil {
		return err
	}
	return parallel(ctx, b.threads, len(jobs), func(i int) error {
		note(jobs[i].module + " " + jobs[i].level.Name)
		return b.build(jobs[i], factors[jobs[i].gram])
	})
}

// build builds one level; the one that completes a module stores all of its levels.
func (b *builderOf) build(j levelJob, f *obs.Factor) error {
	dense, err := engine.Dense(b.checkpoint.Checkpoint, j.module)
	if err != nil {
		return err
	}
	w, rows, cols := decode(dense)
	packed, err := j.level.build(w, rows, cols, f)
	if err != nil {
		return fmt.Errorf("evalworker: %s: %w", j.module, err)
	}
	j.built[j.at].Weights = packed
	if j.last.Add(-1) > 0 {
		return nil
	}
	if err := b.bank.Put(j.module, j.built); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.result.Units++
	b.result.Levels += len(j.built)
	for _, e := range j.built {
		b.result.Bytes += e.Weights.Bytes()
	}
	return nil
}

// alias is the integer that EvoPress's files know a quantized level by, its bits, unless another level
// of the module has it already.
func (b *builderOf) alias(module string, l Level) []int {
	bits, ok := l.bits()
	if !ok {
		return nil
	}
	if _, taken := b.bank.Alias(module, bits); taken {
		return nil
	}
	return []int{bits}
}

// parallel runs f(0) … f(n-1) on some goroutines and returns the error of the lowest i that has one. Once
// one has, or ctx is done, no further ones are begun.
func parallel(ctx context.Context, goroutines, n int, f func(i int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range min(goroutines, n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !stop.Load() && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if errs[i] = f(i); errs[i] != nil {
					stop.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
