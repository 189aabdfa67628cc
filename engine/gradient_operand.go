package engine

import "github.com/paretopress/paretopress/internal/kernel"

// operand is a matrix of float32 activations or gradients, [n x cols] with a row for each position, and the forms of it that the
// products over positions read. These are made when they are needed.
type operand struct {
	data        []float32
	n, cols, ld int // row i starts at data[i*ld]

	t        []float32 // [cols x stride] transpose
	stride   int
	rounded  []uint16 // the same as rows of bfloat16
	strideBF int
	packed   *panels // of the transpose

	hasT, hasRounded, hasPacked bool
}

// reset makes an operand a matrix of n x cols that holds nothing of use.
func (o *operand) reset(n, cols int) {
	o.n, o.cols, o.ld = n, cols, pad(cols)
	o.data = grow(o.data, n*o.ld)
	o.changed()
}

// changed has the other forms made again.
func (o *operand) changed() { o.hasT, o.hasRounded, o.hasPacked = false, false, false }

func (o *operand) row(i int) []float32 { return o.data[i*o.ld:][:o.cols] }

// clear makes every element 0.
func (o *operand) clear() { clear(o.data) }

// finite reports whether no element is NaN or infinite.
func (o *operand) finite() bool {
	for i := range o.n {
		if !kernel.Finite(o.row(i)) {
			return false
		}
	}
	return true
}

// transposed returns the transpose, row j at j*stride.
func (o *operand) transposed(m *Model) []float32 {
	if !o.hasT {
		o.hasT = true
		o.stride = pad(o.n)
		o.t = grow(o.t, o.cols*o.stride)
		parts := ceil(o.n, blockRows) / blockRows
		m.pool.Run(parts, func(i int) {
			at := i * blockRows
			kernel.Transpose(o.t[at:], o.stride, o.data[at*o.ld:], o.ld, min(blockRows, o.n-at), o.cols)
		})
	}
	return o.t
}

// left returns the transpose as the left operand of a product.
func (o *operand) left(m *Model) rows {
	t := o.transposed(m)
	if m.numerics == Exact {
		return rows{f32: t, ld: o.stride}
	}
	o.strideBF = padBF16(o.n)
	r := rows{ld: o.strideBF}
	if !o.hasRounded {
		o.hasRounded = true
		o.rounded = grow(o.rounded, o.cols*o.strideBF)
		r.bf16 = o.rounded
		parts := ceil(o.cols, panelRows) / panelRows
		m.pool.Run(parts, func(i int) {
			for j := i * panelRows; j < min((i+1)*panelRows, o.cols); j++ {
				r.round(j, t[j*o.stride:][:o.n])
			}
		})
	}
	r.bf16 = o.rounded
	return r
}

// right returns the panels of the transpose, the right operand of a product.
func (o *operand) right(m *Model) *panels {
	if !o.hasPacked {
		o.hasPacked = true
		o.packed = m.reshape(o.packed, o.cols, o.n)
		parts := ceil(o.n, panelRows) / panelRows
		m.pool.Run(parts, func(i int) {
			at := i * panelRows
			o.packed.packTransposed(at, o.data[at*o.ld:], o.ld, min(panelRows, o.n-at))
		})
	}
	return o.packed
}

// sums returns the sum of the rows, taken in float64 in their order.
func (o *operand) sums(m *Model) []float32 {
	const part = 64 // columns that one task sums
	total := make([]float32, o.cols)
	m.pool.Run(ceil(o.cols, part)/part, func(i int) {
		var sum [part]float64
		at := i * part
		to := min(at+part, o.cols)
		for p := range o.n {
			for j, x := range o.data[p*o.ld+at : p*o.ld+to] {
				sum[j] += float64(x)
			}
		}
		for j := range total[at:to] {
			total[at+j] = float32(sum[j])
		}
	})
	return total
}

// read returns n rows from row first on as the left operand of a product with weights, rounded to the memory of buf in fast numerics.
func (o *operand) read(m *Model, first, n int, buf *buffer) rows {
	if m.numerics == Exact {
		return rows{f32: o.data[first*o.ld:], ld: o.ld}
	}
	r := m.rows(buf, n, o.cols)
	for i := range n {
		r.round(i, o.row(first+i))
	}
	return r
}

// product fills n rows from row first on with W·x, or adds to them; without W it is 0.
func (o *operand) product(first, n int, w *panels, x rows, accumulate bool) {
	if w != nil {
		w.product(o.data[first*o.ld:], o.ld, x, n, 0, w.count(), accumulate)
	} else if !accumulate {
		for i := range n {
			clear(o.row(first + i))
		}
	}
}
