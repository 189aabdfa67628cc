package engine

import "github.com/paretopress/paretopress/internal/kernel"

// activation is a matrix of float32 activations or gradients, [n x cols] with a row for each position.
type activation struct {
	data        []float32
	n, cols, ld int // row i starts at data[i*ld]
}

// reset makes a matrix one of n x cols that holds nothing of use.
func (a *activation) reset(n, cols int) {
	a.n, a.cols, a.ld = n, cols, pad(cols)
	a.data = grow(a.data, n*a.ld)
}

func (a *activation) row(i int) []float32 { return a.data[i*a.ld:][:a.cols] }

// clear makes every element 0.
func (a *activation) clear() { clear(a.data) }

// finite reports whether no element is NaN or infinite.
func (a *activation) finite() bool {
	for i := range a.n {
		if !kernel.Finite(a.row(i)) {
			return false
		}
	}
	return true
}

// operand is an activation, and the forms of it that the products over positions read. These are made when they are needed, for chunkRows
// positions at a time: what a product reads of them lies together.
type operand struct {
	activation

	t       []float32 // for each chunk: [cols x chunkRows] transpose
	rounded []uint16  // the same as rows of bfloat16
	packed  []*panels // of the transpose of each chunk

	hasT, hasRounded, hasPacked bool
}

// chunkRows is the number of positions that products over positions take at a time; a sampled element is a sum of sums over as many. The
// transpose of a chunk of inputs stays in the second-level cache while it is written, and while it is read.
const chunkRows = 256

// reset makes an operand a matrix of n x cols that holds nothing of use.
func (o *operand) reset(n, cols int) {
	o.activation.reset(n, cols)
	o.changed()
}

// swap exchanges the matrix of an operand for another.
func (o *operand) swap(a *activation) {
	o.activation, *a = *a, o.activation
	o.changed()
}

// changed has the other forms made again.
func (o *operand) changed() { o.hasT, o.hasRounded, o.hasPacked = false, false, false }

// chunks is the number of chunks.
func (o *operand) chunks() int { return ceil(o.n, chunkRows) / chunkRows }

// chunk returns the first position of a chunk and how many there are.
func (o *operand) chunk(i int) (first, n int) {
	return i * chunkRows, min(chunkRows, o.n-i*chunkRows)
}

// transposed returns the transposes of the chunks: row j of chunk i starts at (i*cols+j)*chunkRows.
func (o *operand) transposed(m *Model) []float32 {
	if !o.hasT {
		o.hasT = true
		o.t = grow(o.t, o.chunks()*o.cols*chunkRows)
		const part = 4 * panelRows // rows that a thread writes at a time
		parts := ceil(o.cols, part) / part
		m.pool.Run(o.chunks()*parts, func(i int) {
			c, at := i/parts, i%parts*part
			first, n := o.chunk(c)
			kernel.Transpose(o.t[(c*o.cols+at)*chunkRows:], chunkRows, o.data[first*o.ld+at:], o.ld, n, min(part, o.cols-at))
		})
	}
	return o.t
}

// left returns the transposes of the chunks as left operands of products: row j of chunk i is row i*cols+j.
func (o *operand) left(m *Model) rows {
	t := o.transposed(m)
	if m.numerics == Exact {
		return rows{f32: t, ld: chunkRows}
	}
	if !o.hasRounded {
		o.hasRounded = true
		o.rounded = grow(o.rounded, o.chunks()*o.cols*chunkRows)
		r := rows{bf16: o.rounded, ld: chunkRows}
		m.pool.Run(o.chunks()*o.cols, func(i int) {
			_, n := o.chunk(i / o.cols)
			r.round(i, t[i*chunkRows:][:n])
		})
	}
	return rows{bf16: o.rounded, ld: chunkRows}
}

// right returns the panels of the transpose of each chunk, right operands of products.
func (o *operand) right(m *Model) []*panels {
	if !o.hasPacked {
		o.hasPacked = true
		o.packed = append(o.packed, make([]*panels, max(0, o.chunks()-len(o.packed)))...)
		for i := range o.chunks() {
			_, n := o.chunk(i)
			o.packed[i] = m.reshape(o.packed[i], o.cols, n)
		}
		const part = panelRows // positions that a thread packs at a time
		m.pool.Run(ceil(o.n, part)/part, func(i int) {
			c := i * part / chunkRows
			at := i*part - c*chunkRows
			o.packed[c].packTransposed(at, o.data[i*part*o.ld:], o.ld, min(part, o.n-i*part))
		})
	}
	return o.packed[:o.chunks()]
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
