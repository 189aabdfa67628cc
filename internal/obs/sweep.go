package obs

import (
	"fmt"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Strategy chooses what a sweep stores in place of the weights.
type Strategy interface {
	// Begin is called for each span before its first column is visited. The columns [first, last) of
	// w have absorbed the errors of all columns before them; those before first are what was stored,
	// those from last on undefined. It must not change or keep w.
	Begin(w *kernel.Panels, first, last int)
	// Round is given the weights of a column, after all columns before it, in rows row …
	// row+len(x)-1, at most 32 and all of one panel, and sets q to what is stored for them. It is
	// called once for each weight, in each row in the order of columns.
	Round(q, x []float32, row, col int)
}

// Parted is a Strategy that also decides about parts of its spans, when it gets to them.
type Parted interface {
	Strategy
	// Part is the number of columns of a part, which spans and, where they are longer than it, a block of 128 columns have a whole number of.
	Part() int
	// BeginPart is called for each part before its first column is visited, and after Begin of its span, for rows row … row+n-1, all of one
	// panel. The columns [first, last) of w in these rows have absorbed the errors of all columns before them; otherwise it is as Begin.
	BeginPart(w *kernel.Panels, row, n, first, last int)
}

// block is the number of columns whose errors are fed back together to the columns after them, and tile
// the number of columns within which errors are fed back one by one. Sizes change the order of
// additions and nothing else.
const (
	block = 128
	tile  = 16
)

// width is the number of rows that are swept together.
const width = kernel.PanelWidth

// Sweep visits the columns of w, which has f.Cols() of them, in order and feeds the error that s makes in
// each back to those after it. span is the number of columns that s decides about at a time, at least 1:
// the last span may be short. In the end w holds what is stored.
func (f *Factor) Sweep(w *kernel.Panels, span int, s Strategy) {
	f.sweep(w, span, block, tile, s)
}

func (f *Factor) sweep(w *kernel.Panels, span, block, tile int, s Strategy) {
	if w.Cols != f.cols || span < 1 {
		panic(fmt.Sprintf("obs: sweep over %d x %d weights in spans of %d by the factor of %d columns", w.Rows, w.Cols, span, f.cols))
	}
	parted, _ := s.(Parted)
	if parted != nil && (span%parted.Part() != 0 || span > block && block%parted.Part() != 0) {
		panic(fmt.Sprintf("obs: spans of %d columns in parts of %d", span, parted.Part()))
	}
	// Rows do not depend on each other except by what Begin sees. The errors of all rows in a block are
	// kept, a panel after the other: minus the errors, (q - x)/U_jj.
	errs := make([]float32, w.Panels()*width*block)
	for p := range w.Panels() {
		for _, j := range f.dead {
			clear(w.Data[(p*f.cols+j)*width:][:width])
		}
	}
	for c1 := 0; c1 < f.cols; {
		c2 := f.blockEnd(c1, span, block)
		for s1 := c1; s1 < c2; {
			s2 := min(s1-s1%span+span, c2)
			if s1%span == 0 {
				s.Begin(w, s1, min(s1+span, f.cols))
			}
			for p := range w.Panels() {
				f.visit(w, p, errs[p*width*block+(s1-c1)*width:], s1, s2, c2, tile, s, parted)
			}
			s1 = s2
		}
		for p := range w.Panels() {
			f.feed(w, p, errs[p*width*block:], c1, c2, c2, f.cols)
		}
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

// visit rounds the columns [s1, s2) of a panel, feeds their errors back to the columns before end and
// leaves them in errs, [s2-s1][32].
func (f *Factor) visit(w *kernel.Panels, p int, errs []float32, s1, s2, end, tile int, s Strategy, parted Parted) {
	row := p * width
	n := min(width, w.Rows-row)
	for t1, t2 := s1, s1; t1 < s2; t1 = t2 {
		t2 = min(t1+tile, s2)
		if parted != nil {
			part := parted.Part()
			t2 = min(t2, t1-t1%part+part)
			if t1%part == 0 {
				parted.BeginPart(w, row, n, t1, min(t1+part, f.cols))
			}
		}
		for j := t1; j < t2; j++ {
			x := (*[width]float32)(w.Data[(p*f.cols+j)*width:])
			e := (*[width]float32)(errs[(j-s1)*width:])
			var q [width]float32
			s.Round(q[:n], x[:n], row, j)
			inverse := f.inverse[j]
			for i := range e {
				e[i] = (q[i] - x[i]) * inverse
			}
			*x = q
			f.feed(w, p, e[:], j, j+1, j+1, t2)
		}
		f.feed(w, p, errs[(t1-s1)*width:], t1, t2, t2, end)
	}
}

// feed adds U[k1:k2]ᵀ · errs, where errs is [k2-k1][32], to the columns [from, to) of a panel.
func (f *Factor) feed(w *kernel.Panels, p int, errs []float32, k1, k2, from, to int) {
	e := kernel.Panels{Rows: width, Cols: k2 - k1, Data: errs}
	for from < to {
		u := &f.stripes[from/stripe]
		next := min(to, from-from%stripe+stripe)
		kernel.MatMul(w.Data[(p*f.cols+from)*width:], width, u.data[from%stripe*u.ld+k1:], u.ld, next-from, &e, 0, 1, true)
		from = next
	}
}
