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

// sample is what the products of sampled elements are laid out by, and the memory that they share.
type sample struct {
	columns []int32   // of each element
	runs    []rowRun  // of elements in one row
	sums    []float32 // [chunks x elements] over the positions of each of some chunks
}

// rowRun is the elements of one row, up to the one before end.
type rowRun struct{ row, end int }

// layout finds rows and columns of flat indices.
func (s *sample) layout(indices []int32, cols int) {
	s.columns, s.runs = grow(s.columns, len(indices)), s.runs[:0]
	row, next := -1, 0 // next is the first index behind the row
	for j, at := range indices {
		if int(at) >= next {
			row = int(at) / cols
			next = (row + 1) * cols
			s.runs = append(s.runs, rowRun{row: row})
		}
		s.columns[j] = at - int32(row*cols)
		s.runs[len(s.runs)-1].end = j + 1
	}
}

// sampleCols is the number of columns of dy that are transposed at a time.
const sampleCols = 64

// sampleSums is how many sums over chunks there are before they are added up (64 MB), or those of a chunk for each thread. Tests lower it.
var sampleSums = 1 << 24

func (o outer) sampled(m *Model, dst []float32, indices []int32) {
	a := &m.back.sample
	a.layout(indices, o.x.cols)
	clear(dst)
	chunks := o.x.chunks()
	group := min(chunks, max(m.threads, sampleSums/len(indices)))
	for first := 0; first < chunks; first += group {
		o.sampledChunks(m, dst, first, min(group, chunks-first))
	}
}

// sampledChunks adds the sums over some chunks to the sampled elements.
func (o outer) sampledChunks(m *Model, dst []float32, first, chunks int) {
	a := &m.back.sample
	a.sums = grow(a.sums, chunks*len(dst))
	parts := max(1, ceil(2*m.threads, chunks)/chunks) // of a chunk; each transposes all of its inputs
	m.pool.Run(chunks*parts, func(i int) {
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		c, p := i/parts, i%parts
		o.chunk(a.sums[c*len(dst):][:len(dst)], a, first+c, len(a.runs)*p/parts, len(a.runs)*(p+1)/parts, &s.back)
	})
	const each = 1 << 14
	m.pool.Run(ceil(len(dst), each)/each, func(i int) {
		part := dst[i*each : min((i+1)*each, len(dst))]
		for c := range chunks {
			kernel.Add(part, a.sums[c*len(dst)+i*each:][:len(part)])
		}
	})
}

// chunk writes the sums over a chunk of the elements of runs from … to-1. What it transposes stays in the second-level cache.
func (o outer) chunk(sums []float32, a *sample, c, from, to int, s *backwardScratch) {
	if from == to {
		return
	}
	first, n := o.x.chunk(c)
	s.inputs, s.outputs = grow(s.inputs, o.x.cols*chunkRows), grow(s.outputs, sampleCols*chunkRows)
	kernel.Transpose(s.inputs, chunkRows, o.x.data[first*o.x.ld:], o.x.ld, n, o.x.cols)
	begin, have := 0, -1
	if from > 0 {
		begin = a.runs[from-1].end
	}
	clear(sums[begin:a.runs[to-1].end])
	for _, r := range a.runs[from:to] {
		if block := r.row / sampleCols; block != have {
			have = block
			at := block * sampleCols
			kernel.Transpose(s.outputs, chunkRows, o.dy.data[first*o.dy.ld+at:], o.dy.ld, n, min(sampleCols, o.dy.cols-at))
		}
		kernel.Dots(sums[begin:r.end], s.outputs[r.row%sampleCols*chunkRows:][:n], s.inputs, chunkRows, a.columns[begin:r.end])
		begin = r.end
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
