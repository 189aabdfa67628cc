package engine

import "github.com/paretopress/paretopress/internal/kernel"

// tileCols is the width of the vocabulary tiles of the head. It is part of the
// exact numerics: the sum over a tile is taken in float32, that over tiles in
// float64, in order. A multiple of panelRows.
const tileCols = 512

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

// predict runs the head for n rows of normed hidden states h, ld apart, and sets
// out[i] for the row whose next token is targets[i]. Logits exist for a tile of
// the vocabulary at a time. With a teacher, whose normed hidden states and
// log-sum-exps of the same rows are given, its logits of the tile are computed
// again beside them.
func (m *Model) predict(h []float32, ld, n int, targets []int32, teacher *taughtRows, s *scratch, out []prediction) {
	s.tile = grow(s.tile, blockRows*tileCols)
	if teacher != nil {
		s.teach = grow(s.teach, blockRows*tileCols)
	}
	for i := range n {
		s.sums[i] = logSum{}
		out[i] = prediction{}
	}
	for first := 0; first < m.head.Rows; first += tileCols {
		cols := min(tileCols, m.head.Rows-first)
		part := m.head.View(first/panelRows, (first+cols+panelRows-1)/panelRows)
		kernel.MatMul(s.tile, tileCols, h, ld, n, &part, 0, part.Panels(), false)
		if teacher != nil {
			kernel.MatMul(s.teach, tileCols, teacher.hidden, teacher.ld, n, &part, 0, part.Panels(), false)
		}
		for i := range n {
			logits := s.tile[i*tileCols:][:cols]
			s.sums[i].add(kernel.MaxSumExp(logits))
			if at := int(targets[i]) - first; at >= 0 && at < cols {
				out[i].target = float64(logits[at])
			}
			if teacher != nil {
				out[i].gap += float64(kernel.KLSum(logits, s.teach[i*tileCols:][:cols], float32(teacher.lse[i])))
			}
		}
	}
	for i := range n {
		out[i].lse = s.sums[i].value()
	}
}

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
