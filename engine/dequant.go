package engine

import (
	"encoding/binary"
	"math"
	"strings"

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
	formatF16  = &format{"F16", 1, 2, decodeF16, finiteF16}
	formatBF16 = &format{"BF16", 1, 2, decodeBF16, finiteBF16}
)

// ggmlFormats maps the type numbers of ggml to the formats that are decoded: those above, and every block format that package kernel knows.
var ggmlFormats = func() map[uint32]*format {
	formats := map[uint32]*format{0: formatF32, 1: formatF16, 30: formatBF16}
	for _, t := range kernel.GGMLTypes() {
		formats[uint32(t)] = &format{
			strings.ToUpper(t.String()), t.Block(), t.BlockBytes(),
			func(src []byte, dst []float32) { t.Decode(dst, src) }, t.Finite,
		}
	}
	return formats
}()

// ggmlOther names the types of ggml that are not decoded, for errors.
var ggmlOther = map[uint32]string{
	9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 21: "IQ3_S", 22: "IQ2_S",
	23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0",
	40: "NVFP4",
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

func finiteF32(b []byte) bool { return binary.LittleEndian.Uint32(b)>>23&255 != 255 }

func finiteBF16(b []byte) bool { return binary.LittleEndian.Uint16(b)>>7&255 != 255 }

func finiteF16(b []byte) bool { return binary.LittleEndian.Uint16(b)>>10&31 != 31 }
