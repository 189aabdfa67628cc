package sparseft

import (
	"fmt"
	"math"
)

// spielMA trains a sparse delta with SM3 without momentum, whose two vectors for a tensor, R and C, bound the sums of
// squared gradients of its rows and columns. Its support grows where R_r·C_c is largest, so that choosing it takes no
// gradient and no more state.
//
// A. Ansell et al., arXiv 2401.16405; R. Anil, V. Gupta, T. Koren and Y. Singer, Memory-Efficient Adaptive Optimization,
// arXiv 1901.11150.
type spielMA struct {
	sparse
	row, col []float32 // R and C
	most     int       // that may grow beyond what is dropped, where the budget moves between tensors
}

func newSpielMA(t *tensor, o *Options) *spielMA {
	s := &spielMA{sparse: sparse{tensor: t}, row: make([]float32, t.rows), col: make([]float32, t.cols)}
	s.initial(o.Seed)
	if o.CrossTensor {
		s.most = o.CandidateFactor * t.quota
	}
	return s
}

func (s *spielMA) add(g Gradient, m *moment) error { return s.collect(g, m, nil, false) }

func (s *spielMA) check(m *moment) int {
	if i := m.check(s.sum); i >= 0 {
		return int(s.index[i])
	}
	return -1
}

// update makes a step: ν = min(R_r, C_c) + g² for every weight, from the R and C before it, then R and C become the
// largest ν of their row and column, and δ moves by rate·g/√(ν+ε) and decays.
func (s *spielMA) update(m *moment) {
	bound := make([]float32, len(s.index))
	decay := float64(m.rate * m.WeightDecay)
	for i, at := range s.index {
		g := float64(s.sum[i]) * m.scale
		s.sum[i] = 0
		bound[i] = min(s.row[int(at)/s.cols], s.col[int(at)%s.cols]) + float32(float64(g*g))
		u := g / math.Sqrt(float64(bound[i])+m.Epsilon)
		d := float64(s.delta[i]) - float64(m.rate*u)
		s.delta[i] = float32(d - float64(decay*d))
	}
	for i, at := range s.index {
		r, c := &s.row[int(at)/s.cols], &s.col[int(at)%s.cols]
		*r, *c = max(*r, bound[i]), max(*c, bound[i])
	}
}

// propose drops the ⌊pk⌋ smallest deltas and grows the largest R_r·C_c outside the support; what is dropped now is not
// grown again.
func (s *spielMA) propose(p float64) *proposal {
	n := int(p * float64(len(s.index)))
	best := s.choose(max(n, s.most))
	next := 0
	for r, x := range s.row {
		for c, y := range s.col {
			at := int32(r*s.cols + c)
			if next < len(s.index) && s.index[next] == at {
				next++
				continue
			}
			best.offer(score(float32(x*y), at))
		}
	}
	return s.sparse.propose(n, best.sorted())
}

func (s *spielMA) change(_ *moment, p *proposal, n, stay int) {
	s.apply(s.settle(p, n, stay), func(int, int, int) {})
}

func (s *spielMA) arrays(v *arrays) {
	s.sparse.arrays(v)
	v.floats("row", &s.row)
	v.floats("col", &s.col)
}

func (s *spielMA) restored(*Options, int) error {
	if len(s.row) != s.rows || len(s.col) != s.cols {
		return fmt.Errorf("%d and %d bounds for %d rows and %d columns", len(s.row), len(s.col), s.rows, s.cols)
	}
	return s.sparse.restored()
}
