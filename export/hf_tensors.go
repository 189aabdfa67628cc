package export

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/paretopress/paretopress/internal/kernel"
)

// chunk is the number of weights that are decoded at a time.
const chunk = 1 << 18

// arrays lists the tensors of the folder in forward order.
func (e *hfExport) arrays() []array {
	c := e.config
	vocab := []int{c.Vocab, c.Hidden}
	list := []array{e.unit(unitEmbedding, vocab)}
	e.listed(unitEmbedding, unitEmbedding, e.cand[unitEmbedding].Name, e.options.Dtype, list)
	for _, l := range e.layers {
		add := func(sub int, part string, shape ...int) {
			from, to := hfUnit(l.from, part), hfUnit(l.to, part)
			if l.dropped[sub] && part == "self_attn.o_proj.bias" {
				list = append(list, e.zeros(to, shape))
				return
			}
			list = append(list, e.copied(from, to, shape, l.dropped[sub]))
		}
		add(0, "input_layernorm.weight", c.Hidden)
		for sub, roles := range hfModules {
			for _, role := range roles {
				m := l.modules[role]
				arrays := e.module(m)
				list = append(list, arrays...)
				stored := e.options.Dtype
				if m.scheme > 0 {
					stored = e.schemes[m.scheme-1].String()
				}
				unit := m.unit
				if l.dropped[sub] {
					unit = ""
				}
				e.listed(unit, m.name, m.level, stored, arrays)
				if e.hasBias(role) {
					add(sub, role+".bias", m.shape[0])
				}
			}
			if sub == 0 {
				if c.QKNorm {
					add(0, "self_attn.q_norm.weight", c.HeadDim)
					add(0, "self_attn.k_norm.weight", c.HeadDim)
				}
				add(1, "post_attention_layernorm.weight", c.Hidden)
			}
		}
	}
	list = append(list, e.copied("model.norm.weight", "model.norm.weight", []int{c.Hidden}, false))
	if !c.TieEmbeddings || e.untied {
		list = append(list, e.unit(unitHead, vocab))
		e.listed(unitHead, unitHead, e.cand[unitHead].Name, e.options.Dtype, list[len(list)-1:])
	}
	return list
}

// listed adds a module to the result.
func (e *hfExport) listed(unit, name, level, stored string, arrays []array) {
	m := HFModule{Unit: unit, Name: name, Level: levelName(level), Type: stored}
	for _, a := range arrays {
		m.Bytes += a.bytes()
	}
	e.result.Modules = append(e.result.Modules, m)
}

// unit is the embedding or the head.
func (e *hfExport) unit(unit string, shape []int) array {
	if level, ok := e.cand[unit]; ok {
		return e.dense(unit+".weight", shape, level.Weights.DecodeRows)
	}
	return e.copied(unit+".weight", unit+".weight", shape, false)
}

// module are the tensors of a linear module but its bias.
func (e *hfExport) module(m *hfModule) []array {
	shape := m.shape[:]
	switch {
	case m.levels == nil:
		return []array{e.zeros(m.name+".weight", shape)}
	case m.scheme > 0:
		return compressedArrays(m.name, m.levels, e.schemes[m.scheme-1])
	case m.level != "":
		return []array{e.dense(m.name+".weight", shape, m.levels.DecodeRows)}
	}
	return []array{e.copied(m.unit+".weight", m.name+".weight", shape, false)}
}

// copied is a tensor of the checkpoint; zeros where it has none and absent is true.
func (e *hfExport) copied(from, to string, shape []int, absent bool) array {
	t, err := e.ck.Tensor(from)
	switch {
	case err != nil && absent:
		return e.zeros(to, shape)
	case err != nil: // which opening the checkpoint has ruled out
		return array{name: to, dtype: e.options.Dtype, shape: shape, write: func(io.Writer) error { return err }}
	}
	return e.dense(to, shape, t.DecodeRows)
}

// zeros is a tensor of zeros.
func (e *hfExport) zeros(name string, shape []int) array {
	return e.dense(name, shape, func(_, n int, dst []float32) { clear(dst[:n*shape[len(shape)-1]]) })
}

// dense is a tensor in the type of what is not compressed.
func (e *hfExport) dense(name string, shape []int, decode func(first, n int, dst []float32)) array {
	rows, cols := 1, shape[len(shape)-1]
	if len(shape) == 2 {
		rows = shape[0]
	}
	return array{name: name, dtype: e.options.Dtype, shape: shape, write: func(w io.Writer) error {
		step := min(max(chunk/cols, 1), rows)
		values, raw := make([]float32, step*cols), make([]byte, 0, 4*step*cols)
		var change rounding
		for first := 0; first < rows; first += step {
			n := min(step, rows-first)
			x := values[:n*cols]
			decode(first, n, x)
			raw = appendNumbers(raw[:0], e.options.Dtype, x)
			if at := change.add(x, raw, e.options.Dtype); at >= 0 {
				return fmt.Errorf("tensor %s: the weight in row %d, column %d, %v, is no finite number of %s%s", name, first+at/cols, at%cols, x[at], e.options.Dtype, e.wider())
			}
			if _, err := w.Write(raw); err != nil {
				return err
			}
		}
		if change.count > 0 {
			e.result.Rounded = append(e.result.Rounded, name)
		}
		e.result.Changed += change.count
		e.result.MaxRelative = max(e.result.MaxRelative, change.relative)
		if change.error > 0 {
			e.result.MaxError = max(e.result.MaxError, change.error/change.top)
		}
		return nil
	}}
}

// wider is what to do about a weight that is too large.
func (e *hfExport) wider() string {
	if e.options.Dtype == "F16" {
		return ": ask for BF16"
	}
	return ""
}

// appendNumbers appends numbers in a type, rounded to the nearest, ties to even.
func appendNumbers(dst []byte, dtype string, x []float32) []byte {
	switch dtype {
	case "BF16":
		for _, v := range x {
			dst = binary.LittleEndian.AppendUint16(dst, kernel.EncodeBF16(v))
		}
	case "F16":
		for _, v := range x {
			dst = binary.LittleEndian.AppendUint16(dst, kernel.EncodeF16(v))
		}
	default:
		for _, v := range x {
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
		}
	}
	return dst
}

// rounding is what became of the values of a tensor.
type rounding struct {
	count    int64
	relative float64 // largest change relative to the value
	error    float64 // largest change
	top      float64 // largest value
}

// add compares values with what was written for them. It returns the index of the first that is not
// finite or was not once written, or -1.
func (r *rounding) add(x []float32, raw []byte, dtype string) int {
	for i, v := range x {
		y := v
		switch dtype {
		case "BF16":
			y = kernel.DecodeBF16(binary.LittleEndian.Uint16(raw[2*i:]))
		case "F16":
			y = kernel.DecodeF16(binary.LittleEndian.Uint16(raw[2*i:]))
		}
		if d := float64(y) - float64(y); d != 0 { // NaN
			return i
		}
		r.top = max(r.top, math.Abs(float64(v)))
		if y != v {
			d := math.Abs(float64(y) - float64(v))
			r.count++
			r.error, r.relative = max(r.error, d), max(r.relative, d/math.Abs(float64(v)))
		}
	}
	return -1
}

// noteRounding tells how far the folder is from what was evaluated.
func (e *hfExport) noteRounding() {
	r := &e.result
	if r.Changed > 0 {
		e.note("%d values are no %s numbers and were rounded, by up to %.2g of the largest of their tensor", r.Changed, r.Dtype, r.MaxError)
	}
	if r.Dtype == "BF16" && r.Format != FormatDense && strings.Contains(r.Format+e.formats(), formatPacked) {
		e.note("scales of packed levels are F16 numbers: a runtime that computes in BF16 rounds them to 8 bits")
	}
}
