package sparseft

import "fmt"

// CheckModel returns an error where the delta was not trained from the model of this digest.
func (d *Delta) CheckModel(digest string) error {
	if d.Base != digest {
		return fmt.Errorf("sparseft: the delta is for the model %.12s, this is %.12s", d.Base, digest)
	}
	return nil
}

// Check returns an error where the delta is not for a tensor of these weights: of another shape, or trained from others.
func (t *TensorDelta) Check(b Base, rows, cols int) error {
	if rows != t.Rows || cols != t.Cols {
		return fmt.Errorf("sparseft: the delta of %s is for %d x %d weights, the tensor has %d x %d", t.Name, t.Rows, t.Cols, rows, cols)
	}
	if have := Digest(b, rows, cols); have != t.Digest {
		return fmt.Errorf("sparseft: the delta of %s is for another base: weights with SHA-256 %.12s, these have %.12s", t.Name, t.Digest, have)
	}
	return nil
}

// Saved holds what a merge overwrote: of a sparse delta the weights at its indices, else the whole tensor. A delta file has none of it,
// since the base that the delta names has it all.
type Saved struct {
	indices []int32
	values  []float32
}

// Merge adds the delta to w, the weights that it was trained from, row-major. They become those that it was trained to, bit
// for bit. Check tells whether they are the right ones.
func (t *TensorDelta) Merge(w []float32) Saved {
	if len(w) != t.Rows*t.Cols {
		panic(fmt.Sprintf("sparseft: %d weights for a delta of %d x %d", len(w), t.Rows, t.Cols))
	}
	var s Saved
	if t.Rank > 0 || t.Indices == nil {
		s.values = append(s.values, w...)
	} else {
		s.indices = append([]int32{}, t.Indices...)
		for _, at := range t.Indices {
			s.values = append(s.values, w[at])
		}
	}
	if t.Rank > 0 {
		addProduct(w, t.A, t.B, t.Scale, t.Rank, t.Cols, 0, t.Rows)
	}
	for i, at := range t.Indices {
		w[at] += t.Values[i]
	}
	if t.Indices == nil {
		for i, d := range t.Values {
			if d != 0 {
				w[i] += d
			}
		}
	}
	t.Mask.clear(w, 0)
	return s
}

// Unmerge puts back what a merge overwrote in w, bit for bit, for callers that switch between deltas of weights they hold. Subtracting the delta would
// not: the sum was rounded. Deltas that were merged one on top of another come off in the opposite order.
func (s Saved) Unmerge(w []float32) {
	if s.indices == nil {
		copy(w, s.values)
		return
	}
	for i, at := range s.indices {
		w[at] = s.values[i]
	}
}
