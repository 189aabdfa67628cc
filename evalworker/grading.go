package evalworker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/workflows"
)

// score runs trials on a slot and stores their scores.
func (w *Workbench) score(ctx context.Context, r *run, part Windows, todo []*trial, out *workflows.EvaluateResult, report Reporter) error {
	s, err := w.models.acquire(ctx, r.modelKey())
	if err != nil {
		return err
	}
	defer w.models.release(s)
	b, err := w.bank(r)
	if err != nil {
		return err
	}
	g := grading{w: w, run: r, slot: s, bank: b, part: part, out: out, report: report}
	g.progress.Unit = "windows"
	for _, t := range todo {
		g.progress.Total += int64(len(t.windows) - t.done())
	}
	// Candidates that begin alike come next to each other, so that they share work.
	todo = slices.Clone(todo)
	slices.SortStableFunc(todo, func(a, b *trial) int {
		return cmp.Or(slices.Compare(a.windows, b.windows), cmp.Compare(a.done(), b.done()), slices.Compare(a.candidate, b.candidate))
	})
	for len(todo) > 0 {
		n := g.group(todo)
		if err := g.score(ctx, todo[:n]); err != nil {
			return err
		}
		todo = todo[n:]
	}
	return nil
}

// grading is the scoring of the trials of one call of Evaluate.
type grading struct {
	w        *Workbench
	run      *run
	slot     *slot
	bank     *bank.Bank
	part     Windows
	out      *workflows.EvaluateResult
	report   Reporter
	progress workflows.Progress
}

const (
	// groupSeconds is about how long it takes from one storing of scores to the next: what an interruption
	// can cost.
	groupSeconds = 10
	// groupSize is the most trials that are scored together: beyond it there is little left to share.
	groupSize = 16
)

// group is the number of trials, from the first on, to score together. They are for the same windows, and at
// the same one of them.
func (g *grading) group(todo []*trial) int {
	most := min(g.affordable(1), groupSize, len(todo))
	n := 1
	for n < most && slices.Equal(todo[n].windows, todo[0].windows) && todo[n].done() == todo[0].done() {
		n++
	}
	return n
}

// affordable is the number of lots of some windows that take groupSeconds, at least one.
func (g *grading) affordable(windows int) int {
	return max(1, int(groupSeconds*g.slot.speed/float64(windows*g.run.prepared.SeqLen)))
}

// score scores a group of trials, some windows at a time, and stores them.
func (g *grading) score(ctx context.Context, group []*trial) error {
	levels := make([]map[string]string, len(group))
	for i, t := range group {
		levels[i] = t.levels
	}
	candidates, err := g.slot.candidates(levels, g.bank)
	if err != nil {
		return err
	}
	g.progress.Note = fmt.Sprintf("%d candidates stored", g.out.Scored)
	stored := time.Now()
	for windows := group[0].windows[group[0].done():]; len(windows) > 0; {
		lot := windows[:min(g.affordable(len(group)), g.w.teachers.room(g.slot, g.run.prepared.SeqLen), len(windows))]
		if err := g.scoreLot(ctx, group, candidates, lot); err != nil {
			return err
		}
		if windows = windows[len(lot):]; len(windows) == 0 || time.Since(stored).Seconds() < groupSeconds {
			continue
		}
		stored = time.Now()
		for _, t := range group {
			if err := g.run.writePartial(t.score); err != nil {
				return err
			}
		}
	}
	for _, t := range group {
		stamp(&t.score)
		if err := g.run.writeScore(t.score); err != nil {
			return err
		}
		if t.score.Failed != "" {
			g.out.Failed++
		} else {
			g.out.Scored++
		}
	}
	return nil
}

// scoreLot adds the scores on some more windows to the trials of a group that have not failed.
func (g *grading) scoreLot(ctx context.Context, group []*trial, candidates []engine.Candidate, lot []int) error {
	var live []*trial
	var scored []engine.Candidate
	for i, t := range group {
		if t.score.Failed == "" {
			live, scored = append(live, t), append(scored, candidates[i])
		}
	}
	windows := g.part.pick(lot).Tokens
	teacher, err := g.w.teachers.get(ctx, g.slot, windows, func() { g.report(g.progress) })
	if err != nil {
		return err
	}
	began, first := time.Now(), g.progress.Done
	outcomes, err := g.slot.model.Score(ctx, windows, teacher, scored, func(done int) {
		g.progress.Done = first + int64(done)
		g.report(g.progress)
	})
	if err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	for i, o := range outcomes {
		live[i].add(o, took/float64(len(live)))
	}
	if tokens := len(live) * len(windows) * g.run.prepared.SeqLen; tokens > 0 {
		g.out.Tokens += int64(tokens)
		g.slot.speed = float64(tokens) / took
	}
	return nil
}

// done is the number of windows that have numbers.
func (t *trial) done() int { return len(t.score.Tokens) }

// add adds the outcome on some more windows.
func (t *trial) add(o engine.Outcome, seconds float64) {
	if o.Err != nil {
		t.score = Score{Digest: t.score.Digest, Windows: t.score.Windows, Failed: o.Err.Error()}
		return
	}
	for _, s := range o.Windows {
		t.score.Tokens = append(t.score.Tokens, s.Tokens)
		t.score.KL = append(t.score.KL, s.KL)
		t.score.NLL = append(t.score.NLL, s.NLL)
	}
	t.score.Seconds += seconds
}
