package engine

import "strings"

// Where the weights of a sub-block leave whole attention heads or FFN channels
// without effect, these are left out of its products. Zeros that are spread over a
// matrix save nothing.

// leastDead is the least share of heads or channels, one in so many, for which
// panels of their own are worth their memory.
const leastDead = 16

// zeros are the rows and columns of a matrix that hold nothing but zeros; nil where
// it was not looked for them.
type zeros struct{ rows, cols []bool }

// zerosOf looks for the zero rows and columns of a choice, once. Only weights that are
// stored sparsely, as kernel.Bitmask does, are looked at.
func (m *Model) zerosOf(c choice) zeros {
	if z, ok := m.zeros[c.key]; ok {
		return z
	}
	var z zeros
	rows, cols := c.weights.Shape()
	size := int64(rows) * int64(cols)
	if s, ok := c.weights.(interface{ NNZ() int64 }); ok && s.NNZ() <= size-size/leastDead {
		z = zeros{repeat(true, rows), repeat(true, cols)}
		row := make([]float32, cols)
		for i := range rows {
			c.weights.DecodeRows(i, 1, row)
			for j, x := range row {
				if x != 0 {
					z.rows[i], z.cols[j] = false, false
				}
			}
		}
	}
	m.zeros[c.key] = z
	return z
}

func repeat[T any](x T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = x
	}
	return s
}

// liveChannels leaves out the FFN channels that come to nothing: those whose row of
// gate or up, as silu(0)·u = s·0 = 0, or column of down is zero.
func (m *Model) liveChannels(ffn int, choices []choice) (channels int, narrow []choice) {
	gate, up, down := m.zerosOf(choices[0]).rows, m.zerosOf(choices[1]).rows, m.zerosOf(choices[2]).cols
	live := make([]int, 0, ffn)
	for i := range ffn {
		if !(gate != nil && gate[i] || up != nil && up[i] || down != nil && down[i]) {
			live = append(live, i)
		}
	}
	if ffn-len(live) < max(1, ffn/leastDead) || len(live) == 0 {
		return ffn, choices
	}
	key := narrowKey(choices)
	return len(live), []choice{
		{choices[0].key + key, choices[0].name, rowsAt{choices[0].weights, live}},
		{choices[1].key + key, choices[1].name, rowsAt{choices[1].weights, live}},
		{choices[2].key + key, choices[2].name, colsAt{choices[2].weights, live}},
	}
}

// heads are the attention heads of a layer that are computed.
type heads struct {
	list  []int // query heads, by their number among those of the layer
	group int   // query heads that share a key and value head
	kv    int   // key and value heads
}

// heads are all heads of a layer.
func (m *Model) heads(w Width) heads {
	return heads{list: m.allHeads[:w.Heads], group: w.Heads / w.KVHeads, kv: w.KVHeads}
}

// liveHeads leaves out the attention heads that come to nothing: those whose values or
// whose columns of o are zero. Keys and values stay, as other heads may share
// them.
func (m *Model) liveHeads(layer int, w Width, choices []choice) (live heads, narrow []choice) {
	modules, headDim, all := &m.layers[layer].modules, m.config.HeadDim, m.heads(w)
	for i, ch := range choices {
		if ch.weights == nil || modules[i].bias != nil {
			return all, choices
		}
	}
	values, out := m.zerosOf(choices[roleV]).rows, m.zerosOf(choices[roleO]).cols
	live = heads{group: all.group, kv: all.kv}
	var columns []int
	for _, h := range all.list {
		if allOf(out, h*headDim, headDim) || allOf(values, h/all.group*headDim, headDim) {
			continue
		}
		live.list = append(live.list, h)
		for d := range headDim {
			columns = append(columns, h*headDim+d)
		}
	}
	if len(live.list) == w.Heads || len(live.list) == 0 {
		return all, choices
	}
	key := narrowKey(choices)
	return live, []choice{
		{choices[roleQ].key + key, choices[roleQ].name, rowsAt{choices[roleQ].weights, columns}},
		choices[roleK],
		choices[roleV],
		{choices[roleO].key + key, choices[roleO].name, colsAt{choices[roleO].weights, columns}},
	}
}

// allOf reports whether n elements from first on are known to be zero.
func allOf(zero []bool, first, n int) bool {
	if zero == nil {
		return false
	}
	for _, z := range zero[first : first+n] {
		if !z {
			return false
		}
	}
	return true
}

// narrowKey tells apart what the other modules of a sub-block leave of one.
func narrowKey(choices []choice) string {
	var b strings.Builder
	for _, c := range choices {
		b.WriteString(" of " + c.key)
	}
	return b.String()
}

// rowsAt are some rows of a matrix.
type rowsAt struct {
	Weights
	index []int
}

func (w rowsAt) Shape() (rows, cols int) {
	_, cols = w.Weights.Shape()
	return len(w.index), cols
}

func (w rowsAt) DecodeRows(first, n int, dst []float32) {
	_, cols := w.Weights.Shape()
	for i := range n {
		w.Weights.DecodeRows(w.index[first+i], 1, dst[i*cols:])
	}
}

// colsAt are some columns of a matrix.
type colsAt struct {
	Weights
	index []int
}

func (w colsAt) Shape() (rows, cols int) {
	rows, _ = w.Weights.Shape()
	return rows, len(w.index)
}

func (w colsAt) DecodeRows(first, n int, dst []float32) {
	_, cols := w.Weights.Shape()
	row := make([]float32, cols)
	for i := range n {
		w.Weights.DecodeRows(first+i, 1, row)
		for j, at := range w.index {
			dst[i*len(w.index)+j] = row[at]
		}
	}
}
