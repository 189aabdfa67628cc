package safetensors

import (
	"encoding/binary"
	"encoding/json"
)

// metadataName is the member of a header that describes no tensor.
const metadataName = "__metadata__"

// typeBits is the number of bits of an element of each type of the format.
var typeBits = map[string]int{
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8, "F8_E8M0": 8,
	"U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
	"U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}

// Entry describes a tensor.
type Entry struct {
	Name  string
	Type  string // F32, BF16, U8, …
	Shape []int  // outermost dimension first; empty, but not nil, of a single number
}

// Bytes is the size of the tensor. An unknown type has none.
func (e Entry) Bytes() int64 {
	n := int64(typeBits[e.Type])
	for _, d := range e.Shape {
		n *= int64(d)
	}
	return n / 8
}

// largestOffset is that for which there is room in an entry.
const largestOffset = 999_999_999_999

// Room is a multiple of 8 bytes that the entry needs at most in a header, wherever in a file of up to a terabyte the tensor
// lies. So the size of a file can be a sum over its tensors: see [Header].
func (e Entry) Room() int {
	return (len(e.text(largestOffset, largestOffset)) + 7) / 8 * 8
}

// text is the member of a header, after a comma, of a tensor at bytes [from, to).
func (e Entry) text(from, to int64) []byte {
	// Texts and numbers: neither can fail.
	name, _ := json.Marshal(e.Name)
	place, _ := json.Marshal(struct {
		Type    string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}{e.Type, e.Shape, [2]int64{from, to}})
	return append(append(append([]byte{','}, name...), ':'), place...)
}

// Header is the start of a file, up to the first byte of the first tensor: the length of a JSON object and that object, the
// metadata first, in the order of their names, then the entries, which lie one after another in their order. It ends with spaces,
// so that the object takes at least room bytes, and the whole a multiple of align.
func Header(metadata map[string]string, entries []Entry, room, align int) []byte {
	text, _ := json.Marshal(metadata) // texts cannot fail
	header := append([]byte(`01234567{"`+metadataName+`":`), text...)
	at := int64(0)
	for _, e := range entries {
		end := at + e.Bytes()
		header = append(header, e.text(at, end)...)
		at = end
	}
	header = append(header, '}')
	for len(header)-8 < room || len(header)%align != 0 {
		header = append(header, ' ')
	}
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	return header
}
