package engine

import (
	"github.com/paretopress/paretopress/internal/kernel"
)

// Product is the gradient of the loss with respect to a parameter, of which no more is computed than is asked for. For the weights of a linear module it
// is dYᵀ·X, with X [N x columns] the module's inputs and dY [N x rows] the gradients of its outputs; embeddings and head have the same form.
// A vector is a matrix of one row.
//
// A Product is valid until the sink that it is handed to returns. Its methods use the model's threads and may not be called by several
// goroutines at a time.
type Product struct {
	Name string // as in Model.Gradient
	N    int    // positions that the gradient is a sum over

	m          *Model
	rows, cols int
	of         gradient
}

// gradient computes parts of a matrix that is a gradient.
type gradient interface {
	// dense writes rows from … to-1.
	dense(m *Model, dst []float32, from, to int)
	// sampled writes the elements at flat indices in ascending order.
	sampled(m *Model, dst []float32, indices []int32)
}

// Shape returns the numbers of rows and columns.
func (p *Product) Shape() (rows, cols int) { return p.rows, p.cols }

// Rows writes rows from … to-1 of the gradient to dst, row-major; dst has (to-from)*columns elements.
func (p *Product) Rows(dst []float32, from, to int) {
	if from < to {
		p.of.dense(p.m, dst[:(to-from)*p.cols], from, to)
	}
}

// At writes the elements at flat row-major indices, sorted in ascending order, to dst, which is as long. It sums in another order than
// Rows, so that the last bits differ; an element does not depend on what else is asked for.
func (p *Product) At(dst []float32, indices []int32) {
	if len(indices) > 0 {
		p.of.sampled(p.m, dst[:len(indices)], indices)
	}
}

// emit hands a gradient to the sink.
func (g *backward) emit(name string, n, rows, cols int, of gradient) error {
	if err := g.sink(&Product{Name: name, N: n, m: g.m, rows: rows, cols: cols, of: of}); err != nil {
		return err
	}
	if g.failed != nil {
		return g.failed
	}
	return g.ctx.Err()
}

// emitLinear hands the gradients of a linear module to the sink, as far as they are wanted: dy is that of its outputs, x its inputs.
func (g *backward) emitLinear(l *linear, dropped bool, dy, x *operand) error {
	if name := l.name + ".bias"; l.bias != nil && g.want(name) {
		if err := g.emit(name, dy.n, 1, dy.cols, sumsOf{dy, dy.cols}); err != nil {
			return err
		}
	}
	if dropped || !g.want(l.name) {
		return nil
	}
	return g.emit(l.name, dy.n, dy.cols, x.cols, outer{dy, x})
}

// emitNorm hands the gradient of a norm's weight, of so many elements, to the sink if it is wanted; rows are its parts.
func (g *backward) emitNorm(name string, cols int, rows *operand) error {
	if !g.want(name) {
		return nil
	}
	return g.emit(name, rows.n, 1, cols, sumsOf{rows, cols})
}

// outer is the gradient dyᵀ·x.
type outer struct{ dy, x *operand }

// outerRows is how many rows of a gradient a thread computes at a time.
const outerRows = 4 * panelRows

func (o outer) dense(m *Model, dst []float32, from, to int) {
	left, right := o.dy.left(m), o.x.right(m)
	blocks, panels := ceil(to-from, outerRows)/outerRows, ceil(o.x.cols, panelRows)/panelRows
	// Few blocks are divided by columns, too.
	split := min(max(1, 2*m.threads/blocks), panels)
	m.pool.Run(blocks*split, func(i int) {
		first := from + i/split*outerRows
		p0, p1 := panels*(i%split)/split, panels*(i%split+1)/split
		part := dst[(first-from)*o.x.cols+p0*panelRows:]
		for c, w := range right { // while the part is in the second-level cache
			w.product(part, o.x.cols, left.from(c*o.dy.cols+first), min(outerRows, to-first), p0, p1, c > 0)
		}
	})
}

// sampleIndices is the least number of elements that a thread computes at a time.
const sampleIndices = 1024

func (o outer) sampled(m *Model, dst []float32, indices []int32) {
	dy, x := o.dy.transposed(m), o.x.transposed(m)
	each := max(sampleIndices, ceil(len(indices), 4*m.threads)/(4*m.threads))
	m.pool.Run(ceil(len(indices), each)/each, func(i int) {
		from, to := i*each, min((i+1)*each, len(indices))
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		s.back.columns = grow(s.back.columns, to-from)
		sampledPart(dst[from:to], indices[from:to], s.back.columns, o, dy, x)
	})
}

// sampledPart computes some elements; columns is memory for as many numbers.
func sampledPart(dst []float32, indices, columns []int32, o outer, dy, x []float32) {
	cols := int32(o.x.cols)
	for j, at := range indices {
		columns[j] = at % cols
	}
	clear(dst)
	for c := range o.x.chunks() {
		_, n := o.x.chunk(c)
		dy, x := dy[c*o.dy.cols*chunkRows:], x[c*o.x.cols*chunkRows:]
		for j := 0; j < len(indices); {
			row := indices[j] / cols
			end := j + 1
			for end < len(indices) && indices[end]/cols == row {
				end++
			}
			kernel.Dots(dst[j:end], dy[int(row)*chunkRows:][:n], x, chunkRows, columns[j:end])
			j = end
		}
	}
}

// sumsOf is the gradient of a vector: the sum of an operand's rows. One with fewer elements than the rows is the sum of their parts.
type sumsOf struct {
	parts *operand
	cols  int
}

func (v sumsOf) dense(m *Model, dst []float32, from, to int) {
	sums := v.parts.sums(m)
	copy(dst, sums)
	for at := len(dst); at < len(sums); at += len(dst) {
		kernel.Add(dst, sums[at:][:len(dst)])
	}
}

func (v sumsOf) sampled(m *Model, dst []float32, indices []int32) {
	all := make([]float32, v.cols)
	v.dense(m, all, 0, 1)
	for j, at := range indices {
		dst[j] = all[at]
	}
}
