package sparseft

import "fmt"

// full trains every weight, or every weight of the mask, with AdamW: the dense baseline. The decay is towards the weights
// trained from, as it is of sparse deltas.
type full struct {
	*tensor
	delta, sum []float32
	adam       adam
}

func newFull(t *tensor) *full {
	return &full{tensor: t, delta: make([]float32, t.total), sum: make([]float32, t.total), adam: newAdam(t.total, false)}
}

func (f *full) add(g Gradient, _ *moment) error { return f.scan(g, true, denseSum{f.sum, f.cols}) }

func (f *full) check(m *moment) int { return m.check(f.sum) }

func (f *full) update(m *moment) { f.adam.update(m, f.delta, f.sum) }

func (f *full) patch() Patch { return Patch{Whole: true} }

func (f *full) weights(dst []float32, from, to int) {
	f.base.Rows(dst, from, to)
	for i, d := range f.delta[from*f.cols : to*f.cols] {
		if d != 0 { // -0 is left as it is, so that a restricted training keeps every bit of what it does not train
			dst[i] += d
		}
	}
}

func (f *full) trainable() int { return f.kept }

func (f *full) bytes() int64 { return 4 * int64(f.total) }

func (f *full) result(d *TensorDelta) { d.Values = append([]float32{}, f.delta...) }

func (f *full) arrays(v *arrays) {
	v.floats("delta", &f.delta)
	v.sums("sum", &f.sum, f.total)
	f.adam.arrays("", v)
}

func (f *full) restored(_ *Options, step int) error {
	if len(f.delta) != f.total || len(f.sum) != f.total {
		return fmt.Errorf("%d deltas and %d sums for %d weights", len(f.delta), len(f.sum), f.total)
	}
	return f.adam.restored(f.total, step, false)
}
