package sparseft

import (
	"fmt"
	"slices"
)

// sparse is a delta of few weights: W' = W + scatter(δ).
type sparse struct {
	*tensor
	index []int32   // the support: flat row-major indices, ascending
	delta []float32 // δ
	sum   []float32 // of the gradients of the step's microbatches
	start []float32 // the weights that δ is added to
	left  []int32   // what left the support since the last patch
}

// initial takes the support that training begins with: uniformly random, outside the mask in proportion to the room there
// but no more than may be regrown.
func (s *sparse) initial(seed uint64) {
	outside := 0
	if s.regrow > 0 {
		outside = min(s.regrow, int(float64(s.quota)*(float64(s.total-s.kept)/float64(s.total))))
	}
	outside = max(outside, s.quota-s.kept)
	index := sample(random(seed, s.name, "support"), s.quota-outside, s.total, s.kept, s.mask.Has)
	if outside > 0 {
		index = append(index, sample(random(seed, s.name, "regrow"), outside, s.total, s.total-s.kept, func(i int) bool { return !s.mask.Has(i) })...)
		slices.Sort(index)
	}
	s.adopt(index)
}

// adopt takes a support, sorted, with δ = 0.
func (s *sparse) adopt(index []int32) {
	s.index = index
	s.delta = make([]float32, len(index))
	s.sum = make([]float32, len(index))
	s.start = make([]float32, len(index))
	gather(s.base, s.cols, s.start, index)
}

// collect sums the gradients of a microbatch at the support and, in a window (nil outside one), what the window gathers.
// The dense gradient is computed only where the window or another consumer has to see it.
func (s *sparse) collect(g Gradient, m *moment, w *window, masked bool, others ...consumer) error {
	sums := []gatherer{{s.index, s.sum, s.cols}}
	dense, after := others, func() {}
	if w != nil && w.index == nil {
		var c consumer
		c, after = w.reader(m)
		dense = append(dense, c)
	} else if w != nil {
		sums = append(sums, gatherer{w.index, w.now, s.cols})
	}
	if len(dense) == 0 {
		return s.sampled(g, sums...)
	}
	for _, x := range sums {
		dense = append(dense, x)
	}
	if err := s.scan(g, masked, dense...); err != nil {
		return err
	}
	after()
	return nil
}

// patch is what is to change in a working copy of the weights after a step.
func (s *sparse) patch() Patch {
	n := len(s.left)
	p := Patch{Indices: append(s.left, s.index...), Values: make([]float32, n+len(s.index))}
	gather(s.base, s.cols, p.Values[:n], s.left)
	for i, d := range s.delta {
		p.Values[n+i] = s.start[i] + d
	}
	s.left = nil
	return p
}

// weights are rows of W'.
func (s *sparse) weights(dst []float32, from, to int) {
	s.base.Rows(dst, from, to)
	s.scatter(dst, from, to)
}

// scatter adds δ to rows.
func (s *sparse) scatter(dst []float32, from, to int) {
	first, _ := slices.BinarySearch(s.index, int32(from*s.cols))
	for i := first; i < len(s.index) && int(s.index[i]) < to*s.cols; i++ {
		dst[int(s.index[i])-from*s.cols] += s.delta[i]
	}
}

func (s *sparse) trainable() int { return len(s.index) }

func (s *sparse) bytes() int64 { return pairBytes * int64(len(s.index)) }

// arrays shows the state.
func (s *sparse) arrays(v *arrays) {
	v.ints("index", &s.index)
	v.floats("delta", &s.delta)
	v.sums("sum", &s.sum, len(s.index))
}

// restored checks a state that was read and derives what is not part of it.
func (s *sparse) restored() error {
	if err := s.valid(s.index); err != nil {
		return err
	}
	if len(s.delta) != len(s.index) || len(s.sum) != len(s.index) {
		return fmt.Errorf("%d indices, %d deltas and %d sums", len(s.index), len(s.delta), len(s.sum))
	}
	outside := 0
	for _, at := range s.index {
		if !s.mask.Has(int(at)) {
			outside++
		}
	}
	if outside > s.regrow {
		return fmt.Errorf("%d indices outside the mask, where %d may be", outside, s.regrow)
	}
	s.start = make([]float32, len(s.index))
	gather(s.base, s.cols, s.start, s.index)
	return nil
}

// valid checks that indices are of the tensor and ascend.
func (t *tensor) valid(index []int32) error {
	return checkIndices(index, t.total)
}

// checkIndices returns an error that names the first index that is outside a tensor of n weights, repeated or not in
// ascending order.
func checkIndices(index []int32, n int) error {
	for i, at := range index {
		switch {
		case at < 0 || int(at) >= n:
			return fmt.Errorf("index %d is outside its %d weights", at, n)
		case i > 0 && at == index[i-1]:
			return fmt.Errorf("index %d is repeated", at)
		case i > 0 && at < index[i-1]:
			return fmt.Errorf("index %d comes after %d; indices ascend", at, index[i-1])
		}
	}
	return nil
}

// result is what a training leaves.
func (s *sparse) result(d *TensorDelta) {
	d.Indices, d.Values = append([]int32{}, s.index...), append([]float32{}, s.delta...)
}
