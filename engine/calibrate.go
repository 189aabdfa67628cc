package engine

import (
	"context"
	"fmt"
	"slices"
)

// Gram is XᵀX of the inputs X [Tokens x Cols] of linear modules that share an
// input: q, k and v; o; gate and up; down; the head. It is half the Hessian, with respect to
// a row of weights, of the squared error of the module's output.
type Gram struct {
	Modules []string  // names of the modules, in forward order; of a tied head, the embeddings
	Cols    int       // input features
	Tokens  int       // positions summed over
	Sum     []float32 // [Cols x Cols], symmetric, both halves filled in
}

// Calibrate runs windows through the dense model a block at a time and calls visit
// with the Grams of each block from ≤ block < to, in order. Block Config.Layers is the
// head, which has one.
//
// The sums are float32 in both numerics, over the positions of the windows in order:
// in exact numerics a chain of FMAs of float32 inputs, in fast numerics of the inputs
// as the modules see them, rounded to bfloat16. Memory beyond the model's: the hidden states of all windows
// and one block's Grams, which visit may keep. An error of visit ends the run and is
// returned.
func (m *Model) Calibrate(ctx context.Context, windows [][]int32, from, to int, visit func(block int, grams []Gram) error) error {
	if from < 0 || to > len(m.layers)+1 || from > to {
		return fmt.Errorf("engine: blocks [%d, %d) of a model that has %d and a head", from, to, len(m.layers))
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
		if l == len(m.layers) {
			err = m.calibrateHead(ctx, windows, hidden, grams)
		} else {
			err = m.calibrateLayer(ctx, windows, l, dense, hidden, grams)
		}
		if err != nil {
			return err
		}
		if l < from {
			continue
		}
		for _, g := range grams {
			mirror(g)
		}
		grams = slices.DeleteFunc(grams, func(g Gram) bool { return g.Cols == 0 })
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
	attention, err := m.matrices(dense.steps[2*l].choices)
	if err != nil {
		return err
	}
	defer m.done(attention)
	mlp, err := m.matrices(dense.steps[2*l+1].choices)
	if err != nil {
		return err
	}
	defer m.done(mlp)
	for _, s := range m.spans(windows) {
		b := m.layout(windows, s)
		b.x, hidden = hidden[:b.rows*m.config.Hidden], hidden[b.rows*m.config.Hidden:]
		if l == 0 {
			if err := m.embed(b, m.embedding); err != nil {
				return err
			}
		}
		if err := m.observe(ctx, b, l, attention, mlp, grams); err != nil {
			return err
		}
	}
	return nil
}

// calibrateHead adds the products of the normed hidden states of all windows to the one
// of grams.
func (m *Model) calibrateHead(ctx context.Context, windows [][]int32, hidden []float32, grams []Gram) error {
	for _, s := range m.spans(windows) {
		b := m.layout(windows, s)
		b.x, hidden = hidden[:b.rows*m.config.Hidden], hidden[b.rows*m.config.Hidden:]
		t := m.tap(b)
		if err := m.each(ctx, b, func(r rowBlock, s *scratch) { m.normed(b, m.norm, r, s, t, tapAttention) }); err != nil {
			return err
		}
		if err := m.products(ctx, t, grams); err != nil {
			return err
		}
	}
	return nil
}

// grams returns the zero Grams of a layer, in the order of its inputs, or that of the
// head. Those of a sub-block that the model does not have have no columns.
func (m *Model) grams(layer, tokens int) []Gram {
	if layer == len(m.layers) {
		n, name := m.config.Hidden, unitHead
		if m.config.TieEmbeddings {
			name = unitEmbedding
		}
		return []Gram{{Modules: []string{name}, Cols: n, Tokens: tokens, Sum: make([]float32, n*n)}}
	}
	modules := &m.layers[layer].modules
	grams := make([]Gram, tapInputs)
	for input, of := range [tapInputs][]int{{roleQ, roleK, roleV}, {roleO}, {roleGate, roleUp}, {roleDown}} {
		if modules[of[0]] == nil { // a sub-block that the model does not have
			continue
		}
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
		t = m.tap(b)
	}
	c, width := m.config, m.config.Width(layer)
	heads := m.heads(width)
	if c.Has(layer, 0) {
		if err := m.each(ctx, b, func(r rowBlock, s *scratch) { m.project(b, layer, attention, heads, r, s, t, nil) }); err != nil {
			return err
		}
	}
	err := m.each(ctx, b, func(r rowBlock, s *scratch) {
		if c.Has(layer, 0) {
			m.attend(b, layer, attention, heads, r, s, t)
		}
		if c.Has(layer, 1) {
			m.feed(b, layer, mlp, width.FFN, r, s, t, nil)
		}
	})
	if err != nil || grams == nil {
		return err
	}
	return m.products(ctx, t, grams)
}

// products adds the products of the inputs that a tap holds to grams, which are those of its first
// inputs.
func (m *Model) products(ctx context.Context, t *tap, grams []Gram) error {
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
		t.product(&grams[jobs[i].input], tapInput(jobs[i].input), jobs[i].first, s)
	})
	return ctx.Err()
}
