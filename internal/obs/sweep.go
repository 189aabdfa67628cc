package obs

import (
	"fmt"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Strategy chooses what a sweep stores in place of the weights.
type Strategy interface {
	// Begin is called for each span before its first column is visited. The columns [first, last) of
	// w (row-major) have absorbed the errors of all columns before them; the others of w are
	// undefined. It must not change or keep w.
	Begin(w []float32, first, last int)
	// Round returns what is stored for a weight whose value, after all columns before it, is w. It
	// is called once for each weight, in each row in the order of columns.
	Round(row, col int, w float32) float32
}

// block is the number of columns whose errors are fed back together to the columns after them, and tile
// the number of columns within which errors are fed back one by one. Sizes change the order of
// additions and nothing else.
const (
	block = 128
	tile  = 16
)

// Sweep visits the columns of w (rows x f.Cols(), row-major) in order and feeds the error that s makes
// in each back to those after it. span is the number of columns that s decides about at a time, at
// least 1: the last span may be short. w is overwritten and undefined afterwards.
func (f *Factor) Sweep(w []float32, rows, span int, s Strategy) {
	f.sweep(w, rows, span, block, tile, s)
}

func (f *Factor) sweep(w []float32, rows, span, block, tile int, s Strategy) {
	if len(w) != rows*f.cols || span < 1 {
		panic(fmt.Sprintf("obs: sweep over %d weights as %d x %d in spans of %d", len(w), rows, f.cols, span))
	}
	for _, j := range f.dead {
		for i := range rows {
			w[i*f.cols+j] = 0
		}
	}
	errs := make([]float32, rows*block) // minus the errors of the block: (q - w)/U_jj
	for c1 := 0; c1 < f.cols; {
		c2 := f.blockEnd(c1, span, block)
		// Panels that the block reaches into are kept up to date tile by tile, those after it once.
		reach := (c2 + kernel.PanelWidth - 1) / kernel.PanelWidth
		for t1 := c1; t1 < c2; {
			if t1%span == 0 {
				s.Begin(w, t1, min(t1+span, f.cols))
			}
			t2 := min(t1+tile, c2, t1-t1%span+span)
			f.visit(w, errs[t1-c1:], rows, block, t1, t2, s)
			f.feed(w, errs[t1-c1:], rows, block, t1, t2, t2/kernel.PanelWidth, reach)
			t1 = t2
		}
		f.feed(w, errs, rows, block, c1, c2, reach, len(f.panels))
		c1 = c2
	}
}

// blockEnd is the end of the block that starts at column c1: spans that fit in a block are not cut, and
// longer ones start with a block of their own.
func (f *Factor) blockEnd(c1, span, block int) int {
	if span <= block {
		return min(c1+block/span*span, f.cols)
	}
	return min(c1+block, c1-c1%span+span, f.cols)
}

// visit rounds the columns [t1, t2) and feeds errors back among them. errs gets minus the errors, ld
// numbers from row to row.
func (f *Factor) visit(w, errs []float32, rows, ld, t1, t2 int, s Strategy) {
	n := t2 - t1
	u := make([]float32, n*n) // the rows and columns [t1, t2) of U
	for k := range n {
		for j := k; j < n; j++ {
			u[k*n+j] = f.at(t1+k, t1+j)
		}
	}
	for i := range rows {
		x := w[i*f.cols+t1:][:n]
		e := errs[i*ld:][:n]
		for j, v := range x {
			d := (v - s.Round(i, t1+j, v)) / f.diag[t1+j]
			e[j] = -d
			rest := x[j+1:]
			for k, y := range u[j*n+j+1:][:len(rest)] {
				rest[k] -= float32(d * y)
			}
		}
	}
}

// at is U[k,j] for k <= j.
func (f *Factor) at(k, j int) float32 {
	return f.panels[j/kernel.PanelWidth][k*kernel.PanelWidth+j%kernel.PanelWidth]
}

// feed adds errs · U[k1:k2] to the columns of panels [p0, p1). It may change columns before k2 that are
// in these panels: they have been visited.
func (f *Factor) feed(w, errs []float32, rows, ld, k1, k2, p0, p1 int) {
	for p := p0; p < p1; p++ {
		first := p * kernel.PanelWidth
		u := kernel.Panels{
			Rows: min(kernel.PanelWidth, f.cols-first), Cols: k2 - k1,
			Data: f.panels[p][k1*kernel.PanelWidth : k2*kernel.PanelWidth],
		}
		kernel.MatMul(w[first:], f.cols, errs, ld, rows, &u, 0, 1, true)
	}
}
