package engine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"math/bits"
	"slices"
)

// maxHeader is the longest header that the format allows.
const maxHeader = 100_000_000

// safetensorsBits is the number of bits of an element of each type of the format.
var safetensorsBits = map[string]uint64{
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8, "F8_E8M0": 8,
	"U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
	"U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}

// safetensorsFormats are the types that can be decoded.
var safetensorsFormats = map[string]*format{"F32": formatF32, "F16": formatF16, "BF16": formatBF16}

// parseSafetensors reads the header of a safetensors file: its length as 8 bytes, little-endian,
// then a JSON object from names to type, shape and place in the rest of the file. As the format
// demands, the tensors cover that rest without gap and without overlap.
// They are in the order of the file, and those of a type that cannot be decoded have no format.
//
// https://huggingface.co/docs/safetensors
func parseSafetensors(data []byte) ([]Tensor, error) {
	if len(data) < 8 {
		return nil, malformed("%d bytes are too few for a safetensors file", len(data))
	}
	size := binary.LittleEndian.Uint64(data)
	if size > maxHeader || size > uint64(len(data)-8) {
		return nil, malformed("header of %d bytes in a safetensors file of %d (truncated?)", size, len(data))
	}
	header, body := data[8:8+size], data[8+size:]
	entries, err := safetensorsHeader(header)
	if err != nil {
		return nil, err
	}
	// Empty tensors sort before the one that starts where they lie.
	slices.SortStableFunc(entries, func(a, b safetensorsEntry) int {
		return cmp.Or(cmp.Compare(a.Offsets[0], b.Offsets[0]), cmp.Compare(a.Offsets[1], b.Offsets[1]))
	})
	end := uint64(0)
	tensors := make([]Tensor, 0, len(entries))
	for _, e := range entries {
		from, to := e.Offsets[0], e.Offsets[1]
		switch {
		case from > to || to > uint64(len(body)):
			return nil, malformed("tensor %s lies at bytes %d to %d of %d (truncated?)", e.name, from, to, len(body))
		case from < end:
			return nil, malformed("tensor %s overlaps the one before it", e.name)
		case from > end:
			return nil, malformed("%d unused bytes before tensor %s", from-end, e.name)
		}
		width, ok := safetensorsBits[e.Type]
		if !ok {
			return nil, malformed("tensor %s is of unknown type %q", e.name, e.Type)
		}
		if n, ok := product(e.Shape); !ok || n > 1<<56 || n*width != (to-from)*8 {
			return nil, malformed("tensor %s of type %s and shape %v has %d bytes", e.name, e.Type, e.Shape, to-from)
		}
		shape := make([]int, len(e.Shape))
		for i, d := range e.Shape {
			shape[i] = int(d)
		}
		tensors = append(tensors, Tensor{
			Name: e.name, Shape: shape, Type: e.Type, format: safetensorsFormats[e.Type], data: body[from:to:to],
		})
		end = to
	}
	if end != uint64(len(body)) {
		return nil, malformed("%d unused bytes after the last tensor", uint64(len(body))-end)
	}
	return tensors, nil
}

// safetensorsEntry is what a header says about a tensor.
type safetensorsEntry struct {
	name    string
	Type    string   `json:"dtype"`
	Shape   []uint64 `json:"shape"`
	Offsets []uint64 `json:"data_offsets"`
}

// safetensorsHeader reads the header member by member, since encoding/json accepts a name twice.
func safetensorsHeader(header []byte) ([]safetensorsEntry, error) {
	d := json.NewDecoder(bytes.NewReader(header))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, malformed("the header is no JSON object")
	}
	var entries []safetensorsEntry
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, malformed("header: %v", err)
		}
		name := key.(string) // a decoder gives no other kind of key
		if seen[name] {
			return nil, malformed("tensor %s is listed twice", name)
		}
		seen[name] = true
		if name == "__metadata__" {
			var ignored map[string]string
			if err := d.Decode(&ignored); err != nil {
				return nil, malformed("header: __metadata__: %v", err)
			}
			continue
		}
		e := safetensorsEntry{name: name}
		if err := d.Decode(&e); err != nil {
			return nil, malformed("tensor %s: %v", name, err)
		}
		if e.Shape == nil || len(e.Offsets) != 2 {
			return nil, malformed("tensor %s has no shape or not two data_offsets", name)
		}
		entries = append(entries, e)
	}
	if _, err := d.Token(); err != nil {
		return nil, malformed("header: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed("the header goes on after its object")
	}
	return entries, nil
}

// product multiplies the dimensions of a shape; ok is false where that, or a dimension, does not
// fit an int.
func product(shape []uint64) (n uint64, ok bool) {
	n = 1
	for _, d := range shape {
		hi, lo := bits.Mul64(n, d)
		if hi != 0 || lo > math.MaxInt || d > math.MaxInt {
			return 0, false
		}
		n = lo
	}
	return n, true
}
