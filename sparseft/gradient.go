package sparseft

import (
	"fmt"
	"math"
	"slices"
)

// Gradient is the gradient of one tensor over one microbatch, as the two factors it is the product of.
//
// Both methods must give the same bits for the same weights however often they are called and whatever is asked for beside
// them, or a resumed training differs from one that was not interrupted.
type Gradient interface {
	// Rows puts the gradients of the rows from to to-1, row-major, in dst.
	Rows(dst []float32, from, to int)
	// At puts the gradients at flat row-major indices, sorted ascending, in dst.
	At(dst []float32, indices []int32)
}

// Factored is a [Gradient] G that is multiplied without being computed, which saves low-rank methods most of its cost. What is said of Gradient's
// methods holds for these.
type Factored interface {
	Gradient
	// Left puts U·G, k x columns, in dst, for U of k x rows; all are row-major.
	Left(dst, u []float32, k int)
	// Right puts V·Gᵀ, k x rows, in dst, for V of k x columns.
	Right(dst, v []float32, k int)
}

// Base gives the weights that training starts from: of a quantized level those it decodes to.
type Base interface {
	// Rows puts the weights of the rows from to to-1, row-major, in dst.
	Rows(dst []float32, from, to int)
}

// Dense is a matrix in memory, row-major, of Cols columns. It is a [Base] and a [Gradient].
type Dense struct {
	Data []float32
	Cols int
}

// Rows copies rows.
func (d Dense) Rows(dst []float32, from, to int) { copy(dst, d.Data[from*d.Cols:to*d.Cols]) }

// At copies single elements.
func (d Dense) At(dst []float32, indices []int32) {
	for i, at := range indices {
		dst[i] = d.Data[at]
	}
}

// blockWeights is about how many weights of a tensor are held densely at a time (1 MiB).
const blockWeights = 1 << 18

// blockRows is the number of rows of a block. It depends on the shape alone, so that results do too.
func blockRows(cols int) int { return max(1, blockWeights/cols) }

// blocks calls f with rows of w a block at a time, in order: block holds the rows from to to-1. f may change it, and runs while w gives the next block; an
// error of f ends the calls.
func blocks(w Base, rows, cols int, f func(block []float32, from, to int) error) error {
	size := min(rows, blockRows(cols))
	var buffers [2][]float32 // the second only where there is a second block
	done := make(chan error, 1)
	done <- nil
	for from, i := 0, 0; from < rows; from, i = from+size, 1-i {
		to := min(rows, from+size)
		if buffers[i] == nil {
			buffers[i] = make([]float32, size*cols)
		}
		block := buffers[i][:(to-from)*cols]
		w.Rows(block, from, to)
		if err := <-done; err != nil {
			return err
		}
		go func() { done <- f(block, from, to) }()
	}
	return <-done
}

// gather puts the weights at flat indices, sorted ascending, in dst, and reads only the rows that they lie in.
func gather(w Base, cols int, dst []float32, indices []int32) {
	row := make([]float32, cols)
	have := -1
	for i, at := range indices {
		if r := int(at) / cols; r != have {
			w.Rows(row, r, r+1)
			have = r
		}
		dst[i] = row[int(at)%cols]
	}
}

// finite returns the position of the first of v that is NaN or infinite, and -1 where there is none.
func finite(v []float32) int {
	for i, x := range v {
		if math.Float32bits(x)&0x7f80_0000 == 0x7f80_0000 {
			return i
		}
	}
	return -1
}

// notFinite is the error for a gradient that is not a number or infinite, at a flat index.
func (t *tensor) notFinite(v float32, at int) error {
	return fmt.Errorf("the gradient of %s is %v at row %d, column %d", t.name, v, at/t.cols, at%t.cols)
}

// consumer takes the dense gradient of a microbatch, rows from to to-1 at a time, in order.
type consumer interface {
	block(block []float32, from, to int)
}

// scan shows the dense gradient to consumers, a block of rows at a time, and stops where it is not finite. Where masked is
// set, weights outside the tensor's mask have gradient zero.
func (t *tensor) scan(g Gradient, masked bool, consumers ...consumer) error {
	return blocks(g, t.rows, t.cols, func(block []float32, from, to int) error {
		if i := finite(block); i >= 0 {
			return t.notFinite(block[i], from*t.cols+i)
		}
		if masked {
			t.mask.clear(block, from*t.cols)
		}
		for _, c := range consumers {
			c.block(block, from, to)
		}
		return nil
	})
}

// denseSum sums gradients of all weights.
type denseSum struct {
	sum  []float32
	cols int
}

func (d denseSum) block(block []float32, from, to int) {
	sums := d.sum[from*d.cols : to*d.cols]
	for i, x := range block {
		sums[i] += x
	}
}

// gatherer sums gradients of some weights, whose flat indices ascend.
type gatherer struct {
	index []int32
	sum   []float32
	cols  int
}

// block sums what lies in a dense block.
func (x gatherer) block(block []float32, from, to int) {
	first, _ := slices.BinarySearch(x.index, int32(from*x.cols))
	for i := first; i < len(x.index) && int(x.index[i]) < to*x.cols; i++ {
		x.sum[i] += block[int(x.index[i])-from*x.cols]
	}
}

// sampled sums the gradients of a microbatch that are read at the weights alone, at those that two ask for once.
func (t *tensor) sampled(g Gradient, all ...gatherer) error {
	index := all[0].index
	for _, x := range all[1:] {
		index = union(index, x.index)
	}
	v := make([]float32, len(index))
	g.At(v, index)
	if i := finite(v); i >= 0 {
		return t.notFinite(v[i], int(index[i]))
	}
	for _, x := range all {
		at := 0
		for i, want := range x.index {
			for index[at] != want {
				at++
			}
			x.sum[i] += v[at]
		}
	}
	return nil
}

// union returns what is in one or both of two ascending lists.
func union(a, b []int32) []int32 {
	out := make([]int32, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		next := min(a[0], b[0])
		if a[0] == next {
			a = a[1:]
		}
		if b[0] == next {
			b = b[1:]
		}
		out = append(out, next)
	}
	return append(append(out, a...), b...)
}
