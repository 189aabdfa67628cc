package engine

import "github.com/paretopress/paretopress/internal/kernel"

// queryRows is the number of queries whose scores are held at a time, so that the
// buffer has at most queryRows rows of as many keys as the longest window.
const queryRows = 64

// cache holds the keys and values of one layer for the windows of a batch, packed
// for the two products of attention. Both are packed for each window and key-value
// head on their own.
type cache struct {
	headDim, heads int
	start          []int     // first float of each window in data
	length         []int     // positions of each window
	data           []float32 // per window and head: keys, then values
}

// keyFloats and valueFloats are the sizes of the packed keys (a matrix
// [length x headDim]) and values (its transpose [headDim x length]) of one head.
func keyFloats(length, headDim int) int   { return ceil(length, panelRows) * headDim }
func valueFloats(length, headDim int) int { return ceil(headDim, panelRows) * length }

// ceil rounds n up to a multiple of to.
func ceil(n, to int) int { return (n + to - 1) / to * to }

// reset lays the cache out for the windows of a batch.
func (k *cache) reset(c Config, windows [][]int32) {
	k.headDim, k.heads = c.HeadDim, c.KVHeads
	k.start, k.length = k.start[:0], k.length[:0]
	size := 0
	for _, w := range windows {
		k.start = append(k.start, size)
		k.length = append(k.length, len(w))
		size += c.KVHeads * (keyFloats(len(w), c.HeadDim) + valueFloats(len(w), c.HeadDim))
	}
	k.data = grow(k.data, size)
}

// of returns the packed keys and values of a window and head.
func (k *cache) of(window, head int) (keys, values []float32) {
	n := k.length[window]
	nk, nv := keyFloats(n, k.headDim), valueFloats(n, k.headDim)
	data := k.data[k.start[window]+head*(nk+nv):]
	return data[:nk], data[nk:][:nv]
}

// put packs the keys and values of a row block, [n x heads*headDim] each. The
// lanes that pad a head to whole panels of values keep what they hold: products
// do not write what comes of them.
func (k *cache) put(r rowBlock, key, value []float32) {
	d, width, length := k.headDim, k.heads*k.headDim, k.length[r.window]
	for head := range k.heads {
		keys, values := k.of(r.window, head)
		panels := kernel.Panels{Rows: length, Cols: d, Data: keys}
		panels.PackStrided(r.first, key[head*d:], width, r.n)
		for i := range r.n {
			src := value[i*width+head*d:][:d]
			for j := 0; j < d; j += panelRows {
				copy(values[j*length+(r.first+i)*panelRows:][:panelRows], src[j:])
			}
		}
	}
}

// attention writes the output of one head for a row block to out, whose rows are
// ld apart. Scores of a tile of queries with all keys they see become
// probabilities in place.
func (m *Model) attention(b *batch, layer, head int, r rowBlock, s *scratch, out []float32, ld int) {
	c, window := m.config, m.layers[layer].window
	d, width := c.HeadDim, c.Heads*c.HeadDim
	kv := &b.kv[layer%2]
	keys, values := kv.of(r.window, head/(c.Heads/c.KVHeads))
	length := kv.length[r.window]
	for q0 := 0; q0 < r.n; q0 += queryRows {
		n := min(queryRows, r.n-q0)
		first := r.first + q0 // position of the first query of the tile
		lo, hi := visible(first, window)/panelRows*panelRows, first+n
		lds := pad(hi - lo)
		s.scores = grow(s.scores, queryRows*pad(length))
		scores := s.scores[:n*lds]

		sees := kernel.Panels{Rows: hi - lo, Cols: d, Data: keys[lo*d : ceil(hi, panelRows)*d]}
		kernel.MatMul(scores, lds, b.q[(r.row+q0)*width+head*d:], width, n, &sees, 0, sees.Panels(), false)
		for i := range n {
			row := scores[i*lds:][:hi-lo]
			from, to := visible(first+i, window)-lo, first+i+1-lo
			clear(row[:from])
			kernel.Softmax(row[from:to])
			clear(row[to:])
		}
		for j := 0; j < d; j += panelRows {
			part := kernel.Panels{Rows: min(panelRows, d-j), Cols: hi - lo, Data: values[j*length+lo*panelRows : j*length+hi*panelRows]}
			kernel.MatMul(out[q0*ld+j:], ld, scores, lds, n, &part, 0, 1, false)
		}
	}
}

// visible is the first position that the query at position p sees.
func visible(p, window int) int {
	if window == 0 {
		return 0
	}
	return max(0, p-window+1)
}
