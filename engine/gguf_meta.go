package engine

import (
	"encoding/binary"
	"math"
)

// has reports whether a key is there.
func (g *gguf) has(key string) bool {
	_, ok := g.meta[key]
	return ok
}

// integer is the value of a number of an integer type; ok is false for others and where it does
// not fit an int.
func (v ggufValue) integer() (n int, ok bool) {
	switch v.kind {
	case ggufUint8, ggufBool:
		return int(v.raw[0]), true
	case ggufInt8:
		return int(int8(v.raw[0])), true
	case ggufUint16:
		return int(binary.LittleEndian.Uint16(v.raw)), true
	case ggufInt16:
		return int(int16(binary.LittleEndian.Uint16(v.raw))), true
	case ggufUint32:
		return int(binary.LittleEndian.Uint32(v.raw)), true
	case ggufInt32:
		return int(int32(binary.LittleEndian.Uint32(v.raw))), true
	case ggufUint64, ggufInt64:
		n := binary.LittleEndian.Uint64(v.raw)
		return int(n), n <= math.MaxInt
	}
	return 0, false
}

// uint is an integer of the metadata that is not negative, or the default where the key is not
// there. A key whose value is an array of equal integers counts as that integer: converters write
// per-layer values so.
func (g *gguf) uint(key string, def int) (int, error) {
	v, ok := g.meta[key]
	if !ok {
		return def, nil
	}
	if v.kind == ggufArray && v.count > 0 && v.elem != ggufString && v.elem != ggufArray {
		w := ggufWidth[v.elem]
		first := v.raw[:w]
		for i := uint64(1); i < v.count; i++ {
			if string(v.raw[i*w:(i+1)*w]) != string(first) {
				return 0, unsupported("%s differs from layer to layer", key)
			}
		}
		v = ggufValue{kind: v.elem, raw: first}
	}
	n, ok := v.integer()
	if !ok || n < 0 {
		return 0, malformed("%s is not a non-negative integer", key)
	}
	return n, nil
}

// float is a number of the metadata, or the default where the key is not there.
func (g *gguf) float(key string, def float64) (float64, error) {
	v, ok := g.meta[key]
	switch {
	case !ok:
		return def, nil
	case v.kind == ggufFloat32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(v.raw))), nil
	case v.kind == ggufFloat64:
		return math.Float64frombits(binary.LittleEndian.Uint64(v.raw)), nil
	}
	n, ok := v.integer()
	if !ok {
		return 0, malformed("%s is not a number", key)
	}
	return float64(n), nil
}

// text is a string of the metadata, or the default where the key is not there.
func (g *gguf) text(key, def string) (string, error) {
	v, ok := g.meta[key]
	switch {
	case !ok:
		return def, nil
	case v.kind != ggufString:
		return "", malformed("%s is not a string", key)
	}
	return string(v.raw), nil
}

// texts is an array of strings of the metadata.
func (g *gguf) texts(key string) ([]string, error) {
	v, ok := g.meta[key]
	if !ok || v.kind != ggufArray || v.elem != ggufString {
		return nil, malformed("%s is not an array of strings", key)
	}
	// Each string takes eight bytes and more: count is in proportion to the file.
	out := make([]string, v.count)
	raw := v.raw
	for i := range out {
		n := binary.LittleEndian.Uint64(raw)
		out[i], raw = string(raw[8:8+n]), raw[8+n:]
	}
	return out, nil
}

// integers is an array of integers of the metadata, each at most a byte to four wide.
func (g *gguf) integers(key string) ([]int, error) {
	v, ok := g.meta[key]
	if !ok || v.kind != ggufArray || v.elem == ggufString || v.elem == ggufArray {
		return nil, malformed("%s is not an array of integers", key)
	}
	out := make([]int, v.count)
	w := ggufWidth[v.elem]
	for i := range out {
		n, ok := ggufValue{kind: v.elem, raw: v.raw[uint64(i)*w:][:w]}.integer()
		if !ok {
			return nil, malformed("%s is not an array of integers", key)
		}
		out[i] = n
	}
	return out, nil
}

// floats is an array of float32 of the metadata.
func (g *gguf) floats(key string) ([]float32, error) {
	v, ok := g.meta[key]
	if !ok || v.kind != ggufArray || v.elem != ggufFloat32 {
		return nil, malformed("%s is not an array of float32", key)
	}
	out := make([]float32, v.count)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(v.raw[4*i:]))
	}
	return out, nil
}

// flag is a boolean of the metadata, or the default where the key is not there or not a boolean.
func (g *gguf) flag(key string, def bool) bool {
	if v, ok := g.meta[key]; ok && v.kind == ggufBool {
		return v.raw[0] != 0
	}
	return def
}
