package engine

import (
	"cmp"
	"fmt"
	"slices"
)

// Architecture deci of llama.cpp is llama with numbers of heads and a width of the MLP for each layer.
//
// A layer without heads has no attention. One without an MLP must say so by a narrow MLP of zeros: where the width is 0
// llama.cpp (models/deci.cpp) leaves the attention out as well. In the same way attention of fewer heads, of zeros, stands for none where
// a file needs some: llama.cpp takes the width of a head from the first layer. Both are taken for what they stand for where they are
// narrower than the widest of the model.

// layers reads the numbers of heads and the width of the MLP of each layer. It returns the number of heads by which the width of one is
// found where the file does not say it: that of the first layer.
func (m *ggufMeta) layers(c *Config, tensors map[string]Tensor) (first int) {
	if m.err != nil || c.Layers < 1 || c.Layers > maxLayers {
		return 0 // the last is reported with the rest of the configuration
	}
	heads := m.each("attention.head_count", c.Layers, nil)
	kvHeads := m.each("attention.head_count_kv", c.Layers, heads)
	ffn := m.each("feed_forward_length", c.Layers, nil)
	if m.err != nil {
		return 0
	}
	c.Heads, c.KVHeads, c.FFN = slices.Max(heads), slices.Max(kvHeads), slices.Max(ffn)
	absent, widths := make([]bool, 2*c.Layers), make([]Width, c.Layers)
	for b := range c.Layers {
		widths[b] = Width{heads[b], kvHeads[b], ffn[b]}
		layer := fmt.Sprintf("blk.%d.", b)
		out, bias, down := layer+"attn_output.weight", layer+"attn_output.bias", layer+"ffn_down.weight"
		switch {
		case heads[b] == 0:
			absent[2*b] = true
		case kvHeads[b] == 0:
			m.keep(unsupported("attention of layer %d without keys", b))
		case heads[b] < c.Heads && tensors[out].zero() && len(tensors[bias].data) == 0:
			absent[2*b] = true
		}
		switch {
		case ffn[b] == 0 && heads[b] > 0:
			m.keep(unsupported("layer %d has no feed-forward width, for which llama.cpp leaves its attention out", b))
		case ffn[b] == 0:
			absent[2*b+1] = true
		case ffn[b] < c.FFN && tensors[down].zero():
			absent[2*b+1] = true
		}
	}
	if slices.Contains(absent, true) {
		c.Absent = absent
	}
	c.SetWidths(widths)
	return cmp.Or(heads[0], c.Heads)
}

// each is a number for each of n layers: an array of the metadata, or one number for all.
func (m *ggufMeta) each(key string, n int, def []int) []int {
	v, ok := m.g.meta[m.prefix+key]
	if !ok && def != nil {
		return def
	}
	if ok && v.kind == ggufArray {
		list, err := m.g.integers(m.prefix + key)
		if err == nil && (len(list) != n || slices.Min(list) < 0) {
			err = malformed("%s has %d numbers for %d layers, or one below 0", m.prefix+key, len(list), n)
		}
		m.keep(err)
		return list
	}
	return slices.Repeat([]int{m.uint(key, -1)}, n)
}

// zero reports whether a tensor has a byte and all are zero, which is a weight of 0 in every format that scales.
func (t Tensor) zero() bool {
	return len(t.data) > 0 && !slices.ContainsFunc(t.data, func(b byte) bool { return b != 0 })
}
