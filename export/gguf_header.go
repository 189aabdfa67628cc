package export

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/paretopress/paretopress/engine"
)

// alignment of the tensors in a file: GGUF's default, which needs no key.
const alignment = 32

// padded is n rounded up to the alignment.
func padded(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }

// Types of metadata.
const (
	kindUint32  = 4
	kindInt32   = 5
	kindFloat32 = 6
	kindBool    = 7
	kindString  = 8
	kindArray   = 9
)

// widths are the bytes of the types of metadata; 0 where they vary.
var widths = [...]int{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}

var le = binary.LittleEndian

// metadata is the list of a file's keys. Their values begin with their types, as they do in the file.
type metadata struct{ keys []engine.Metadata }

// set gives a key a value, in its place if it is there.
func (m *metadata) set(key string, value []byte) {
	at := slices.IndexFunc(m.keys, func(k engine.Metadata) bool { return k.Key == key })
	if at < 0 {
		at, m.keys = len(m.keys), append(m.keys, engine.Metadata{Key: key})
	}
	m.keys[at].Value = value
}

// get is the value of a key, nil if it is not there.
func (m *metadata) get(key string) []byte {
	for _, k := range m.keys {
		if k.Key == key {
			return k.Value
		}
	}
	return nil
}

func valueOf(kind uint32, n int) []byte { return le.AppendUint32(make([]byte, 0, 4+n), kind) }

func uint32Value(n int) []byte { return le.AppendUint32(valueOf(kindUint32, 4), uint32(n)) }

func float32Value(x float64) []byte {
	return le.AppendUint32(valueOf(kindFloat32, 4), math.Float32bits(float32(x)))
}

func boolValue(b bool) []byte {
	if b {
		return append(valueOf(kindBool, 1), 1)
	}
	return append(valueOf(kindBool, 1), 0)
}

func stringValue(s string) []byte { return appendString(valueOf(kindString, 8+len(s)), s) }

func appendString(b []byte, s string) []byte { return append(le.AppendUint64(b, uint64(len(s))), s...) }

// arrayValue starts an array of n elements.
func arrayValue(kind uint32, n int) []byte {
	return le.AppendUint64(le.AppendUint32(valueOf(kindArray, 12+8*n), kind), uint64(n))
}

func stringsValue(list []string) []byte {
	b := arrayValue(kindString, len(list))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func int32sValue(list []int) []byte {
	b := arrayValue(kindInt32, len(list))
	for _, n := range list {
		b = le.AppendUint32(b, uint32(int32(n)))
	}
	return b
}

func float32sValue(list []float32) []byte {
	b := arrayValue(kindFloat32, len(list))
	for _, x := range list {
		b = le.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// stringOf reads a string; ok is false for a value of another type.
func stringOf(v []byte) (s string, ok bool) {
	if len(v) < 12 || le.Uint32(v) != kindString || le.Uint64(v[4:]) != uint64(len(v)-12) {
		return "", false
	}
	return string(v[12:]), true
}

// pick returns an array without all but the named elements; ok is false for a value that is no array of n numbers.
func pick(v []byte, n int, elements []int) (out []byte, ok bool) {
	if len(v) < 16 || le.Uint32(v) != kindArray || le.Uint64(v[8:]) != uint64(n) {
		return nil, false
	}
	kind := le.Uint32(v[4:])
	if int(kind) >= len(widths) || widths[kind] == 0 || len(v) != 16+n*widths[kind] {
		return nil, false
	}
	out = arrayValue(kind, len(elements))
	for _, e := range elements {
		out = append(out, v[16+e*widths[kind]:][:widths[kind]]...)
	}
	return out, true
}

// header is everything before the tensors, padded.
func (f *file) header() []byte {
	b := le.AppendUint32([]byte("GGUF"), 3)
	b = le.AppendUint64(b, uint64(len(f.tensors)))
	b = le.AppendUint64(b, uint64(len(f.meta.keys)))
	for _, k := range f.meta.keys {
		b = append(appendString(b, k.Key), k.Value...)
	}
	var offset int64
	for _, t := range f.tensors {
		b = le.AppendUint32(appendString(b, t.name), uint32(len(t.shape)))
		for _, d := range slices.Backward(t.shape) { // ggml's innermost dimension comes first
			b = le.AppendUint64(b, uint64(d))
		}
		b = le.AppendUint64(le.AppendUint32(b, uint32(t.kind)), uint64(offset))
		offset += padded(t.bytes())
	}
	return append(b, make([]byte, padded(int64(len(b)))-int64(len(b)))...)
}
