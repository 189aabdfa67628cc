package engine

import (
	"context"
	"fmt"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Gram is XᵀX of the inputs X [Tokens x Cols] of linear modules that share an
// input: q, k and v; o; gate and up; down. It is half the Hessian, with respect to
// a row of weights, of the squared error of the module's output.
type Gram struct {
	Modules []string  // names of the modules, in forward order
	Cols    int       // input features
	Tokens  int       // positions summed over
	Sum     []float32 // [Cols x Cols], symmetric, both halves filled in
}

// Calibrate runs windows through the model a block at a time and calls visit with
// the Grams of each block from ≤ block < to, in order. Activations are those of the
// weights in place: of the dense model, if nothing was set or dropped. A dropped
// sub-block has no Grams.
//
// The sums are exact numerics too: a chain of FMAs over the positions of the
// windows in order. Memory beyond the model's: the hidden states of all windows
// and one block's Grams, which visit may keep. An error of visit ends the run and is
// returned.
func (m *Model) Calibrate(ctx context.Context, windows [][]int32, from, to int, visit func(block int, grams []Gram) error) error {
	if from < 0 || to > len(m.layers) || from > to {
		return fmt.Errorf("engine: blocks [%d, %d) of a model that has %d", from, to, len(m.layers))
	}
	if err := m.check(windows); err != nil {
		return err
	}
	tokens := 0
	for _, w := range windows {
		tokens += len(w)
	}
	hidden := make([]float32, tokens*m.config.Hidden)
	defer func() { m.work.x = nil }()
	for l := range to {
		var grams []Gram
		if l >= from {
			grams = m.grams(l, tokens)
		}
		row := 0
		for _, s := range m.spans(windows) {
			b := m.layout(windows, s)
			b.x = hidden[row*m.config.Hidden:][:b.rows*m.config.Hidden]
			row += b.rows
			if l == 0 {
				if err := m.embed(b); err != nil {
					return err
				}
			}
			if err := m.observe(ctx, b, l, grams); err != nil {
				return err
			}
		}
		if l < from {
			continue
		}
		for _, g := range grams {
			mirror(g)
		}
		if err := visit(l, grams); err != nil {
			return err
		}
	}
	return nil
}

// grams returns the zero Grams of a layer, in the order of its inputs.
func (m *Model) grams(layer, tokens int) []Gram {
	l := &m.layers[layer]
	var grams []Gram
	add := func(sub *subBlock, modules ...*linear) {
		if sub.dropped {
			return
		}
		n := modules[0].panels.Cols
		g := Gram{Cols: n, Tokens: tokens, Sum: make([]float32, n*n)}
		for _, module := range modules {
			g.Modules = append(g.Modules, module.name)
		}
		grams = append(grams, g)
	}
	add(&l.attention, &l.q, &l.k, &l.v)
	add(&l.attention, &l.o)
	add(&l.mlp, &l.gate, &l.up)
	add(&l.mlp, &l.down)
	return grams
}

// observe takes a batch through one layer and adds the products of its inputs to
// grams, if there are any.
func (m *Model) observe(ctx context.Context, b *batch, layer int, grams []Gram) error {
	var t *tap
	if grams != nil {
		t = m.tap(b.rows)
	}
	if err := m.each(ctx, b, func(r rowBlock, s *scratch) { m.project(b, layer, r, s, t) }); err != nil {
		return err
	}
	err := m.each(ctx, b, func(r rowBlock, s *scratch) {
		m.attend(b, layer, r, s, t)
		m.feed(b, layer, r, s, t)
	})
	if err != nil || grams == nil {
		return err
	}
	type job struct{ gram, input, first int }
	var jobs []job
	for i, g := range grams {
		input := tapInput(i)
		if m.layers[layer].attention.dropped {
			input += tapMLP
		}
		for first := 0; first < g.Cols; first += gramRows {
			jobs = append(jobs, job{i, int(input), first})
		}
	}
	m.pool.Run(len(jobs), func(i int) {
		if ctx.Err() != nil {
			return
		}
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		t.product(&grams[jobs[i].gram], t.x[jobs[i].input], jobs[i].first, s)
	})
	return ctx.Err()
}

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
type tap struct {
	rows int
	x    [tapInputs][]float32
}

// tap returns the model's tap, laid out for a batch.
func (m *Model) tap(rows int) *tap {
	c, t := m.config, &m.inputs
	t.rows = rows
	for i, cols := range [tapInputs]int{c.Hidden, c.Heads * c.HeadDim, c.Hidden, c.FFN} {
		t.x[i] = grow(t.x[i], ceil(cols, panelRows)*rows)
	}
	return t
}

// record keeps the inputs of a row block, [n x cols] with rows ld apart; a nil tap
// keeps nothing.
func (t *tap) record(input tapInput, r rowBlock, x []float32, cols, ld int) {
	if t == nil {
		return
	}
	for i := range r.n {
		row := x[i*ld:][:cols]
		for j := 0; j < cols; j += panelRows {
			copy(t.x[input][j*t.rows+(r.row+i)*panelRows:][:panelRows], row[j:])
		}
	}
}

// gramRows is the number of rows of a Gram that a thread adds to at a time.
const gramRows = 2 * panelRows

// product adds the batch's part to rows first … first+gramRows-1 of a Gram, from
// the diagonal on.
func (t *tap) product(g *Gram, x []float32, first int, s *scratch) {
	n := min(gramRows, g.Cols-first)
	ld := pad(t.rows)
	s.input = grow(s.input, gramRows*ld)
	for j := range n {
		at := first + j
		column := x[at/panelRows*panelRows*t.rows+at%panelRows:]
		for i := range t.rows {
			s.input[j*ld+i] = column[i*panelRows]
		}
	}
	rest := kernel.Panels{Rows: g.Cols - first, Cols: t.rows, Data: x[first*t.rows:]}
	kernel.MatMul(g.Sum[first*g.Cols+first:], g.Cols, s.input, ld, n, &rest, 0, rest.Panels(), true)
}

// mirror copies the upper half of a Gram to the lower.
func mirror(g Gram) {
	for i := range g.Cols {
		for j := range i {
			g.Sum[i*g.Cols+j] = g.Sum[j*g.Cols+i]
		}
	}
}
