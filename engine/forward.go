package engine

import (
	"context"
	"fmt"

	"github.com/paretopress/paretopress/internal/kernel"
)

const (
	// blockRows is the most positions of a window that one thread takes through
	// a layer at a time: enough to use every panel of a weight matrix many times
	// while the activations stay in its cache. A multiple of panelRows.
	blockRows = 128
	// threadBlocks is the number of row blocks of a batch that there should be for
	// each thread; smaller ones are formed where there would be fewer.
	threadBlocks = 2
	// threadTokens is how many tokens of a batch there are for each thread.
	threadTokens = 4 * blockRows
	// ffnCols is the number of channels of an MLP that exist before down at a time, a
	// multiple of panelRows: few enough that they do not leave the cache.
	ffnCols = 256
)

// batch is a number of windows that pass through the layers together, and their
// state between two layers. Its size decides memory and the use of threads,
// never a result: all arithmetic is per position, in an order of its own.
type batch struct {
	windows [][]int32
	first   int   // number of windows[0] among those of the call
	start   []int // row of the first position of each window in x and q
	rows    int
	blocks  []rowBlock

	x  []float32 // [rows x Hidden] residual stream
	q  rows      // [rows x Heads*headStride] rotated and scaled queries
	qs buffer    // memory of q
	kv cache     // of the layer in progress
}

// rowBlock is a run of positions of one window.
type rowBlock struct {
	window   int // index in the batch
	first, n int // positions first … first+n-1 of the window
	row      int // row of position first in the batch
}

// scratch is what one thread needs to take a row block through a layer.
type scratch struct {
	decode   []float32 // [panelRows x Cols] rows of a weight matrix
	in       buffer    // [blockRows x Hidden] normed input of a sub-block
	out      []float32 // [blockRows x Hidden] its output
	q, k, v  []float32 // [blockRows x Heads*HeadDim], [blockRows x KVHeads*HeadDim]
	ctx      []float32 // [blockRows x Heads*HeadDim] output of the heads
	ctxIn    buffer    // the same, as the product with o reads it
	gate, up []float32 // [blockRows x ffnCols] some channels of the MLP
	act      buffer    // [blockRows x FFN] input of down
	scores   []float32 // [queryRows x keyCols]
	probs    buffer    // the same, as the product with the values reads them
	tile     []float32 // [blockRows x tileCols] logits
	teach    []float32 // the same of the teacher
	input    buffer    // [gramRows x rows of the batch] inputs of a module, transposed

	back backwardScratch
}

// span is the windows from … to-1 of a call.
type span struct{ from, to int }

// spans splits the windows of a call into batches.
func (m *Model) spans(windows [][]int32) []span {
	var spans []span
	for from := 0; from < len(windows); {
		to, tokens := from, 0
		for to < len(windows) && (to == from || tokens+len(windows[to]) <= m.threads*threadTokens) {
			tokens += len(windows[to])
			to++
		}
		spans = append(spans, span{from, to})
		from = to
	}
	return spans
}

// check reports the first window that the model cannot score.
func (m *Model) check(windows [][]int32) error {
	for i, w := range windows {
		if len(w) < 2 {
			return fmt.Errorf("engine: window %d has %d tokens; at least 2 are needed", i, len(w))
		}
		if len(w) > m.config.MaxPositions {
			return fmt.Errorf("engine: window %d has %d tokens; the model takes at most %d", i, len(w), m.config.MaxPositions)
		}
		for p, id := range w {
			if id < 0 || int(id) >= m.config.Vocab {
				return fmt.Errorf("engine: window %d, position %d: token %d is outside the model's vocabulary of %d", i, p, id, m.config.Vocab)
			}
		}
	}
	return nil
}

// layout makes the model's batch that of a span of the windows. Its residual
// stream is the caller's to set.
func (m *Model) layout(windows [][]int32, s span) *batch {
	c, b := m.config, m.work
	*b = batch{windows: windows[s.from:s.to], first: s.from, start: b.start[:0], blocks: b.blocks[:0], x: b.x, qs: b.qs, kv: b.kv}
	longest, tokens := 0, 0
	for _, w := range b.windows {
		tokens += len(w)
	}
	each := min(blockRows, ceil(tokens/(threadBlocks*m.threads)+1, panelRows))
	for i, w := range b.windows {
		b.start = append(b.start, b.rows)
		for first := 0; first < len(w); first += each {
			n := min(each, len(w)-first)
			b.blocks = append(b.blocks, rowBlock{window: i, first: first, n: n, row: b.rows + first})
		}
		b.rows += len(w)
		longest = max(longest, len(w))
	}
	m.turns.reach(longest)
	b.q = m.rows(&b.qs, b.rows, c.Heads*m.headStride())
	b.kv.reset(m, b.windows)
	return b
}

// embed writes the embeddings of the batch's tokens to its residual stream.
func (m *Model) embed(b *batch, embedding choice) error {
	row := b.x
	for _, w := range b.windows {
		for _, id := range w {
			embedding.weights.DecodeRows(int(id), 1, row[:m.config.Hidden])
			if notFinite(row[:m.config.Hidden]) >= 0 {
				return notFiniteErr("%s: row %d holds a weight that is NaN or infinite", embedding.name, id)
			}
			row = row[m.config.Hidden:]
		}
	}
	return nil
}

// each runs f for every row block of the batch, on every thread, and stops soon
// after ctx is done.
func (m *Model) each(ctx context.Context, b *batch, f func(rowBlock, *scratch)) error {
	m.pool.Run(len(b.blocks), func(i int) {
		if ctx.Err() != nil {
			return
		}
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		f(b.blocks[i], s)
	})
	return ctx.Err()
}

// advance takes the batch's residual stream through one sub-block of a plan: sub
// 0 is the layer's attention, 1 its MLP.
func (m *Model) advance(ctx context.Context, b *batch, layer, sub int, s step) error {
	if s.dropped {
		return nil
	}
	m.advanced++
	if sub == 1 {
		channels, choices := m.liveChannels(s.width.FFN, s.choices)
		ws, err := m.matrices(choices)
		if err != nil {
			return err
		}
		defer m.done(ws)
		return m.each(ctx, b, func(r rowBlock, s *scratch) { m.feed(b, layer, ws, channels, r, s, nil, nil) })
	}
	heads, choices := m.liveHeads(layer, s.width, s.choices)
	ws, err := m.matrices(choices)
	if err != nil {
		return err
	}
	defer m.done(ws)
	if err := m.each(ctx, b, func(r rowBlock, s *scratch) { m.project(b, layer, ws, heads, r, s, nil, nil) }); err != nil {
		return err
	}
	return m.each(ctx, b, func(r rowBlock, s *scratch) { m.attend(b, layer, ws, heads, r, s, nil) })
}

// project computes the queries, keys and values of a row block.
func (m *Model) project(b *batch, layer int, ws []*panels, heads heads, r rowBlock, s *scratch, tap *tap, keep activations) {
	c, l := m.config, &m.layers[layer]
	width, kvWidth := len(heads.list)*c.HeadDim, heads.kv*c.HeadDim
	in := m.normed(b, l.attnNorm, r, s, tap, tapAttention)

	// Exact queries need not be rounded: they are computed where they are read.
	q, ld := b.q.from(r.row).f32, b.q.ld
	if m.numerics != Exact {
		s.q = grow(s.q, blockRows*width)
		q, ld = s.q, width
	}
	s.k = grow(s.k, blockRows*kvWidth)
	s.v = grow(s.v, blockRows*kvWidth)
	m.apply(q, ld, width, l.modules[roleQ], ws[roleQ], in, r.n)
	m.apply(s.k, kvWidth, kvWidth, l.modules[roleK], ws[roleK], in, r.n)
	m.apply(s.v, kvWidth, kvWidth, l.modules[roleV], ws[roleV], in, r.n)
	for i := range r.n {
		row := q[i*ld:][:width]
		if keep != nil {
			copy(keep[0].row(r.row+i), row)
			copy(keep[1].row(r.row+i), s.k[i*kvWidth:])
			copy(keep[2].row(r.row+i), s.v[i*kvWidth:])
		}
		m.turn(row, l.qNorm, r.first+i)
		m.turn(s.k[i*kvWidth:][:kvWidth], l.kNorm, r.first+i)
		kernel.Scale(row, m.turns.scale)
		if m.numerics != Exact {
			for head := range heads.list {
				at := rows{bf16: b.q.bf16[head*m.headStride():], ld: b.q.ld}
				at.round(r.row+i, row[head*c.HeadDim:][:c.HeadDim])
			}
		}
	}
	b.kv.put(r, heads.kv, s.k, s.v)
}

// headStride is the distance of two heads in a row of queries: their width, or as
// many numbers as a product of bfloat16 reads.
func (m *Model) headStride() int {
	if m.numerics == Exact {
		return m.config.HeadDim
	}
	return ceil(m.config.HeadDim, depthBF16)
}

// attend adds the output of a layer's attention to the residual stream.
func (m *Model) attend(b *batch, layer int, ws []*panels, heads heads, r rowBlock, s *scratch, tap *tap) {
	c, l := m.config, &m.layers[layer]
	width := len(heads.list) * c.HeadDim
	ld := pad(width)
	s.ctx = grow(s.ctx, blockRows*ld)
	for i, head := range heads.list {
		m.attention(b, layer, i, head/heads.group, r, s, s.ctx[i*c.HeadDim:], ld)
	}
	in := rows{f32: s.ctx, ld: ld}
	if m.numerics != Exact {
		in = m.rows(&s.ctxIn, blockRows, width)
	}
	for i := range r.n {
		row := s.ctx[i*ld:][:width]
		tap.record(tapOut, r, i, 0, row)
		if m.numerics != Exact {
			in.round(i, row)
		}
	}
	m.add(b, r, s, l.modules[roleO], ws[roleO], in)
}

// feed adds the output of a layer's MLP to the residual stream.
func (m *Model) feed(b *batch, layer int, ws []*panels, channels int, r rowBlock, s *scratch, tap *tap, keep activations) {
	const first = roleGate // of ws
	l := &m.layers[layer]
	in := m.normed(b, l.mlpNorm, r, s, tap, tapMLP)
	s.gate = grow(s.gate, blockRows*ffnCols)
	s.up = grow(s.up, blockRows*ffnCols)
	act := m.rows(&s.act, blockRows, channels)
	for at := 0; at < channels; at += ffnCols {
		n := min(ffnCols, channels-at)
		p0, p1 := at/panelRows, ceil(at+n, panelRows)/panelRows
		gate, up, ld := s.gate, s.up, ffnCols
		if keep != nil {
			ld = keep[0].ld
			gate, up = keep[0].data[r.row*ld+at:], keep[1].data[r.row*ld+at:]
		}
		ws[roleGate-first].times(gate, ld, in, r.n, p0, p1)
		ws[roleUp-first].times(up, ld, in, r.n, p0, p1)
		for i := range r.n {
			out := s.gate[i*ffnCols:][:n]
			kernel.SiLUMul(out, gate[i*ld:][:n], up[i*ld:][:n])
			tap.record(tapDown, r, i, at, out)
			act.write(i, at, out)
		}
	}
	for i := range r.n {
		act.pad(i, channels)
	}
	m.add(b, r, s, l.modules[roleDown], ws[roleDown-first], act)
}

// normed returns the RMSNorm of a row block's residual stream.
func (m *Model) normed(b *batch, weight []float32, r rowBlock, s *scratch, tap *tap, input tapInput) rows {
	hidden := m.config.Hidden
	in := m.rows(&s.in, blockRows, hidden)
	for i := range r.n {
		in.set(i, hidden, &s.in, func(row []float32) {
			kernel.RMSNorm(row, b.x[(r.row+i)*hidden:][:hidden], weight, float32(m.config.NormEps))
			tap.record(input, r, i, 0, row)
		})
	}
	return in
}

// apply computes n rows of width numbers of y = W·x + bias, ld apart; without W, y is the bias.
func (m *Model) apply(y []float32, ld, width int, l *linear, w *panels, x rows, n int) {
	if w != nil {
		w.times(y, ld, x, n, 0, w.count())
		if l.bias == nil {
			return
		}
	}
	for i := range n {
		row := y[i*ld:][:width]
		if w == nil {
			clear(row)
		}
		if l.bias != nil {
			kernel.Add(row, l.bias)
		}
	}
}

// add adds y = W·x + bias to the residual stream of a row block.
func (m *Model) add(b *batch, r rowBlock, s *scratch, l *linear, w *panels, x rows) {
	hidden := m.config.Hidden
	s.out = grow(s.out, blockRows*hidden)
	m.apply(s.out, hidden, hidden, l, w, x, r.n)
	kernel.Add(b.x[r.row*hidden:][:r.n*hidden], s.out[:r.n*hidden])
}
