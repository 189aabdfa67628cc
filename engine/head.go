package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/paretopress/paretopress/internal/kernel"
)

const (
	// tileCols is the width of the vocabulary tiles of the head. It is part of the
	// exact numerics: the sum over a tile is taken in float32, that over tiles in
	// float64, in order. A multiple of panelRows.
	tileCols = 512
	// sliceTiles is the number of tiles of the head's matrix that are decoded at a
	// time.
	sliceTiles = 8
)

// prediction is what the head finds at one position, in nats.
type prediction struct {
	lse    float64 // log of the sum of exp over all logits
	target float64 // the logit of the token that comes next
	// gap is Σ p(v)·(t(v)-l(v)) over the vocabulary, t being the teacher's logits,
	// p their softmax and l this model's. The KL divergence is gap + lse - the
	// teacher's lse.
	gap float64
}

// nll is the negative log-likelihood of the next token.
func (p prediction) nll() float64 { return p.lse - p.target }

// final is the end of the layers for a batch: its normed hidden states, and what
// the head finds.
type final struct {
	members []int  // candidates, which are all the same model
	head    choice // of theirs
	err     error  // why the head found nothing: a weight of theirs is not finite
	hidden  rows   // [rows x Hidden]
	memory  buffer // of hidden
	sums    []logSum
	out     []prediction // [rows]
}

// predicting is the number of positions of a row block that predict a token which
// can be scored: the last of a window does not.
func predicting(b *batch, r rowBlock) int {
	return min(r.n, len(b.windows[r.window])-1-r.first)
}

// finish fills f with the normed residual stream of the batch.
func (m *Model) finish(ctx context.Context, b *batch, f *final) error {
	hidden := m.config.Hidden
	f.hidden = m.rows(&f.memory, b.rows, hidden)
	f.sums = grow(f.sums, b.rows)
	f.out = grow(f.out, b.rows)
	return m.each(ctx, b, func(r rowBlock, s *scratch) {
		for i := r.row; i < r.row+predicting(b, r); i++ {
			f.sums[i], f.out[i] = logSum{}, prediction{}
			f.hidden.set(i, hidden, &s.in, func(row []float32) {
				kernel.RMSNorm(row, b.x[i*hidden:][:hidden], m.norm, float32(m.config.NormEps))
			})
		}
	})
}

// headKey is the key of the dense head, and the beginning of those of a tied one.
const headKey = "head"

// predict runs the heads for some ends of the same batch. Logits exist for a tile of
// the vocabulary and a row block at a time. With teachers, one for each window of
// the batch, their logits of the tile are computed again beside them by the dense
// head, once for all of the ends. An end whose head has a weight that is not finite
// gets an error of its own.
func (m *Model) predict(ctx context.Context, b *batch, finals []*final, teachers []taughtRows) error {
	vocab := m.config.Vocab
	for first := 0; first < vocab; first += sliceTiles * tileCols {
		n := min(sliceTiles*tileCols, vocab-first)
		heads, err := m.headSlices(finals, teachers != nil, first, n)
		if err != nil {
			return err
		}
		err = m.each(ctx, b, func(r rowBlock, s *scratch) { m.predictBlock(b, heads, first, n, finals, teachers, r, s) })
		m.done(slices.Collect(maps.Values(heads)))
		if err != nil {
			return err
		}
	}
	return m.each(ctx, b, func(r rowBlock, _ *scratch) {
		for _, f := range finals {
			for i := r.row; i < r.row+predicting(b, r); i++ {
				f.out[i].lse = f.sums[i].value()
				if teachers != nil {
					f.out[i].gap += f.out[i].lse - teachers[r.window].lse[r.first+i-r.row]
				}
			}
		}
	})
}

// headSlices returns the n rows from first on of the heads of some ends, and with
// teachers of the dense one, by the keys of the heads. The caller gives them back by
// done.
func (m *Model) headSlices(finals []*final, taught bool, first, n int) (map[string]*panels, error) {
	heads := make(map[string]*panels)
	decode := func(head choice) error {
		if heads[head.key] != nil {
			return nil
		}
		ws, err := m.matrices([]choice{{key: fmt.Sprint(head.key, " ", first), name: head.name, weights: rowsOf{head.weights, first, n}}})
		if err == nil {
			heads[head.key] = ws[0]
		}
		return err
	}
	if taught {
		if err := decode(m.head); err != nil {
			return nil, err
		}
	}
	for _, f := range finals {
		if f.err != nil {
			continue
		}
		if err := decode(f.head); errors.Is(err, ErrNotFinite) {
			f.err = err
		} else if err != nil {
			m.done(slices.Collect(maps.Values(heads)))
			return nil, err
		}
	}
	return heads, nil
}

// predictBlock runs slices of the heads, the cols words from first on, for a row
// block.
func (m *Model) predictBlock(b *batch, heads map[string]*panels, first, cols int, finals []*final, teachers []taughtRows, r rowBlock, s *scratch) {
	n := predicting(b, r)
	targets := b.windows[r.window][r.first+1:]
	s.tile = grow(s.tile, blockRows*tileCols)
	var taught taughtRows
	if teachers != nil {
		s.teach = grow(s.teach, blockRows*tileCols)
		taught = teachers[r.window].from(r.first)
	}
	for at := 0; at < cols; at += tileCols {
		width := min(tileCols, cols-at)
		p0, p1 := at/panelRows, ceil(at+width, panelRows)/panelRows
		if teachers != nil {
			heads[m.head.key].times(s.teach, tileCols, taught.hidden, n, p0, p1)
		}
		for _, f := range finals {
			if f.err != nil {
				continue
			}
			heads[f.head.key].times(s.tile, tileCols, f.hidden.from(r.row), n, p0, p1)
			for i := range n {
				logits := s.tile[i*tileCols:][:width]
				f.sums[r.row+i].add(kernel.MaxSumExp(logits))
				out := &f.out[r.row+i]
				if t := int(targets[i]) - first - at; t >= 0 && t < width {
					out.target = float64(logits[t])
				}
				if teachers != nil {
					out.gap += float64(kernel.KLSum(logits, s.teach[i*tileCols:][:width], float32(taught.lse[i])))
				}
			}
		}
	}
}

// rowsOf is a run of rows of a matrix.
type rowsOf struct {
	Weights
	first, n int
}

func (w rowsOf) Shape() (rows, cols int) {
	_, cols = w.Weights.Shape()
	return w.n, cols
}

func (w rowsOf) DecodeRows(first, n int, dst []float32) { w.Weights.DecodeRows(w.first+first, n, dst) }

// logSum is a sum of exp kept as sum·exp(max), with max the greatest exponent.
type logSum struct{ max, sum float64 }

// add adds a tile's part, in the same form.
func (l *logSum) add(max, sum float32) {
	m, s := float64(max), float64(sum)
	switch {
	case l.sum == 0:
		l.max, l.sum = m, s
	case m > l.max:
		l.max, l.sum = m, float64(l.sum*exp(l.max-m))+s
	default:
		l.sum += float64(s * exp(m-l.max))
	}
}

// value is the logarithm of the sum.
func (l logSum) value() float64 { return l.max + log(l.sum) }
