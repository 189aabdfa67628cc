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

// Calibrate runs windows through the dense model a block at a time and calls visit
// with the Grams of each block from ≤ block < to, in order.
//
// The sums are float32 in both numerics, a chain of FMAs over the positions of the
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
	dense, err := m.plan(nil)
	if err != nil {
		return err
	}
	hidden := make([]float32, tokens*m.config.Hidden)
	defer func() { m.work.x = nil }()
	for l := range to {
		var grams []Gram
		if l >= from {
			grams = m.grams(l, tokens)
		}
		if err := m.calibrateLayer(ctx, windows, l, dense, hidden, grams); err != nil {
			return err
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

// calibrateLayer takes the hidden states of all windows through one layer and adds
// the products of its inputs to grams, if there are any. Layer 0 begins with the
// embeddings.
func (m *Model) calibrateLayer(ctx context.Context, windows [][]int32, l int, dense plan, hidden []float32, grams []Gram) error {
	attention, err := m.matrices(dense[2*l].choices)
	if err != nil {
		return err
	}
	defer m.done(attention)
	mlp, err := m.matrices(dense[2*l+1].choices)
	if err != nil {
		return err
	}
	defer m.done(mlp)
	for _, s := range m.spans(windows) {
		b := m.layout(windows, s)
		b.x, hidden = hidden[:b.rows*m.config.Hidden], hidden[b.rows*m.config.Hidden:]
		if l == 0 {
			if err := m.embed(b); err != nil {
				return err
			}
		}
		if err := m.observe(ctx, b, l, attention, mlp, grams); err != nil {
			return err
		}
	}
	return nil
}

// grams returns the zero Grams of a layer, in the order of its inputs.
func (m *Model) grams(layer, tokens int) []Gram {
	modules := &m.layers[layer].modules
	grams := make([]Gram, tapInputs)
	for input, of := range [tapInputs][]int{{roleQ, roleK, roleV}, {roleO}, {roleGate, roleUp}, {roleDown}} {
		n := modules[of[0]].cols
		g := Gram{Cols: n, Tokens: tokens, Sum: make([]float32, n*n)}
		for _, role := range of {
			g.Modules = append(g.Modules, modules[role].name)
		}
		grams[input] = g
	}
	return grams
}

// observe takes a batch through one layer and adds the products of its inputs to
// grams, if there are any.
func (m *Model) observe(ctx context.Context, b *batch, layer int, attention, mlp []*panels, grams []Gram) error {
	var t *tap
	if grams != nil {
		t = m.tap(b.rows)
	}
	if err := m.each(ctx, b, func(r rowBlock, s *scratch) { m.project(b, layer, attention, m.allHeads, r, s, t) }); err != nil {
		return err
	}
	err := m.each(ctx, b, func(r rowBlock, s *scratch) {
		m.attend(b, layer, attention, m.allHeads, r, s, t)
		m.feed(b, layer, mlp, m.config.FFN, r, s, t)
	})
	if err != nil || grams == nil {
		return err
	}
	type job struct{ input, first int }
	var jobs []job
	for i, g := range grams {
		for first := 0; first < g.Cols; first += gramRows {
			jobs = append(jobs, job{i, first})
		}
	}
	m.pool.Run(len(jobs), func(i int) {
		if ctx.Err() != nil {
			return
		}
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		t.product(&grams[jobs[i].input], t.x[jobs[i].input], jobs[i].first, s)
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

// record keeps the input of a module at position i of a row block; a nil tap keeps
// nothing.
func (t *tap) record(input tapInput, r rowBlock, i int, row []float32) {
	if t == nil {
		return
	}
	for j := 0; j < len(row); j += panelRows {
		copy(t.x[input][j*t.rows+(r.row+i)*panelRows:][:panelRows], row[j:])
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
