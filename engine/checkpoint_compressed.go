package engine

import (
	"encoding/json"
	"slices"
	"strings"
)

// quantizationJSON is the part of quantization_config that decides what compressed weights are worth.
// Which module is stored how is seen from its tensors.
type quantizationJSON struct {
	Method    string                    `json:"quant_method"`
	Status    string                    `json:"quantization_status"`
	KVCache   json.RawMessage           `json:"kv_cache_scheme"`
	Sparsity  struct{ Format string }   `json:"sparsity_config"`
	Transform map[string]any            `json:"transform_config"`
	Groups    map[string]quantGroupJSON `json:"config_groups"`
}

// quantGroupJSON is how some modules are stored.
type quantGroupJSON struct {
	Format  string `json:"format"`
	Weights *struct {
		Bits     int    `json:"num_bits"`
		Type     string `json:"type"`
		Strategy string `json:"strategy"`
	} `json:"weights"`
	Outputs json.RawMessage `json:"output_activations"`
}

// parseQuantization reads a quantization_config; nil where there is none. Of the library's formats those
// with weights of 4 or 8 bits in groups, rows or whole tensors are read (pack-quantized, int-quantized,
// float-quantized). That a runtime rounds activations too is not: only weights are evaluated.
//
// https://github.com/vllm-project/compressed-tensors
func parseQuantization(data json.RawMessage) (*quantizationJSON, error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	q := &quantizationJSON{}
	if err := json.Unmarshal(data, q); err != nil {
		return nil, malformed("quantization_config: %v", err)
	}
	given := func(r json.RawMessage) bool { return len(r) > 0 && string(r) != "null" }
	switch {
	case q.Method != "compressed-tensors":
		return nil, unsupported("quantization_config of method %q: give the model in F32, F16 or BF16, as GGUF, or in compressed-tensors", q.Method)
	case q.Status != "compressed":
		return nil, unsupported("quantization_status %q (want compressed)", q.Status)
	case given(q.KVCache):
		return nil, unsupported("kv_cache_scheme")
	case q.Sparsity.Format != "" && q.Sparsity.Format != "dense":
		return nil, unsupported("sparsity_config of format %q", q.Sparsity.Format)
	case len(q.Transform) > 0:
		return nil, unsupported("transform_config")
	}
	for name, g := range q.Groups {
		w := g.Weights
		switch {
		case w == nil:
			return nil, unsupported("quantization group %s without weights", name)
		case given(g.Outputs):
			return nil, unsupported("output_activations of quantization group %s", name)
		case !(w.Type == "int" && (w.Bits == 4 || w.Bits == 8) || w.Type == "float" && w.Bits == 8):
			return nil, unsupported("quantization group %s of type %s with %d bits (int with 4 or 8 and float with 8 are supported)", name, w.Type, w.Bits)
		case !slices.Contains([]string{"", "group", "channel", "tensor"}, w.Strategy):
			return nil, unsupported("quantization group %s of strategy %q (group, channel and tensor are supported)", name, w.Strategy)
		}
	}
	return q, nil
}

// bits are the widths of packed integers that the configuration speaks of.
func (q *quantizationJSON) bits() []int {
	var all []int
	for _, g := range q.Groups {
		if g.Weights.Type == "int" && !slices.Contains(all, g.Weights.Bits) {
			all = append(all, g.Weights.Bits)
		}
	}
	return all
}

// decompress puts one tensor, x.weight, in the place of the tensors in which a module's weights are
// stored: x.weight_packed, x.weight_scale and so on. config is the config.json, which ParseConfig has read.
func (c *Checkpoint) decompress(config []byte) error {
	var j configJSON
	if err := json.Unmarshal(config, &j); err != nil {
		return malformed("%v", err)
	}
	q, err := parseQuantization(j.Quantization)
	if err != nil || q == nil {
		return err
	}
	for name, t := range c.tensors {
		switch {
		case strings.HasSuffix(name, ".weight_g_idx"):
			return unsupported("tensor %s: columns out of order", name)
		case strings.HasSuffix(name, ".weight_global_scale"):
			return unsupported("tensor %s", name)
		case strings.HasSuffix(name, ".weight_packed"):
			if err := c.decompressPacked(strings.TrimSuffix(name, "_packed"), t, q.bits()); err != nil {
				return err
			}
		case strings.HasSuffix(name, ".weight") && (t.Type == "I8" || t.Type == "F8_E4M3"):
			if _, ok := c.tensors[name+"_zero_point"]; ok {
				return unsupported("tensor %s_zero_point beside weights of type %s", name, t.Type)
			}
			if len(t.Shape) != 2 {
				return malformed("tensor %s has shape %v, want two dimensions", name, t.Shape)
			}
			w := &compressed{rows: t.Shape[0], cols: t.Shape[1], stride: t.Shape[1], bits: 8, signed: t.Type == "I8", float: t.Type != "I8", codes: t.data}
			if err := c.replace(name, w); err != nil {
				return err
			}
		}
	}
	return nil
}

// decompressPacked makes the tensor of that name of its packed integers.
func (c *Checkpoint) decompressPacked(name string, packed Tensor, widths []int) error {
	if _, ok := c.tensors[name]; ok {
		return malformed("tensors %s and %s are both there", name, packed.Name)
	}
	shape, ok := c.tensors[name+"_shape"]
	dims := make([]int, 2)
	switch {
	case packed.Type != "I32" || len(packed.Shape) != 2:
		return malformed("tensor %s is of type %s and shape %v, want I32 and two dimensions", packed.Name, packed.Type, packed.Shape)
	case !ok || !readDims(shape, dims):
		return malformed("tensor %s_shape is missing or no two I64 numbers in range", name)
	case dims[0] != packed.Shape[0]:
		return malformed("tensor %s has %d rows and %s_shape says %d", packed.Name, packed.Shape[0], name, dims[0])
	}
	w := &compressed{rows: dims[0], cols: dims[1], stride: 4 * packed.Shape[1], codes: packed.data}
	for _, b := range widths {
		if packed.Shape[1] == words(w.cols, b) {
			if w.bits != 0 {
				return malformed("tensor %s can be of %d and of %d bits", packed.Name, w.bits, b)
			}
			w.bits = b
		}
	}
	if w.bits == 0 {
		return malformed("tensor %s has %d words a row, which are not %d integers of %v bits", packed.Name, packed.Shape[1], w.cols, widths)
	}
	if zeros, ok := c.tensors[name+"_zero_point"]; ok {
		w.zeros = &zeros
	}
	delete(c.tensors, packed.Name)
	delete(c.tensors, shape.Name)
	return c.replace(name, w)
}

// words is the number of 32-bit words of n integers of b bits.
func words(n, b int) int { return (n*b + 31) / 32 }

// readDims reads a weight_shape of two dimensions.
func readDims(t Tensor, dims []int) bool {
	if t.Type != "I64" || !slices.Equal(t.Shape, []int{len(dims)}) {
		return false
	}
	for i := range dims {
		n := uint64(0)
		for j := range 8 {
			n |= uint64(t.data[8*i+j]) << (8 * j)
		}
		if n == 0 || n > maxVocab {
			return false
		}
		dims[i] = int(n)
	}
	return true
}

// replace completes w by its scales and makes it the tensor of that name.
func (c *Checkpoint) replace(name string, w *compressed) error {
	scales, ok := c.tensors[name+"_scale"]
	switch {
	case !ok || scales.format == nil:
		return malformed("tensor %s_scale is missing or of a type that is no number's", name)
	case product2(scales.Shape) == 1:
		w.groups, w.shared = 1, w.rows > 1
	case len(scales.Shape) > 0 && len(scales.Shape) <= 2 && scales.Shape[0] == w.rows:
		w.groups = product2(scales.Shape) / max(w.rows, 1)
	}
	if w.groups < 1 || w.cols%w.groups != 0 {
		return malformed("tensor %s_scale has shape %v for weights of %d x %d", name, scales.Shape, w.rows, w.cols)
	}
	w.scales, w.span = scales, w.cols/w.groups
	if z := w.zeros; z != nil {
		if z.Type != "I32" || !slices.Equal(z.Shape, []int{words(w.rows, w.bits), w.groups}) || w.shared {
			return malformed("tensor %s is of type %s and shape %v, want I32 and [%d %d]", z.Name, z.Type, z.Shape, words(w.rows, w.bits), w.groups)
		}
		delete(c.tensors, z.Name)
	}
	delete(c.tensors, scales.Name)
	c.tensors[name] = Tensor{Name: name, Shape: []int{w.rows, w.cols}, Type: w.kind(), compressed: w}
	return nil
}

// product2 multiplies the dimensions of a shape that is known to fit.
func product2(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
