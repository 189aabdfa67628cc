package quant

import (
	"errors"
	"fmt"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
)

// width is the number of rows of a panel.
const width = kernel.PanelWidth

// quantizer collects the codes of a matrix. It is the obs.Strategy of GPTQ.
type quantizer struct {
	layout       kernel.Layout
	rows, cols   int
	groups, span int
	newGrid      func(low, high float32) (g grid, scale uint16, ok bool)

	weights *kernel.Panels // and in the end what is stored for them
	grids   []grid         // of the current group of each row
	codes   []uint8        // in panels, as the weights are
	scales  []uint16       // [rows][groups]
	zeros   []uint8        // [rows][groups]; nil if symmetric
	err     error          // the first scale that does not fit
}

func newQuantizer(l kernel.Layout, w []float32, rows, cols int) *quantizer {
	q := &quantizer{layout: l, rows: rows, cols: cols, groups: l.Groups(cols), span: l.Span(cols)}
	q.newGrid = func(low, high float32) (grid, uint16, bool) { return newGrid(l, low, high) }
	q.weights = kernel.NewPanels(rows, cols)
	q.weights.Pack(0, w, rows)
	q.grids = make([]grid, rows)
	q.codes = make([]uint8, len(q.weights.Data))
	q.scales = make([]uint16, rows*q.groups)
	if !l.Symmetric {
		q.zeros = make([]uint8, len(q.scales))
	}
	return q
}

// rtn rounds each weight by itself.
func (q *quantizer) rtn() {
	for first := 0; first < q.cols; first += q.span {
		last := min(first+q.span, q.cols)
		q.Begin(q.weights, first, last)
		for row := 0; row < q.rows; row += width {
			for j := first; j < last; j++ {
				x := q.weights.Data[row*q.cols+j*width:][:min(width, q.rows-row)]
				q.Round(x, x, row, j)
			}
		}
	}
}

// gptq rounds column by column and feeds the errors back.
func (q *quantizer) gptq(f *obs.Factor) {
	f.Sweep(q.weights, q.span, q)
	// A weight that overflowed after the grid of its group was set, and every one after it in its row, is NaN.
	if q.err == nil && obs.Finite(q.weights.Data, q.cols) != nil {
		q.err = errors.New("weights overflow as they absorb errors")
	}
}

// Begin sets the grids of a group of columns, for every row.
func (q *quantizer) Begin(w *kernel.Panels, first, last int) {
	for row := 0; row < q.rows; row += width {
		var low, high [width]float32 // the range of the weights and 0
		for j := first; j < last; j++ {
			for i, v := range (*[width]float32)(w.Data[row*q.cols+j*width:]) {
				if v < low[i] {
					low[i] = v
				}
				if v > high[i] {
					high[i] = v
				}
			}
		}
		for i := row; i < min(row+width, q.rows); i++ {
			g, scale, ok := q.newGrid(low[i-row], high[i-row])
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
}

// Round keeps the codes of weights and sets dst to what they are worth.
func (q *quantizer) Round(dst, x []float32, row, col int) {
	codes := q.codes[row*q.cols+col*width:][:len(x)]
	grids := q.grids[row:][:len(x)]
	for i, v := range x {
		g := &grids[i]
		c := g.code(v)
		codes[i] = uint8(int32(c + g.zero))
		dst[i] = g.scale * c
	}
}

// pack returns the stored form.
func (q *quantizer) pack(s Spec) (kernel.Packed, error) {
	if q.err != nil {
		return nil, fmt.Errorf("quant: %v: %w", s, q.err)
	}
	codes := make([]uint8, q.rows*q.cols)
	kernel.RowMajor(codes, q.codes, q.rows, q.cols)
	return kernel.PackGrouped(q.rows, q.cols, q.layout, codes, q.scales, q.zeros)
}
