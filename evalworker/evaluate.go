package evalworker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// trial is a candidate of an ask that has no score yet.
type trial struct {
	candidate search.Candidate
	levels    map[string]string
	windows   []int // indices in the part
	score     Score // filled in window by window
}

// Evaluate scores the candidates [from,to) of an ask, each under the digest of all that decides its
// score. One that has a score is not run again; the others are stored one by one, before they are
// counted, so that an interruption costs at most the candidates that are in the works.
//
// A candidate whose output is not finite gets a score that says so: that is a result, not an error.
func (w *Workbench) Evaluate(ctx context.Context, in workflows.EvaluateInput, report Reporter) (workflows.EvaluateResult, error) {
	began := time.Now()
	var out workflows.EvaluateResult
	r, err := openRun(in.Folder)
	if err != nil {
		return out, err
	}
	a, err := r.readAsk(in.Ask)
	if err != nil {
		return out, err
	}
	if in.From < 0 || in.To > len(a.Trials) || in.From > in.To {
		return out, mark(ErrCandidate, fmt.Errorf("evalworker: candidates [%d, %d) of %s, which has %d", in.From, in.To, in.Ask, len(a.Trials)))
	}
	part, err := r.windows(a.Part)
	if err != nil {
		return out, err
	}
	var todo []*trial
	for _, t := range a.Trials[in.From:in.To] {
		digest, err := r.trialDigest(t, part)
		if err != nil {
			return out, err
		}
		s, ok, err := r.readScore(digest)
		switch {
		case err != nil && !errors.Is(err, ErrDamaged): // a damaged score is taken again
			return out, err
		case ok:
			out.Reused++
			if s.Failed != "" {
				out.Failed++
			}
			continue
		}
		n := &trial{candidate: t.Candidate, levels: r.levels(t.Candidate), windows: t.Windows}
		n.score = Score{Digest: digest, Windows: part.pick(t.Windows).Numbers}
		todo = append(todo, n)
	}
	if in.MarkFailed {
		for _, t := range todo {
			if err := r.fail(t, "it kept taking its workers down", &out); err != nil {
				return out, err
			}
		}
		return out, nil
	}
	if len(todo) > 0 {
		err = w.score(ctx, r, part, todo, &out, report)
	}
	out.Seconds = time.Since(began).Seconds()
	return out, err
}

// readAsk reads an ask: a file of the log, or final.json.
func (r *run) readAsk(name string) (ask, error) {
	var a ask
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return a, mark(ErrCandidate, fmt.Errorf("evalworker: ask %q is not in the run folder", name))
	}
	err := readJSON(filepath.Join(r.folder, filepath.FromSlash(name)), &a)
	return a, err
}

// trialDigest is the digest of a trial's score, once the trial is known to fit the space and the part.
func (r *run) trialDigest(t search.Trial, part Windows) (string, error) {
	if len(t.Candidate) > 0 {
		if err := r.space.Check(t.Candidate); err != nil {
			return "", mark(ErrCandidate, err)
		}
	}
	if len(t.Windows) == 0 || slices.Min(t.Windows) < 0 || slices.Max(t.Windows) >= part.Len() {
		return "", mark(ErrCandidate, fmt.Errorf("evalworker: trial %d is for windows %v, the text has %d", t.ID, t.Windows, part.Len()))
	}
	return r.scoreDigest(t.Candidate, part.pick(t.Windows)), nil
}

// pick returns the windows with the given indices.
func (w Windows) pick(indices []int) Windows {
	var p Windows
	for _, i := range indices {
		p.Numbers = append(p.Numbers, w.Numbers[i])
		p.Tokens = append(p.Tokens, w.Tokens[i])
	}
	return p
}

// levels maps the units that a candidate does not leave dense to their levels. No candidate at all is
// the dense model.
func (r *run) levels(c search.Candidate) map[string]string {
	levels := map[string]string{}
	for i, l := range c {
		if name := r.space.Units[i].Levels[l].Name; name != LevelDense {
			levels[r.space.Units[i].Name] = name
		}
	}
	return levels
}

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
		g.progress.Total += int64(len(t.windows))
	}
	// Candidates that begin alike come next to each other, so that they share work.
	todo = slices.Clone(todo)
	slices.SortStableFunc(todo, func(a, b *trial) int {
		return cmp.Or(slices.Compare(a.windows, b.windows), slices.Compare(a.candidate, b.candidate))
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

// groupSeconds is about how long candidates that are scored together take: what
// an interruption can cost.
const groupSeconds = 10

// group is the number of trials, from the first on, to score together. They are for the same windows.
func (g *grading) group(todo []*trial) int {
	tokens := float64(len(todo[0].windows) * g.run.prepared.SeqLen)
	most := max(1, int(groupSeconds*g.slot.speed/tokens))
	n := 1
	for n < min(most, len(todo)) && slices.Equal(todo[n].windows, todo[0].windows) {
		n++
	}
	return n
}

// score scores a group of trials, and stores them.
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
	for chunk := range slices.Chunk(group[0].windows, g.w.teachers.room(g.slot, g.run.prepared.SeqLen)) {
		windows := g.part.pick(chunk).Tokens
		teacher, err := g.w.teachers.get(ctx, g.slot, windows, func() { g.report(g.progress) })
		if err != nil {
			return err
		}
		began, first := time.Now(), g.progress.Done
		outcomes, err := g.slot.model.Score(ctx, windows, teacher, candidates, func(done int) {
			g.progress.Done = first + int64(done)
			g.report(g.progress)
		})
		if err != nil {
			return err
		}
		took := time.Since(began).Seconds()
		for i, o := range outcomes {
			group[i].add(o, took/float64(len(group)))
		}
		tokens := len(group) * len(windows) * g.run.prepared.SeqLen
		g.out.Tokens += int64(tokens)
		g.slot.speed = float64(tokens) / took
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

// add adds the outcome on some more windows.
func (t *trial) add(o engine.Outcome, seconds float64) {
	if o.Err != nil && t.score.Failed == "" {
		t.score = Score{Digest: t.score.Digest, Windows: t.score.Windows, Failed: o.Err.Error()}
	}
	if t.score.Failed != "" {
		return
	}
	for _, s := range o.Windows {
		t.score.Tokens = append(t.score.Tokens, s.Tokens)
		t.score.KL = append(t.score.KL, s.KL)
		t.score.NLL = append(t.score.NLL, s.NLL)
	}
	t.score.Seconds += seconds
}

// fail stores that a trial has no numbers.
func (r *run) fail(t *trial, why string, out *workflows.EvaluateResult) error {
	t.score = Score{Digest: t.score.Digest, Windows: t.score.Windows, Failed: why}
	stamp(&t.score)
	if err := r.writeScore(t.score); err != nil {
		return err
	}
	out.Failed++
	return nil
}

// stamp notes where and when a score was taken.
func stamp(s *Score) {
	s.Host, _ = os.Hostname() // for people; unknown is fine
	s.Kernel = kernel.Active()
	s.When = time.Now().UTC()
}
