package quant

import (
	"fmt"
	"slices"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
)

// quantizer collects the codes of a matrix. It is the obs.Strategy of GPTQ.
type quantizer struct {
	layout       kernel.Layout
	rows, cols   int
	groups, span int

	grids  []grid // of the current group of each row
	codes  []uint8
	scales []uint16 // [rows][groups]
	zeros  []uint8  // [rows][groups]; nil if symmetric
	err    error    // the first scale that does not fit
}

func newQuantizer(l kernel.Layout, rows, cols int) *quantizer {
	q := &quantizer{layout: l, rows: rows, cols: cols, groups: l.Groups(cols), span: l.Span(cols)}
	q.grids = make([]grid, rows)
	q.codes = make([]uint8, rows*cols)
	q.scales = make([]uint16, rows*q.groups)
	if !l.Symmetric {
		q.zeros = make([]uint8, len(q.scales))
	}
	return q
}

// rtn rounds each weight by itself.
func (q *quantizer) rtn(w []float32) {
	for first := 0; first < q.cols; first += q.span {
		last := min(first+q.span, q.cols)
		q.Begin(w, first, last)
		for i := range q.rows {
			for j := first; j < last; j++ {
				q.Round(i, j, w[i*q.cols+j])
			}
		}
	}
}

// gptq rounds column by column and feeds the errors back.
func (q *quantizer) gptq(w []float32, f *obs.Factor) {
	f.Sweep(slices.Clone(w), q.rows, q.span, q)
}

// Begin sets the grids of a group of columns, for every row.
func (q *quantizer) Begin(w []float32, first, last int) {
	for i := range q.rows {
		g, scale, ok := newGrid(q.layout, w[i*q.cols+first:i*q.cols+last])
		if !ok {
			if q.err == nil {
				q.err = fmt.Errorf("row %d: the scale of columns %d to %d does not fit in 16 bits", i, first, last-1)
			}
			g.scale = 1 // the result is not used
		}
		at := i*q.groups + first/q.span
		q.grids[i], q.scales[at] = g, scale
		if q.zeros != nil {
			q.zeros[at] = uint8(g.zero)
		}
	}
}

// Round stores the code of a weight and returns what it is worth.
func (q *quantizer) Round(row, col int, w float32) float32 {
	g := &q.grids[row]
	c := g.code(w)
	q.codes[row*q.cols+col] = uint8(int32(c + g.zero))
	return g.scale * c
}

// pack returns the stored form.
func (q *quantizer) pack(s Spec) (kernel.Packed, error) {
	if q.err != nil {
		return nil, fmt.Errorf("quant: %v: %w", s, q.err)
	}
	return kernel.PackGrouped(q.rows, q.cols, q.layout, q.codes, q.scales, q.zeros)
}
