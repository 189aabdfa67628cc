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

// Score runs the model over windows of tokens and returns a score for each, in
// order. t, which may be nil, must have been taught all of the windows, by a model
// of the same checkpoint. progress, which may be nil, is called now and then
// with the number of windows done.
//
// A window's score does not depend on the others of the call. KL is exactly 0 if
// the model is what the teacher was. Score stops soon after ctx is done and then
// returns its error. It fails on windows that are shorter than 2 tokens, longer
// than Config.MaxPositions or hold a token outside the vocabulary, and when the
// model's output is not finite.
func (m *Model) Score(ctx context.Context, windows [][]int32, t *Teacher, progress func(windows int)) ([]WindowScore, error) {
	var teachers []taughtRows
	if t != nil {
		var err error
		if teachers, err = t.find(m.config, windows); err != nil {
			return nil, err
		}
	}
	scores := make([]WindowScore, len(windows))
	err := m.batches(windows, func(b *batch) error {
		if err := m.forward(ctx, b); err != nil {
			return err
		}
		err := m.finish(ctx, b, func(r rowBlock, h []float32, ld, n int, s *scratch, out []prediction) {
			targets := b.windows[r.window][r.first+1:]
			if t == nil {
				m.predict(h, ld, n, targets, nil, s, out)
				return
			}
			rows := teachers[b.first+r.window].from(r.first)
			m.predict(h, ld, n, targets, &rows, s, out)
			for i := range n {
				out[i].gap += out[i].lse - rows.lse[i]
			}
		})
		if err != nil {
			return err
		}
		for i, w := range b.windows {
			score := WindowScore{Tokens: len(w) - 1}
			for _, p := range b.out[b.start[i]:][:len(w)-1] {
				score.NLL += p.nll()
				score.KL += p.gap
			}
			if !finite(score.NLL) || !finite(score.KL) {
				return notFiniteErr("window %d: the model's output is not finite", b.first+i)
			}
			scores[b.first+i] = score
		}
		if progress != nil {
			progress(b.first + len(b.windows))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return scores, nil
}

// LogProbs returns the logarithm of the probability of each token of a window
// after the first, given those before it: len(window)-1 numbers.
func (m *Model) LogProbs(ctx context.Context, window []int32) ([]float32, error) {
	probs := make([]float32, 0, len(window))
	err := m.batches([][]int32{window}, func(b *batch) error {
		if err := m.forward(ctx, b); err != nil {
			return err
		}
		err := m.finish(ctx, b, func(r rowBlock, h []float32, ld, n int, s *scratch, out []prediction) {
			m.predict(h, ld, n, window[r.first+1:], nil, s, out)
		})
		if err != nil {
			return err
		}
		for i, p := range b.out[:len(window)-1] {
			if !finite(p.nll()) {
				return notFiniteErr("position %d: the model's output is not finite", i+1)
			}
			probs = append(probs, float32(-p.nll()))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return probs, nil
}

// finish calls do with the normed final hidden states of each row block, on every
// thread; do fills in the predictions out of its n rows. The last position of a
// window predicts nothing that could be scored and is left out.
func (m *Model) finish(ctx context.Context, b *batch, do func(r rowBlock, h []float32, ld, n int, s *scratch, out []prediction)) error {
	if cap(b.out) < b.rows {
		b.out = make([]prediction, b.rows)
	}
	b.out = b.out[:b.rows]
	return m.each(ctx, b, func(r rowBlock, s *scratch) {
		n := min(r.n, len(b.windows[r.window])-1-r.first)
		if n == 0 {
			return
		}
		ld := pad(m.config.Hidden)
		s.h = grow(s.h, blockRows*ld)
		m.normalize(s.h, ld, b.x[r.row*m.config.Hidden:], m.norm, n)
		do(r, s.h, ld, n, s, b.out[r.row:][:n])
	})
}

// finite reports whether x is neither NaN nor infinite.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
