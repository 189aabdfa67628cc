package engine

import (
	"context"
	"math"
)

// WindowScore is how a model did on one window.
type WindowScore struct {
	Tokens int     // scored positions: the window's length - 1
	NLL    float64 // negative log-likelihood in nats, summed over positions 1 … L-1
	KL     float64 // KL divergence teacher‖model in nats, summed over the same predictions; 0 without a teacher
}

// Outcome is what came of one candidate.
type Outcome struct {
	Windows []WindowScore
	// Err, which then matches ErrNotFinite, says why there are no scores: a weight of
	// the candidate or its output is NaN or infinite.
	Err error
}

// Score runs candidates over windows of tokens and returns an outcome for each, in
// order, with a score for each window. t, which may be nil, must have been taught
// all of the windows, by a model of the same checkpoint and numerics. progress,
// which may be nil, is called now and then with the number of pairs of a
// candidate and a window that are done.
//
// Candidates share the sub-blocks in which they do not differ, from the first on,
// and the teacher's part of the head; with a cache they share them with those of
// earlier calls. No score depends on the other candidates or windows of the
// call. KL is exactly 0 if the model is what the teacher was. Score stops soon
// after ctx is done and then returns its error. It fails on windows that are
// shorter than 2 tokens, longer than Config.MaxPositions or hold a token outside
// the vocabulary, and on candidates that do not fit the model.
func (m *Model) Score(ctx context.Context, windows [][]int32, t *Teacher, candidates []Candidate, progress func(done int)) ([]Outcome, error) {
	plans := make([]plan, len(candidates))
	for i, c := range candidates {
		var err error
		if plans[i], err = m.plan(c); err != nil {
			return nil, err
		}
	}
	var teachers []taughtRows
	if t != nil {
		var err error
		if teachers, err = t.find(m, windows); err != nil {
			return nil, err
		}
	}
	outcomes := make([]Outcome, len(candidates))
	for i := range outcomes {
		outcomes[i].Windows = make([]WindowScore, len(windows))
	}
	done := 0
	failed, err := m.evaluate(ctx, windows, teachers, plans, func(b *batch, f *final) error {
		for i, w := range b.windows {
			score := WindowScore{Tokens: len(w) - 1}
			for _, p := range f.out[b.start[i]:][:len(w)-1] {
				score.NLL += p.nll()
				score.KL += p.gap
			}
			for _, c := range f.members {
				outcomes[c].Windows[b.first+i] = score
				if outcomes[c].Err == nil && (!finite(score.NLL) || !finite(score.KL)) {
					outcomes[c].Err = notFiniteErr("window %d: the model's output is not finite", b.first+i)
				}
			}
		}
		if done += len(f.members) * len(b.windows); progress != nil {
			progress(done)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, err := range failed {
		if err != nil {
			outcomes[i].Err = err
		}
		if outcomes[i].Err != nil {
			outcomes[i].Windows = nil
		}
	}
	return outcomes, nil
}

// LogProbs returns the logarithm of the probability that a candidate gives each
// token of a window after the first, given those before it: len(window)-1 numbers.
func (m *Model) LogProbs(ctx context.Context, window []int32, c Candidate) ([]float32, error) {
	p, err := m.plan(c)
	if err != nil {
		return nil, err
	}
	probs := make([]float32, 0, len(window))
	failed, err := m.evaluate(ctx, [][]int32{window}, nil, []plan{p}, func(_ *batch, f *final) error {
		for i, p := range f.out[:len(window)-1] {
			if !finite(p.nll()) {
				return notFiniteErr("position %d: the model's output is not finite", i+1)
			}
			probs = append(probs, float32(-p.nll()))
		}
		return nil
	})
	if err == nil {
		err = failed[0]
	}
	if err != nil {
		return nil, err
	}
	return probs, nil
}

// finite reports whether x is neither NaN nor infinite.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
