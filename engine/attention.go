package engine

import "github.com/paretopress/paretopress/internal/kernel"

const (
	// queryRows and keyCols are the numbers of queries and keys whose scores are held
	// at a time. keyCols, a multiple of panelRows, is part of the exact numerics:
	// it decides where the softmax is rescaled.
	queryRows = 64
	keyCols   = 512
	// keyLD is the distance of two rows of scores.
	keyLD = keyCols + 16
)

// cache holds the keys and values of one layer for the windows of a batch, packed
// for the two products of attention. Both are packed for each window and key-value
// head on their own.
type cache struct {
	numerics       Numerics
	headDim, heads int   // heads: the most that a layer has
	start          []int // first number of each window
	length         []int // positions of each window
	f32            []float32
	bf16           []uint16
}

// sizes are the numbers of the packed keys (a matrix [length x headDim]) and
// values (its transpose [headDim x length]) of one head.
func (k *cache) sizes(length int) (keys, values int) {
	if k.numerics == Exact {
		return ceil(length, panelRows) * k.headDim, ceil(k.headDim, panelRows) * length
	}
	n := ceil(length, panelRows) * ceil(k.headDim, depthBF16)
	return n, ceil(k.headDim, panelRows) * ceil(length, depthBF16)
}

// reset lays the cache out for the windows of a batch.
func (k *cache) reset(m *Model, windows [][]int32) {
	k.numerics, k.headDim, k.heads = m.numerics, m.config.HeadDim, m.config.KVHeads
	k.start, k.length = k.start[:0], k.length[:0]
	size := 0
	for _, w := range windows {
		k.start = append(k.start, size)
		k.length = append(k.length, len(w))
		keys, values := k.sizes(len(w))
		size += k.heads * (keys + values)
	}
	if k.numerics == Exact {
		k.f32 = grow(k.f32, size)
	} else {
		k.bf16 = grow(k.bf16, size)
	}
}

// at returns the first numbers of the packed keys and values of a window and head.
func (k *cache) at(window, head int) (keys, values int) {
	nk, nv := k.sizes(k.length[window])
	keys = k.start[window] + head*(nk+nv)
	return keys, keys + nk
}

// put packs the keys and values of a row block, [n x heads*headDim] each, of heads of the cache's. The
// lanes that pad a head to whole panels of values keep what they hold: products
// do not write what comes of them.
func (k *cache) put(r rowBlock, heads int, key, value []float32) {
	d, width, length := k.headDim, heads*k.headDim, k.length[r.window]
	nk, _ := k.sizes(length)
	for head := range heads {
		atKeys, atValues := k.at(r.window, head)
		if k.numerics == Exact {
			keys := kernel.Panels{Rows: length, Cols: d, Data: k.f32[atKeys:][:nk]}
			keys.PackStrided(r.first, key[head*d:], width, r.n)
		} else {
			keys := kernel.PanelsBF16{Rows: length, Cols: d, Data: k.bf16[atKeys:][:nk]}
			keys.PackStrided(r.first, key[head*d:], width, r.n)
		}
		for i := range r.n {
			src := value[i*width+head*d:][:d]
			if k.numerics == Exact {
				k.putValue(atValues, length, r.first+i, src)
			} else {
				k.roundValue(atValues, length, r.first+i, src)
			}
		}
	}
	if last := r.first + r.n; k.numerics != Exact && last == length {
		k.clearValues(r.window, heads, last)
	}
}

// putValue writes the value at a position into panels [headDim/32][length][32].
func (k *cache) putValue(at, length, position int, src []float32) {
	for j := 0; j < len(src); j += panelRows {
		copy(k.f32[at+j*length+position*panelRows:][:panelRows], src[j:])
	}
}

// roundValue writes the value at a position into panels [headDim/32][ceil(length)/2][32][2].
func (k *cache) roundValue(at, length, position int, src []float32) {
	depth := ceil(length, depthBF16)
	for j := 0; j < len(src); j += panelRows {
		pairs := k.bf16[at+j*depth+position/2*2*panelRows+position%2:]
		for i, x := range src[j:min(j+panelRows, len(src))] {
			pairs[2*i] = kernel.EncodeBF16(x)
		}
	}
}

// clearValues makes the values between the end of a window and the depth that
// products read zero: what an earlier batch left there could be infinite.
func (k *cache) clearValues(window, heads, length int) {
	none := make([]float32, k.headDim)
	for head := range heads {
		_, at := k.at(window, head)
		for p := length; p < ceil(length, depthBF16); p++ {
			k.roundValue(at, length, p, none)
		}
	}
}

// attention writes the output of one head for a row block to out, whose rows are
// ld apart: head is its place among the queries, kvHead that of its keys and
// values. Scores exist for queryRows queries and keyCols keys at a time; the softmax
// is taken as they come.
func (m *Model) attention(b *batch, layer, head, kvHead int, r rowBlock, s *scratch, out []float32, ld int) {
	window, d := m.layers[layer].window, m.config.HeadDim
	s.scores = grow(s.scores, queryRows*keyLD)
	for q0 := 0; q0 < r.n; q0 += queryRows {
		n := min(queryRows, r.n-q0)
		first := r.first + q0
		t := tile{head: head, kvHead: kvHead, headDim: d, window: r.window, row: r.row + q0, n: n}
		out := out[q0*ld:]
		var sums [queryRows]kernel.Online
		begin := visible(first, window) / panelRows * panelRows
		for lo := begin; lo < first+n; lo += keyCols {
			t.lo, t.hi = lo, min(lo+keyCols, first+n)
			t.score(b, m.headStride(), s.scores)
			probs := rows{f32: s.scores, ld: keyLD}
			if m.numerics != Exact {
				probs = m.rows(&s.probs, queryRows, keyCols)
			}
			for i := range n {
				row := s.scores[i*keyLD:][:t.hi-lo]
				from := min(max(visible(first+i, window)-lo, 0), len(row))
				to := max(min(first+i+1-lo, len(row)), from)
				clear(row[:from])
				clear(row[to:])
				if from < to {
					if scale := sums[i].Add(row[from:to]); scale != 1 {
						kernel.Scale(out[i*ld:][:d], scale)
					}
				}
				if m.numerics != Exact {
					probs.round(i, row)
				}
			}
			t.mix(b, probs, out, ld, lo > begin)
		}
		for i := range n {
			kernel.Scale(out[i*ld:][:d], sums[i].Norm())
		}
	}
}

// tile is a run of queries of one head and some of the keys that they see.
type tile struct {
	head, kvHead int
	headDim      int
	window       int // of the batch
	row, n       int // queries: the row of the first in the batch, and their number
	lo, hi       int // positions of the keys; lo is the first of a panel
}

// score computes the products of queries and keys.
func (t tile) score(b *batch, headStride int, scores []float32) {
	at, _ := b.kv.at(t.window, t.kvHead)
	queries := b.q.from(t.row)
	lo, hi := t.lo, ceil(t.hi, panelRows)
	if b.kv.numerics == Exact {
		keys := kernel.Panels{Rows: t.hi - lo, Cols: t.headDim, Data: b.kv.f32[at+lo*t.headDim : at+hi*t.headDim]}
		kernel.MatMul(scores, keyLD, queries.f32[t.head*headStride:], queries.ld, t.n, &keys, 0, keys.Panels(), false)
		return
	}
	keys := kernel.PanelsBF16{Rows: t.hi - lo, Cols: t.headDim, Data: b.kv.bf16[at+lo*headStride : at+hi*headStride]}
	kernel.MatMulBF16(scores, keyLD, queries.bf16[t.head*headStride:], queries.ld, t.n, &keys, 0, keys.Panels(), false)
}

// mix computes the sums of the values, weighted by probabilities, and adds them to
// those of the keys before.
func (t tile) mix(b *batch, probs rows, out []float32, ld int, accumulate bool) {
	_, at := b.kv.at(t.window, t.kvHead)
	length := b.kv.length[t.window]
	for j := 0; j < t.headDim; j += panelRows {
		width := min(panelRows, t.headDim-j)
		if b.kv.numerics == Exact {
			values := b.kv.f32[at+j*length:]
			part := kernel.Panels{Rows: width, Cols: t.hi - t.lo, Data: values[t.lo*panelRows : t.hi*panelRows]}
			kernel.MatMul(out[j:], ld, probs.f32, probs.ld, t.n, &part, 0, 1, accumulate)
			continue
		}
		values := b.kv.bf16[at+j*ceil(length, depthBF16):]
		part := kernel.PanelsBF16{Rows: width, Cols: t.hi - t.lo, Data: values[t.lo*panelRows : ceil(t.hi, depthBF16)*panelRows]}
		kernel.MatMulBF16(out[j:], ld, probs.bf16, probs.ld, t.n, &part, 0, 1, accumulate)
	}
}

// visible is the first position that the query at position p sees.
func visible(p, window int) int {
	if window == 0 {
		return 0
	}
	return max(0, p-window+1)
}
