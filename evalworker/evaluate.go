package evalworker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// trial is a candidate of an ask that has no score yet.
type trial struct {
	candidate search.Candidate
	levels    map[string]string
	windows   []int // indices in the part
	score     Score // of the first windows, until it is that of all
}

// Evaluate scores the candidates [from,to) of an ask, each under the digest of all that decides its
// score. One that has a score is not run again. The others are scored in groups that share what they have in
// common, and stored before they are counted; of what takes long, the windows done so far are stored
// as well, so that an interruption costs some seconds.
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
		n.score = r.begun(digest, part.pick(t.Windows).Numbers)
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
	for _, l := range r.space.Config(c) {
		if l[1] != LevelDense {
			levels[l[0]] = l[1]
		}
	}
	return levels
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
