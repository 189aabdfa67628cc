package sparseft

import (
	"fmt"
	"slices"
)

// spielAG trains a sparse delta with AdamW. Its support grows where gradients that are accumulated over a window of steps
// are largest.
//
// A. Ansell, I. Vulić, H. Sterz, A. Korhonen and E. Ponti, Scaling Sparse Fine-Tuning to Large Language Models, arXiv
// 2401.16405. It differs from the authors' implementation where that depends on how a batch is cut into microbatches or on
// low precision: the gradients that choose candidates and seed moments are those of whole steps, with the scale that Adam
// sees; sums are float32; and a weight that is grown with n gradients behind it is of age n+1 at its first own step.
type spielAG struct {
	sparse
	adam   adam
	window window
}

func newSpielAG(t *tensor, o *Options) *spielAG {
	s := &spielAG{sparse: sparse{tensor: t}, window: newWindow(t, o)}
	s.initial(o.Seed)
	s.adam = newAdam(len(s.index), true)
	return s
}

func (s *spielAG) add(g Gradient, m *moment) error {
	var w *window
	if in, _ := m.window(m.step); in {
		w = &s.window
	}
	return s.collect(g, m, w, false)
}

func (s *spielAG) check(m *moment) int {
	if i := m.check(s.sum); i >= 0 {
		return int(s.index[i])
	}
	return s.window.check(m)
}

func (s *spielAG) update(m *moment) {
	s.adam.update(m, s.delta, s.sum)
	if in, _ := m.window(m.step); in {
		s.window.end(m)
	}
}

// propose drops the ⌊pk⌋ smallest deltas and grows the candidates of largest accumulated gradient.
func (s *spielAG) propose(p float64) *proposal {
	candidates := make([]scored, len(s.window.index))
	for i, g := range s.window.sums {
		candidates[i] = score(g, s.window.index[i])
	}
	slices.Sort(candidates)
	return s.sparse.propose(int(p*float64(len(s.index))), candidates)
}

// change seeds the moments of what is grown with the window's averages, so that Adam's bias correction leaves them
// unbiased.
func (s *spielAG) change(m *moment, p *proposal, n, stay int) {
	c := s.settle(p, n, stay)
	size := len(s.index) - len(c.dropped) + len(c.grown)
	old, next := s.adam, newAdam(size, true)
	w := &s.window
	b := m.correction[w.steps]
	i := 0 // in the window, whose indices rise as those of what is grown do
	s.apply(c, func(to, from, grown int) {
		if from >= 0 {
			next.m[to], next.v[to], next.age[to] = old.m[from], old.v[from], old.age[from]
			return
		}
		for w.index[i] != c.grown[grown] {
			i++
		}
		next.m[to] = float32(float64(w.sums[i]) / float64(w.steps) * b.one)
		next.v[to] = float32(float64(w.squares[i]) / float64(w.steps) * b.two)
		next.age[to] = w.steps
	})
	s.adam = next
	s.window.forget()
}

func (s *spielAG) arrays(v *arrays) {
	s.sparse.arrays(v)
	s.adam.arrays("", v)
	s.window.arrays(v)
}

func (s *spielAG) restored(o *Options, step int) error {
	if err := s.sparse.restored(); err != nil {
		return err
	}
	if err := s.adam.restored(len(s.index), step, true); err != nil {
		return err
	}
	if int(s.window.steps) > step {
		return fmt.Errorf("a window of %d steps after %d", s.window.steps, step)
	}
	return s.window.restored()
}
