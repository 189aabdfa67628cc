package evalworker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
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
	s, err := w.models.acquire(ctx, r.job.Model, r.prepared.Model)
	if err != nil {
		return err
	}
	defer w.models.release(s)
	b, err := w.bank(r)
	if err != nil {
		return err
	}
	total := 0
	for _, t := range todo {
		total += len(t.windows)
	}
	progress := workflows.Progress{Total: int64(total), Unit: "windows"}
	for _, chunk := range w.chunks(s, r.prepared.SeqLen, todo) {
		progress.Note = "dense model"
		report(progress)
		teachers, err := w.teachers.get(ctx, s, part.pick(chunk).Tokens, func() { report(progress) })
		if err != nil {
			return err
		}
		for _, t := range order(s, todo) {
			progress.Note = fmt.Sprintf("%d of %d candidates stored", out.Scored, len(todo))
			if err := w.scoreOne(ctx, r, s, b, part, chunk, teachers, t, out, func() { progress.Done++; report(progress) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunks divides the windows of trials so that the teachers of a chunk fit in memory.
func (w *Workbench) chunks(s *slot, seqLen int, todo []*trial) [][]int {
	var all []int
	for _, t := range todo {
		all = append(all, t.windows...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	each := max(1, int(w.teachers.limit/teacherBytes(s.model.Config(), seqLen)))
	return slices.Collect(slices.Chunk(all, each))
}

// order sorts trials so that each has few units that differ from the one before it: always the nearest
// to what is in place, the first of equals.
func order(s *slot, todo []*trial) []*trial {
	at := s.levels
	left := slices.Clone(todo)
	sorted := make([]*trial, 0, len(todo))
	for len(left) > 0 {
		best, least := 0, -1
		for i, t := range left {
			if d := distance(at, t.levels); least < 0 || d < least {
				best, least = i, d
			}
		}
		sorted = append(sorted, left[best])
		at = left[best].levels
		left = slices.Delete(left, best, best+1)
	}
	return sorted
}

// distance is the number of units whose levels differ.
func distance(a, b map[string]string) int {
	n := 0
	for unit, level := range a {
		if b[unit] != level {
			n++
		}
	}
	for unit := range b {
		if _, ok := a[unit]; !ok {
			n++
		}
	}
	return n
}

// scoreOne scores a trial on those of its windows that are in the chunk, and stores it when that was
// the last of them.
func (w *Workbench) scoreOne(ctx context.Context, r *run, s *slot, b *bank.Bank, part Windows, chunk []int, teachers []*engine.Teacher, t *trial, out *workflows.EvaluateResult, done func()) error {
	if t.score.Failed != "" {
		return nil
	}
	if err := s.put(t.levels, b); err != nil {
		if errors.Is(err, engine.ErrNotFinite) {
			return r.fail(t, err.Error(), out)
		}
		return err
	}
	began := time.Now()
	for _, i := range t.windows {
		at, ok := slices.BinarySearch(chunk, i)
		if !ok {
			continue
		}
		scores, err := s.model.Score(ctx, part.Tokens[i:i+1], teachers[at], nil)
		if errors.Is(err, engine.ErrNotFinite) {
			return r.fail(t, err.Error(), out)
		}
		if err != nil {
			return err
		}
		t.score.Tokens = append(t.score.Tokens, scores[0].Tokens)
		t.score.KL = append(t.score.KL, scores[0].KL)
		t.score.NLL = append(t.score.NLL, scores[0].NLL)
		out.Tokens += int64(len(part.Tokens[i]))
		done()
	}
	t.score.Seconds += time.Since(began).Seconds()
	if len(t.score.Tokens) < len(t.windows) {
		return nil
	}
	stamp(&t.score)
	if err := r.writeScore(t.score); err != nil {
		return err
	}
	out.Scored++
	return nil
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
	s.When = time.Now().UTC()
}
