package engine

import "github.com/paretopress/paretopress/internal/kernel"

// tapInput is one of the four inputs of linear modules in a layer.
type tapInput int

const (
	tapAttention tapInput = iota // q, k, v
	tapOut                       // o
	tapMLP                       // gate, up
	tapDown                      // down
	tapInputs
)

// tap records the inputs of the linear modules of a layer for the positions of a
// batch, packed as panels of the matrix Xᵀ [cols x rows].
//
// In fast numerics the positions of each window begin at a multiple of what products
// of bfloat16 numbers take at a time, and zeros fill the gaps: which windows are in a
// batch together then changes no sum.
type tap struct {
	numerics Numerics
	start    []int // of each window's positions
	rows     int
	f32      [tapInputs][]float32
	bf16     [tapInputs][]uint16
}

// tap returns the model's tap, laid out for a batch.
func (m *Model) tap(b *batch) *tap {
	c, t := m.config, &m.inputs
	t.numerics, t.start, t.rows = m.numerics, t.start[:0], 0
	gaps := false
	for _, w := range b.windows {
		t.start = append(t.start, t.rows)
		n := len(w)
		if t.numerics != Exact {
			n = ceil(n, depthBF16)
		}
		gaps = gaps || n > len(w)
		t.rows += n
	}
	for i, cols := range [tapInputs]int{c.Hidden, c.Heads * c.HeadDim, c.Hidden, c.FFN} {
		n := ceil(cols, panelRows) * t.rows
		if t.numerics == Exact {
			t.f32[i] = grow(t.f32[i], n)
			continue
		}
		t.bf16[i] = grow(t.bf16[i], n)
		if gaps {
			clear(t.bf16[i])
		}
	}
	return t
}

// record keeps a part of the input of a module at position i of a row block, from
// column first on, which is a multiple of panelRows; a nil tap keeps nothing.
func (t *tap) record(input tapInput, r rowBlock, i, first int, part []float32) {
	if t == nil {
		return
	}
	at := t.start[r.window] + r.first + i
	if t.numerics == Exact {
		for j := 0; j < len(part); j += panelRows {
			copy(t.f32[input][(first+j)*t.rows+at*panelRows:][:panelRows], part[j:])
		}
		return
	}
	var rounded [panelRows]uint16
	for j := 0; j < len(part); j += panelRows {
		n := min(panelRows, len(part)-j)
		kernel.RoundBF16(rounded[:n], part[j:j+n])
		pairs := t.bf16[input][(first+j)*t.rows+at/2*2*panelRows:][:2*panelRows] // of this position and its neighbour
		for c, x := range rounded[:n] {
			pairs[2*c+at%2] = x
		}
	}
}

// gramRows is the number of rows of a Gram that a thread adds to at a time.
const gramRows = 2 * panelRows

// product adds the batch's part to rows first … first+gramRows-1 of a Gram, from
// the diagonal on.
func (t *tap) product(g *Gram, input tapInput, first int, s *scratch) {
	n := min(gramRows, g.Cols-first)
	sum := g.Sum[first*g.Cols+first:]
	if t.numerics == Exact {
		x := t.f32[input]
		ld := pad(t.rows)
		s.input.f32 = grow(s.input.f32, gramRows*ld)
		for j := range n {
			at := first + j
			column := x[at/panelRows*panelRows*t.rows+at%panelRows:]
			for i := range t.rows {
				s.input.f32[j*ld+i] = column[i*panelRows]
			}
		}
		rest := kernel.Panels{Rows: g.Cols - first, Cols: t.rows, Data: x[first*t.rows:]}
		kernel.MatMul(sum, g.Cols, s.input.f32, ld, n, &rest, 0, rest.Panels(), true)
		return
	}
	x := t.bf16[input]
	ld := padBF16(t.rows)
	s.input.bf16 = grow(s.input.bf16, gramRows*ld)
	for j := range n {
		at := first + j
		column := x[at/panelRows*panelRows*t.rows+at%panelRows*2:]
		row := s.input.bf16[j*ld:][:t.rows]
		for i := 0; i < len(row); i += 2 {
			copy(row[i:i+2], column[i*panelRows:])
		}
	}
	rest := kernel.PanelsBF16{Rows: g.Cols - first, Cols: t.rows, Data: x[first*t.rows:]}
	kernel.MatMulBF16(sum, g.Cols, s.input.bf16, ld, n, &rest, 0, rest.Panels(), true)
}

// mirror copies the upper half of a Gram to the lower.
func mirror(g Gram) {
	for i := range g.Cols {
		for j := range i {
			g.Sum[i*g.Cols+j] = g.Sum[j*g.Cols+i]
		}
	}
}
