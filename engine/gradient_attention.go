package engine

import "github.com/paretopress/paretopress/internal/kernel"

// attentionBackward is the backward pass of attention, [rows x heads*HeadDim] each. Queries are rotated and scaled, keys rotated.
type attentionBackward struct {
	q, k, v        operand
	plainQ, plainK operand // before norm and rotation, where there is a norm
	ctx, dctx      operand // output of the heads, and its gradient
	dq, dk, dv     operand // gradients of q, k and v, the latter two summed over the heads of a group
	headK, headV   operand // for each query head on its own
}

// backwardScratch is what one thread needs beside its scratch: L is the length of a window, D HeadDim.
type backwardScratch struct {
	inputs         []float32 // [columns x chunkRows] transpose of a chunk of inputs
	outputs        []float32 // [sampleCols x chunkRows] that of some columns of gradients of outputs
	base           []float32 // [panelRows x columns] rows of a level
	keys, values   []float32 // [L/32][D][32] panels
	keysT, valuesT []float32 // [D/32][L][32]
	p, dp          []float32 // [queryRows x L] probabilities, and their gradients
	packed         []float32 // [L/32][queryRows][32] one of them
	queryT, ctxT   []float32 // [D x queryRows]
	dkT, dvT       []float32 // [D x L]
	turned         []float32 // [D/2] sines of the inverse rotation
	head           []float32 // [D] gradient of a head before its norm
	teach          []float32 // [blockRows x tileCols] the teacher's probabilities
	warm           []float32 // [tileCols] logits at a temperature
}

// run takes the gradient g.dy back to g.next; x is the residual stream before attention.
func (a *attentionBackward) run(g *backward, layer int, x []float32) error {
	m, n := g.m, g.b.rows
	l := &m.layers[layer]
	d := m.config.HeadDim
	w := g.plan.steps[2*layer].width
	heads, group := w.Heads, w.Heads/w.KVHeads
	width, kvWidth := w.Heads*d, w.KVHeads*d
	g.in.reset(n, m.config.Hidden)
	g.din.reset(n, m.config.Hidden)
	for _, o := range []*operand{&a.ctx, &a.dctx, &a.dq, &a.headK, &a.headV} {
		o.reset(n, width)
	}
	for _, o := range []*operand{&a.dk, &a.dv} {
		o.reset(n, kvWidth)
	}
	kept := g.activations[2*layer]
	for i, o := range []*operand{&a.q, &a.k, &a.v} {
		if kept != nil {
			o.swap(&kept[i])
		} else {
			o.reset(n, [...]int{width, kvWidth, kvWidth}[i])
		}
	}
	if l.qNorm != nil {
		a.plainQ.reset(n, width)
		a.plainK.reset(n, kvWidth)
	}
	g.next.changed()
	if err := m.each(g.ctx, g.b, func(r rowBlock, s *scratch) { a.project(g, l, x, kept != nil, r, s) }); err != nil {
		return err
	}
	m.pool.Run(heads*len(g.b.windows), func(i int) {
		if g.ctx.Err() != nil {
			return
		}
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		a.head(g, l.window, i/heads, i%heads, i%heads/group, &s.back)
	})
	if err := m.each(g.ctx, g.b, func(r rowBlock, s *scratch) { a.unproject(g, l, x, group, r, s) }); err != nil {
		return err
	}
	return a.emit(g, layer)
}

// emit hands the gradients of the sub-block to the sink.
func (a *attentionBackward) emit(g *backward, layer int) error {
	l := &g.m.layers[layer]
	dq, dk := &a.dq, &a.dk
	if l.qNorm != nil {
		dq, dk = &a.plainQ, &a.plainK
	}
	for _, p := range []struct {
		role  int
		dy, x *operand
	}{{roleO, &g.dy, &a.ctx}, {roleV, &a.dv, &g.in}, {roleK, dk, &g.in}, {roleQ, dq, &g.in}} {
		if err := g.emitLinear(l.modules[p.role], g.weights[p.role].t == nil, p.dy, p.x); err != nil {
			return err
		}
	}
	if l.qNorm != nil {
		if err := g.emitNorm(headNormName(layer, "k"), len(l.kNorm), &a.dk); err != nil {
			return err
		}
		if err := g.emitNorm(headNormName(layer, "q"), len(l.qNorm), &a.dq); err != nil {
			return err
		}
	}
	return g.emitNorm(normName(layer, 0), g.din.cols, &g.din)
}

// project computes queries, keys and values of a row block again, unless they are kept, and the gradient of the heads' output.
func (a *attentionBackward) project(g *backward, l *layer, x []float32, kept bool, r rowBlock, s *scratch) {
	m := g.m
	g.normed(x, l.attnNorm, r)
	if !kept {
		in := g.in.read(m, r.row, r.n, &s.in)
		for role, o := range []*operand{&a.q, &a.k, &a.v} {
			m.apply(o.data[r.row*o.ld:], o.ld, o.cols, l.modules[role], g.weights[role].w, in, r.n)
		}
	}
	a.dctx.product(r.row, r.n, g.weights[roleO].t, g.dy.read(m, r.row, r.n, &s.in), false)
	for i := range r.n {
		q, k := a.q.row(r.row+i), a.k.row(r.row+i)
		if l.qNorm != nil {
			copy(a.plainQ.row(r.row+i), q)
			copy(a.plainK.row(r.row+i), k)
		}
		m.turn(q, l.qNorm, r.first+i)
		m.turn(k, l.kNorm, r.first+i)
		kernel.Scale(q, m.turns.scale)
	}
}

// head computes one query head of a window: its output, the gradient of its queries, and its part of those of its keys and values.
// Scores exist for queryRows queries at a time.
func (a *attentionBackward) head(g *backward, visibleLast, window, head, kvHead int, s *backwardScratch) {
	d, n, start := g.m.config.HeadDim, len(g.b.windows[window]), g.b.start[window]
	q, dctx := a.q.data[start*a.q.ld+head*d:], a.dctx.data[start*a.dctx.ld+head*d:]
	dq, ctx := a.dq.data[start*a.dq.ld+head*d:], a.ctx.data[start*a.ctx.ld+head*d:]
	keys := packHead(&s.keys, &s.keysT, a.k.data[start*a.k.ld+kvHead*d:], a.k.ld, n, d)
	values := packHead(&s.values, &s.valuesT, a.v.data[start*a.v.ld+kvHead*d:], a.v.ld, n, d)
	ld := pad(n)
	for _, buf := range []*[]float32{&s.p, &s.dp} {
		*buf = grow(*buf, queryRows*ld)
	}
	s.packed = grow(s.packed, queryRows*ceil(n, panelRows))
	for _, buf := range []*[]float32{&s.dkT, &s.dvT} {
		*buf = grow(*buf, d*ld)
		clear(*buf)
	}
	for _, buf := range []*[]float32{&s.queryT, &s.ctxT} {
		*buf = grow(*buf, d*queryRows)
	}
	for q0 := 0; q0 < n; q0 += queryRows {
		rows := min(queryRows, n-q0)
		lo, hi := visible(q0, visibleLast)/panelRows*panelRows, q0+rows
		keys.scores(s.p, ld, q[q0*a.q.ld:], a.q.ld, rows, lo, hi)
		values.scores(s.dp, ld, dctx[q0*a.dctx.ld:], a.dctx.ld, rows, lo, hi)
		for i := range rows {
			p, dp := s.p[i*ld:][:hi-lo], s.dp[i*ld:][:hi-lo]
			from, to := visible(q0+i, visibleLast)-lo, q0+i+1-lo
			for _, row := range [][]float32{p, dp} {
				clear(row[:from])
				clear(row[to:])
			}
			var sum kernel.Online
			sum.Add(p[from:to])
			kernel.Scale(p[from:to], sum.Norm())
			kernel.SoftmaxGrad(dp[from:to], p[from:to])
		}
		values.mix(ctx[q0*a.ctx.ld:], a.ctx.ld, s.p, ld, rows, lo, hi)
		keys.mix(dq[q0*a.dq.ld:], a.dq.ld, s.dp, ld, rows, lo, hi)
		kernel.Transpose(s.queryT, queryRows, q[q0*a.q.ld:], a.q.ld, rows, d)
		kernel.Transpose(s.ctxT, queryRows, dctx[q0*a.dctx.ld:], a.dctx.ld, rows, d)
		s.spread(s.dvT[lo:], ld, s.ctxT, s.p, d, rows, hi-lo)
		s.spread(s.dkT[lo:], ld, s.queryT, s.dp, d, rows, hi-lo)
	}
	kernel.Transpose(a.headK.data[start*a.headK.ld+head*d:], a.headK.ld, s.dkT, ld, d, n)
	kernel.Transpose(a.headV.data[start*a.headV.ld+head*d:], a.headV.ld, s.dvT, ld, d, n)
}

// spread adds to dst [d x cols] the product of left [d x rows] and the rows of weights, ld apart.
func (s *backwardScratch) spread(dst []float32, ld int, left, weights []float32, d, rows, cols int) {
	w := kernel.Panels{Rows: cols, Cols: rows, Data: s.packed[:ceil(cols, panelRows)*rows]}
	w.PackTransposed(0, weights, ld, rows)
	kernel.MatMul(dst, ld, left, queryRows, d, &w, 0, w.Panels(), true)
}

// packedHead is the keys or values of one head of a window, [n x d], packed for both of their products.
type packedHead struct {
	n, d            int
	rows, transpose []float32
}

func packHead(rows, transpose *[]float32, src []float32, ld, n, d int) packedHead {
	*rows = grow(*rows, ceil(n, panelRows)*d)
	*transpose = grow(*transpose, ceil(d, panelRows)*n)
	w := kernel.Panels{Rows: n, Cols: d, Data: *rows}
	w.PackStrided(0, src, ld, n)
	t := kernel.Panels{Rows: d, Cols: n, Data: *transpose}
	t.PackTransposed(0, src, ld, n)
	return packedHead{n, d, *rows, *transpose}
}

// scores computes the products of some vectors and positions lo … hi-1, of which lo is the first of a panel.
func (h packedHead) scores(dst []float32, ld int, vectors []float32, stride, n, lo, hi int) {
	w := kernel.Panels{Rows: hi - lo, Cols: h.d, Data: h.rows[lo*h.d : ceil(hi, panelRows)*h.d]}
	kernel.MatMul(dst, ld, vectors, stride, n, &w, 0, w.Panels(), false)
}

// mix computes the sums of positions lo … hi-1, weighted by rows of weights that start stride apart.
func (h packedHead) mix(dst []float32, ld int, weights []float32, stride, n, lo, hi int) {
	for j := 0; j < h.d; j += panelRows {
		w := kernel.Panels{Rows: min(panelRows, h.d-j), Cols: hi - lo, Data: h.transpose[j*h.n+lo*panelRows : j*h.n+hi*panelRows]}
		kernel.MatMul(dst[j:], ld, weights, stride, n, &w, 0, 1, false)
	}
}

// unproject takes the gradients of queries, keys and values of a row block back to the residual stream.
func (a *attentionBackward) unproject(g *backward, l *layer, x []float32, group int, r rowBlock, s *scratch) {
	m, d := g.m, g.m.config.HeadDim
	for i := range r.n {
		at := r.row + i
		dk, dv := a.dk.row(at), a.dv.row(at)
		clear(dk)
		clear(dv)
		for head, j := 0, 0; j < a.headK.cols; head, j = head+1, j+d {
			kv := head / group * d
			kernel.Add(dk[kv:][:d], a.headK.row(at)[j:][:d])
			kernel.Add(dv[kv:][:d], a.headV.row(at)[j:][:d])
		}
		dq := a.dq.row(at)
		kernel.Scale(dq, m.turns.scale)
		a.unturn(m, dq, a.plainQ.line(at, l.qNorm), l.qNorm, r.first+i, &s.back)
		a.unturn(m, dk, a.plainK.line(at, l.kNorm), l.kNorm, r.first+i, &s.back)
	}
	dq, dk := &a.dq, &a.dk
	if l.qNorm != nil {
		dq, dk = &a.plainQ, &a.plainK
	}
	g.din.product(r.row, r.n, g.weights[roleQ].t, dq.read(m, r.row, r.n, &s.in), false)
	g.din.product(r.row, r.n, g.weights[roleK].t, dk.read(m, r.row, r.n, &s.in), true)
	g.din.product(r.row, r.n, g.weights[roleV].t, a.dv.read(m, r.row, r.n, &s.in), true)
	g.denormed(x, l.attnNorm, r)
}

// line is row i of an operand that there is only with a norm.
func (o *operand) line(i int, norm []float32) []float32 {
	if norm == nil {
		return nil
	}
	return o.row(i)
}

// unturn is the gradient of Model.turn at every head of a row: with a norm, that of its input takes the place of the input, and the
// row becomes parts of the gradient of its weight.
func (a *attentionBackward) unturn(m *Model, row, plain, norm []float32, position int, s *backwardScratch) {
	d := m.config.HeadDim
	cos := m.turns.cos[position*d/2:][:d/2]
	s.turned = append(s.turned[:0], m.turns.sin[position*d/2:][:d/2]...)
	for i := range s.turned {
		s.turned[i] = -s.turned[i]
	}
	for at := 0; at < len(row); at += d {
		head := row[at:][:d]
		kernel.Rope(head, cos, s.turned)
		if norm != nil {
			s.head = grow(s.head, d)
			clear(s.head)
			kernel.RMSNormGrad(s.head, head, plain[at:][:d], norm, float32(m.config.NormEps))
			copy(plain[at:], s.head)
		}
	}
}
