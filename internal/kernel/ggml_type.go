package kernel

import (
	"encoding/binary"
	"fmt"
)

// GGMLType is a type of ggml for weights in blocks, by ggml's own number.
type GGMLType uint32

// The types that this package decodes.
const (
	Q4_0  GGMLType = 2
	Q4_1  GGMLType = 3
	Q5_0  GGMLType = 6
	Q5_1  GGMLType = 7
	Q8_0  GGMLType = 8
	Q2K   GGMLType = 10
	Q3K   GGMLType = 11
	Q4K   GGMLType = 12
	Q5K   GGMLType = 13
	Q6K   GGMLType = 14
	IQ4NL GGMLType = 20
	MXFP4 GGMLType = 39
)

// ggmlForm says how a type stores a block.
type ggmlForm struct {
	name   string
	block  int // weights in a block
	bytes  int // bytes of a block
	halves []int
	decode func(dst []float32, src []byte)
}

// ggmlForms is indexed by type; a form without a name is none. halves are the offsets of the binary16 numbers of a block.
var ggmlForms = [...]ggmlForm{
	Q4_0:  {"q4_0", 32, 18, []int{0}, decodeQ4_0},
	Q4_1:  {"q4_1", 32, 20, []int{0, 2}, DecodeQ4_1},
	Q5_0:  {"q5_0", 32, 22, []int{0}, decodeQ5_0},
	Q5_1:  {"q5_1", 32, 24, []int{0, 2}, decodeQ5_1},
	Q8_0:  {"q8_0", 32, 34, []int{0}, decodeQ8_0},
	Q2K:   {"q2_K", 256, 84, []int{80, 82}, decodeQ2K},
	Q3K:   {"q3_K", 256, 110, []int{108}, decodeQ3K},
	Q4K:   {"q4_K", 256, 144, []int{0, 2}, decodeQ4K},
	Q5K:   {"q5_K", 256, 176, []int{0, 2}, decodeQ5K},
	Q6K:   {"q6_K", 256, 210, []int{208}, decodeQ6K},
	IQ4NL: {"iq4_nl", 32, 18, []int{0}, decodeIQ4NL},
	MXFP4: {"mxfp4", 32, 17, nil, decodeMXFP4},
}

// GGMLTypes lists the types that this package decodes, by number.
func GGMLTypes() []GGMLType {
	var types []GGMLType
	for t, f := range ggmlForms {
		if f.name != "" {
			types = append(types, GGMLType(t))
		}
	}
	return types
}

// ParseGGMLType is the type with ggml's name, such as q4_K or iq4_nl.
func ParseGGMLType(name string) (GGMLType, bool) {
	for _, t := range GGMLTypes() {
		if t.form().name == name {
			return t, true
		}
	}
	return 0, false
}

// Known tells whether this package decodes the type. All other methods but String panic unless it does.
func (t GGMLType) Known() bool { return int(t) < len(ggmlForms) && ggmlForms[t].name != "" }

func (t GGMLType) form() *ggmlForm {
	if !t.Known() {
		panic(fmt.Sprintf("kernel: unknown ggml type %d", uint32(t)))
	}
	return &ggmlForms[t]
}

// String returns ggml's name of the type.
func (t GGMLType) String() string {
	if !t.Known() {
		return fmt.Sprintf("ggml type %d", uint32(t))
	}
	return t.form().name
}

// Block is the number of weights of a block, 32 or 256; a row is whole blocks.
func (t GGMLType) Block() int { return t.form().block }

// BlockBytes is the number of bytes of a block.
func (t GGMLType) BlockBytes() int { return t.form().bytes }

// Bytes is the size of a rows x cols matrix; cols is a multiple of the block.
func (t GGMLType) Bytes(rows, cols int) int64 {
	f := t.form()
	return int64(rows) * int64(cols/f.block*f.bytes)
}

// Decode writes the weights of whole blocks to dst as ggml defines them, bit for bit. It panics if dst is no whole blocks or src is
// shorter than they are.
func (t GGMLType) Decode(dst []float32, src []byte) {
	f := t.form()
	if len(dst)%f.block != 0 {
		panic(fmt.Sprintf("kernel: %d weights are no whole blocks of %s", len(dst), f.name))
	}
	if need := len(dst) / f.block * f.bytes; len(src) < need {
		panic(fmt.Sprintf("kernel: %d weights in %s in %d bytes", len(dst), f.name, len(src)))
	}
	f.decode(dst, src)
}

// Finite tells whether a block has neither NaN nor infinities among its scales, so that its weights are finite.
func (t GGMLType) Finite(block []byte) bool {
	f := t.form()
	if t == MXFP4 {
		return block[0] <= maxE8M0
	}
	for _, at := range f.halves {
		if binary.LittleEndian.Uint16(block[at:])&0x7c00 == 0x7c00 {
			return false
		}
	}
	return true
}

// half is the binary16 number at the start of b.
func half(b []byte) float32 { return DecodeF16(binary.LittleEndian.Uint16(b)) }
