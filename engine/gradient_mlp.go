package engine

import "github.com/paretopress/paretopress/internal/kernel"

// mlpBackward is the backward pass of an MLP, [rows x FFN] each.
type mlpBackward struct {
	gate, up operand // then their gradients
	act      operand // the gradient of down's input, then that input
}

// run takes the gradient g.dy back to g.next; x is the residual stream before the MLP.
func (f *mlpBackward) run(g *backward, layer int, x []float32) error {
	m := g.m
	l := &m.layers[layer]
	modules := &l.modules
	g.in.reset(g.b.rows, m.config.Hidden)
	g.din.reset(g.b.rows, m.config.Hidden)
	channels := g.plan.steps[2*layer+1].width.FFN
	f.act.reset(g.b.rows, channels)
	kept := g.activations[2*layer+1]
	for i, o := range []*operand{&f.gate, &f.up} {
		if kept != nil {
			o.swap(&kept[i])
		} else {
			o.reset(g.b.rows, channels)
		}
	}
	g.next.changed()
	err := m.each(g.ctx, g.b, func(r rowBlock, s *scratch) { f.rows(g, l, x, kept != nil, r, s) })
	if err != nil {
		return err
	}
	if err := g.emitLinear(modules[roleDown], false, &g.dy, &f.act); err != nil {
		return err
	}
	if err := g.emitLinear(modules[roleUp], false, &f.up, &g.in); err != nil {
		return err
	}
	if err := g.emitLinear(modules[roleGate], false, &f.gate, &g.in); err != nil {
		return err
	}
	return g.emitNorm(normName(layer, 1), g.din.cols, &g.din)
}

// rows does so for a row block; with kept, gate and up are there already.
func (f *mlpBackward) rows(g *backward, l *layer, x []float32, kept bool, r rowBlock, s *scratch) {
	m, gate, up, down := g.m, &g.weights[roleGate], &g.weights[roleUp], &g.weights[roleDown]
	g.normed(x, l.mlpNorm, r)
	if !kept {
		in := g.in.read(m, r.row, r.n, &s.in)
		f.gate.product(r.row, r.n, gate.w, in, false)
		f.up.product(r.row, r.n, up.w, in, false)
	}
	f.act.product(r.row, r.n, down.t, g.dy.read(m, r.row, r.n, &s.in), false)
	for i := r.row; i < r.row+r.n; i++ {
		kernel.SiLUMulGrad(f.act.row(i), f.gate.row(i), f.up.row(i))
	}
	g.din.product(r.row, r.n, gate.t, f.gate.read(m, r.row, r.n, &s.act), false)
	g.din.product(r.row, r.n, up.t, f.up.read(m, r.row, r.n, &s.act), true)
	g.denormed(x, l.mlpNorm, r)
}
