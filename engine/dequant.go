package engine

import (
	"encoding/binary"
	"math"

	"github.com/paretopress/paretopress/internal/kernel"
)

// format is a way to store weights: blocks of a fixed number of weights in a fixed number of
// bytes. Rows are whole blocks.
type format struct {
	name   string
	block  int // weights in a block
	bytes  int // bytes of a block
	decode func(src []byte, dst []float32)
	finite func(block []byte) bool // no NaN or infinity among its floating-point numbers
}

// size is the number of bytes of n weights; n is a multiple of block.
func (f *format) size(n int) int { return n / f.block * f.bytes }

// Plain formats, of safetensors and GGUF alike, little-endian.
var (
	formatF32  = &format{"F32", 1, 4, decodeF32, finiteF32}
	formatF16  = &format{"F16", 1, 2, decodeF16, finiteF16At(0)}
	formatBF16 = &format{"BF16", 1, 2, decodeBF16, finiteBF16}
)

// ggmlFormats maps the type numbers of ggml to the formats that this package decodes.
var ggmlFormats = map[uint32]*format{
	0:  formatF32,
	1:  formatF16,
	2:  {"Q4_0", 32, 18, decodeQ4_0, finiteF16At(0)},
	3:  {"Q4_1", 32, 20, decodeQ4_1, finiteF16At(0, 2)},
	6:  {"Q5_0", 32, 22, decodeQ5_0, finiteF16At(0)},
	7:  {"Q5_1", 32, 24, decodeQ5_1, finiteF16At(0, 2)},
	8:  {"Q8_0", 32, 34, decodeQ8_0, finiteF16At(0)},
	10: {"Q2_K", 256, 84, decodeQ2K, finiteF16At(80, 82)},
	11: {"Q3_K", 256, 110, decodeQ3K, finiteF16At(108)},
	12: {"Q4_K", 256, 144, decodeQ4K, finiteF16At(0, 2)},
	13: {"Q5_K", 256, 176, decodeQ5K, finiteF16At(0, 2)},
	14: {"Q6_K", 256, 210, decodeQ6K, finiteF16At(208)},
	30: formatBF16,
}

// ggmlOther names the types of ggml that this package does not decode, for its errors.
var ggmlOther = map[uint32]string{
	9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL",
	21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
	29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}

// decodeF32 reads IEEE binary32.
func decodeF32(src []byte, dst []float32) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

// decodeF16 reads IEEE binary16: 1 sign, 5 exponent and 10 fraction bits.
func decodeF16(src []byte, dst []float32) { kernel.DecodeF16s(dst, src) }

// decodeBF16 reads bfloat16: the upper half of a binary32.
func decodeBF16(src []byte, dst []float32) { kernel.DecodeBF16s(dst, src) }

// half is the binary16 number at the start of b.
func half(b []byte) float32 { return kernel.DecodeF16(binary.LittleEndian.Uint16(b)) }

func finiteF32(b []byte) bool { return binary.LittleEndian.Uint32(b)>>23&255 != 255 }

func finiteBF16(b []byte) bool { return binary.LittleEndian.Uint16(b)>>7&255 != 255 }

// finiteF16At tests the binary16 numbers at the given offsets of a block.
func finiteF16At(offsets ...int) func([]byte) bool {
	return func(b []byte) bool {
		for _, at := range offsets {
			if binary.LittleEndian.Uint16(b[at:])>>10&31 == 31 {
				return false
			}
		}
		return true
	}
}
