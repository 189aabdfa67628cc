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
	// threadTokens is how many tokens of a batch there are for each thread.
	threadTokens = 4 * blockRows
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

	x []float32 // [rows x Hidden] residual stream
	q []float32 // [rows x Heads*HeadDim] rotated and scaled queries
	// Keys and values of the layer in progress and of the next one, so that one
	// thread may go on to the next layer while another still attends in this.
	kv [2]cache

	out []prediction // [rows] what the head found
}

// rowBlock is a run of positions of one window.
type rowBlock struct {
	window   int // index in the batch
	first, n int // positions first … first+n-1 of the window
	row      int // row of position first in the batch
}

// scratch is what one thread needs to take a row block through a layer.
type scratch struct {
	decode []float32 // [panelRows x Cols] rows of a weight matrix
	h      []float32 // [blockRows x Hidden] normed input, or output of a sub-block
	k, v   []float32 // [blockRows x KVHeads*HeadDim]
	ctx    []float32 // [blockRows x Heads*HeadDim] output of the heads
	gate   []float32 // [blockRows x FFN]
	up     []float32
	scores []float32 // [queryRows x keys]
	tile   []float32 // [headRows x tileCols] logits
	teach  []float32 // the same of the teacher
	sums   [blockRows]logSum
	input  []float32 // [gramRows x rows of the batch] inputs of a module, transposed
}

// pad returns a row length of at least n for a matrix that a product reads: rows
// whose distance is a multiple of 4 KiB compete for the same cache sets.
func pad(n int) int {
	if n%1024 == 0 {
		return n + 16
	}
	return n
}

// batches calls do with the embeddings of the windows, as many at a time as keep
// every thread busy. The batch is valid during the call.
func (m *Model) batches(windows [][]int32, do func(*batch) error) error {
	if err := m.check(windows); err != nil {
		return err
	}
	for _, s := range m.spans(windows) {
		b := m.layout(windows, s)
		m.hidden = grow(m.hidden, b.rows*m.config.Hidden)
		b.x = m.hidden
		if err := m.embed(b); err != nil {
			return err
		}
		if err := do(b); err != nil {
			return err
		}
	}
	return nil
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
	*b = batch{windows: windows[s.from:s.to], first: s.from, start: b.start[:0], blocks: b.blocks[:0], q: b.q, kv: b.kv, out: b.out}
	longest := 0
	for i, w := range b.windows {
		b.start = append(b.start, b.rows)
		for first := 0; first < len(w); first += blockRows {
			n := min(blockRows, len(w)-first)
			b.blocks = append(b.blocks, rowBlock{window: i, first: first, n: n, row: b.rows + first})
		}
		b.rows += len(w)
		longest = max(longest, len(w))
	}
	m.turns.reach(longest)
	b.q = grow(b.q, b.rows*c.Heads*c.HeadDim)
	for i := range b.kv {
		b.kv[i].reset(c, b.windows)
	}
	return b
}

// embed writes the embeddings of the batch's tokens to its residual stream.
func (m *Model) embed(b *batch) error {
	row := b.x
	for _, w := range b.windows {
		for _, id := range w {
			m.embedding.DecodeRows(int(id), 1, row)
			if notFinite(row[:m.config.Hidden]) >= 0 {
				return notFiniteErr("tensor %s: row %d holds a weight that is NaN or infinite", m.embedding.Name, id)
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

// forward takes the batch's residual stream through all layers. A row block needs
// the others only where it attends to their keys and values; so a thread takes it
// through one layer's attention and MLP and on to the next layer's projections in
// one go, and all threads meet once a layer.
func (m *Model) forward(ctx context.Context, b *batch) error {
	for l := -1; l < len(m.layers); l++ {
		err := m.each(ctx, b, func(r rowBlock, s *scratch) {
			if l >= 0 {
				m.attend(b, l, r, s, nil)
				m.feed(b, l, r, s, nil)
			}
			if l+1 < len(m.layers) {
				m.project(b, l+1, r, s, nil)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// project computes the queries, keys and values of a row block.
func (m *Model) project(b *batch, layer int, r rowBlock, s *scratch, tap *tap) {
	c, l := m.config, &m.layers[layer]
	if l.attention.dropped {
		return
	}
	width, kvWidth := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	ld := pad(c.Hidden)
	s.h = grow(s.h, blockRows*ld)
	m.normalize(s.h, ld, b.x[r.row*c.Hidden:], l.attnNorm, r.n)
	tap.record(tapAttention, r, s.h, c.Hidden, ld)

	q := b.q[r.row*width:]
	s.k = grow(s.k, blockRows*kvWidth)
	s.v = grow(s.v, blockRows*kvWidth)
	l.q.apply(q, width, s.h, ld, r.n)
	l.k.apply(s.k, kvWidth, s.h, ld, r.n)
	l.v.apply(s.v, kvWidth, s.h, ld, r.n)
	for i := range r.n {
		m.turn(q[i*width:][:width], l.qNorm, r.first+i)
		m.turn(s.k[i*kvWidth:][:kvWidth], l.kNorm, r.first+i)
		kernel.Scale(q[i*width:][:width], m.turns.scale)
	}
	b.kv[layer%2].put(r, s.k, s.v)
}

// attend adds the output of a layer's attention to the residual stream.
func (m *Model) attend(b *batch, layer int, r rowBlock, s *scratch, tap *tap) {
	c, l := m.config, &m.layers[layer]
	if l.attention.dropped {
		return
	}
	width := c.Heads * c.HeadDim
	ld := pad(width)
	s.ctx = grow(s.ctx, blockRows*ld)
	for head := range c.Heads {
		m.attention(b, layer, head, r, s, s.ctx[head*c.HeadDim:], ld)
	}
	tap.record(tapOut, r, s.ctx, width, ld)
	s.h = grow(s.h, blockRows*pad(c.Hidden))
	l.o.apply(s.h, c.Hidden, s.ctx, ld, r.n)
	kernel.Add(b.x[r.row*c.Hidden:][:r.n*c.Hidden], s.h[:r.n*c.Hidden])
}

// feed adds the output of a layer's MLP to the residual stream.
func (m *Model) feed(b *batch, layer int, r rowBlock, s *scratch, tap *tap) {
	c, l := m.config, &m.layers[layer]
	if l.mlp.dropped {
		return
	}
	ld, ldf := pad(c.Hidden), pad(c.FFN)
	s.h = grow(s.h, blockRows*ld)
	s.gate = grow(s.gate, blockRows*ldf)
	s.up = grow(s.up, blockRows*ldf)
	x := b.x[r.row*c.Hidden:][:r.n*c.Hidden]
	m.normalize(s.h, ld, x, l.mlpNorm, r.n)
	tap.record(tapMLP, r, s.h, c.Hidden, ld)
	l.gate.apply(s.gate, ldf, s.h, ld, r.n)
	l.up.apply(s.up, ldf, s.h, ld, r.n)
	for i := range r.n {
		gate := s.gate[i*ldf:][:c.FFN]
		kernel.SiLUMul(gate, gate, s.up[i*ldf:][:c.FFN])
	}
	tap.record(tapDown, r, s.gate, c.FFN, ldf)
	l.down.apply(s.h, c.Hidden, s.gate, ldf, r.n)
	kernel.Add(x, s.h[:r.n*c.Hidden])
}

// normalize writes the RMSNorm of n rows of the residual stream to dst, with ld
// elements from row to row.
func (m *Model) normalize(dst []float32, ld int, x, weight []float32, n int) {
	hidden := m.config.Hidden
	for i := range n {
		kernel.RMSNorm(dst[i*ld:][:hidden], x[i*hidden:][:hidden], weight, float32(m.config.NormEps))
	}
}

// apply computes n rows of y = W·x + bias; ldy and ldx are the row lengths.
func (l *linear) apply(y []float32, ldy int, x []float32, ldx, n int) {
	p := l.panels
	kernel.MatMul(y, ldy, x, ldx, n, p, 0, p.Panels(), false)
	if l.bias != nil {
		for i := range n {
			kernel.Add(y[i*ldy:][:p.Rows], l.bias)
		}
	}
}
