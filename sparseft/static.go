package sparseft

// static trains a sparse delta with AdamW on a support that does not change: drawn at random, or of the largest gradients
// of the first step.
type static struct {
	sparse
	adam   adam
	window window // of the first step, by which static-grad chooses
}

func newStatic(t *tensor, o *Options, m Method) *static {
	s := &static{sparse: sparse{tensor: t}, window: newWindow(t, o)}
	s.window.limit = t.quota
	if m == StaticRandom {
		s.initial(o.Seed)
		s.adam = newAdam(len(s.index), false)
	}
	return s
}

func (s *static) add(g Gradient, m *moment) error { return s.take(g, m, false) }

// take adds a microbatch that others have to see too.
func (s *static) take(g Gradient, m *moment, masked bool, others ...consumer) error {
	var w *window
	if s.choosing(m) {
		w = &s.window
	}
	return s.collect(g, m, w, masked, others...)
}

// choosing tells whether the support is not known before the end of the step.
func (s *static) choosing(m *moment) bool {
	in, _ := m.window(m.step)
	return in
}

func (s *static) check(m *moment) int {
	if i := m.check(s.sum); i >= 0 {
		return int(s.index[i])
	}
	return s.window.check(m)
}

func (s *static) update(m *moment) {
	if !s.choosing(m) {
		s.adam.update(m, s.delta, s.sum)
		return
	}
	s.window.end(m)
	s.adopt(s.window.index)
	s.adam = newAdam(len(s.index), false)
	whole := *m
	whole.scale = 1 // of the window's sums, which are gradients already
	s.adam.update(&whole, s.delta, s.window.sums)
	s.window.forget()
}

// trainable is the size of the support, or what it will be.
func (s *static) trainable() int {
	if s.index == nil {
		return s.quota
	}
	return len(s.index)
}

func (s *static) bytes() int64 { return pairBytes * int64(s.trainable()) }

func (s *static) arrays(v *arrays) {
	s.sparse.arrays(v)
	s.adam.arrays("", v)
	s.window.arrays(v)
}

func (s *static) restored(_ *Options, step int) error {
	if err := s.sparse.restored(); err != nil {
		return err
	}
	if err := s.adam.restored(len(s.index), step, false); err != nil {
		return err
	}
	return s.window.restored()
}
