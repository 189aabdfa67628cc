package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
)

// MaxE4M3 is the largest number of FP8 E4M3.
const MaxE4M3 = 448

// EncodeE4M3 rounds x to the nearest FP8 number of 4 exponent and 3 fraction bits, ties to even. What is
// too large becomes ±MaxE4M3, since there are no infinities; a NaN stays a NaN.
//
// Micikevicius et al., FP8 Formats for Deep Learning, arXiv 2209.05433.
func EncodeE4M3(x float32) uint8 {
	b := math.Float32bits(x)
	sign, abs := uint8(b>>24&0x80), b&0x7fffffff
	switch {
	case abs > 0x7f800000: // NaN
		return sign | 0x7f
	case abs >= 0x43e00000: // 448
		return sign | 0x7e
	case abs < 0x3c800000: // below the smallest normal number, 2^-6
		// Added to 2^14, the last bit of the sum is worth 2^-9: the unit of subnormal numbers.
		return sign | uint8(math.Float32bits(math.Float32frombits(abs)+0x1p14)-0x46800000)
	}
	abs += 0x7ffff + abs>>20&1 // rounds the 20 bits that go, ties to even
	return sign | uint8((abs-0x3c000000)>>20)
}

// DecodeE4M3 is the value of an FP8 E4M3 number.
func DecodeE4M3(c uint8) float32 {
	sign, abs := uint32(c&0x80)<<24, uint32(c&0x7f)
	switch {
	case abs < 8: // zero or subnormal
		return math.Float32frombits(sign | math.Float32bits(float32(abs)*0x1p-9))
	case abs == 0x7f:
		return math.Float32frombits(0x7fc00000)
	}
	return math.Float32frombits(sign | abs<<20 + 0x3c000000)
}

// valuesE4M3 are the values of all codes.
var valuesE4M3 = func() (v [256]float32) {
	for c := range v {
		v[c] = DecodeE4M3(uint8(c))
	}
	return v
}()

// FP8 is a matrix of FP8 E4M3 numbers with a bfloat16 scale for each row; a weight is scale · value, which
// is exact in float32.
type FP8 struct {
	rows, cols    int
	codes, scales []byte
}

// FP8Bytes is the size of a rows x cols matrix.
func FP8Bytes(rows, cols int) int64 { return int64(rows)*int64(cols) + 2*int64(rows) }

// NewFP8 makes a matrix of its stored parts, which it keeps: codes, row-major, and little-endian scales. It
// returns an error unless they have the lengths that the shape asks for and are finite.
func NewFP8(rows, cols int, codes, scales []byte) (*FP8, error) {
	if err := checkShape(rows, cols); err != nil {
		return nil, err
	}
	if len(codes) != rows*cols || len(scales) != 2*rows {
		return nil, fmt.Errorf("kernel: %d bytes of codes and %d of scales for %d x %d weights in fp8, want %d and %d",
			len(codes), len(scales), rows, cols, rows*cols, 2*rows)
	}
	for i, c := range codes {
		if c&0x7f == 0x7f {
			return nil, fmt.Errorf("kernel: weight in row %d, column %d of a matrix in fp8 is NaN", i/cols, i%cols)
		}
	}
	for i := 0; i < len(scales); i += 2 {
		if binary.LittleEndian.Uint16(scales[i:])&0x7f80 == 0x7f80 {
			return nil, fmt.Errorf("kernel: scale %d of a matrix in fp8 is NaN or infinite", i/2)
		}
	}
	return &FP8{rows: rows, cols: cols, codes: codes, scales: scales}, nil
}

// Shape returns the numbers of rows and columns.
func (f *FP8) Shape() (rows, cols int) { return f.rows, f.cols }

// Bytes is the number of bytes of codes and scales.
func (f *FP8) Bytes() int64 { return FP8Bytes(f.rows, f.cols) }

// NNZ is the number of weights, all of which are stored.
func (f *FP8) NNZ() int64 { return int64(f.rows) * int64(f.cols) }

// formatFP8 is the form of an FP8 matrix.
const formatFP8 = "fp8-e4m3"

// Format returns "fp8-e4m3".
func (f *FP8) Format() string { return formatFP8 }

// Parts returns codes and scales.
func (f *FP8) Parts() []Part {
	return []Part{
		{Name: "codes", Type: "U8", Shape: []int{f.rows, f.cols}, Data: f.codes},
		{Name: "scales", Type: "BF16", Shape: []int{f.rows, 1}, Data: f.scales},
	}
}

// DecodeRows writes the n rows from row first on to dst, row-major.
func (f *FP8) DecodeRows(first, n int, dst []float32) {
	for i := first; i < first+n; i++ {
		scale := DecodeBF16(binary.LittleEndian.Uint16(f.scales[2*i:]))
		DecodeE4M3s(dst[(i-first)*f.cols:][:f.cols], f.codes[i*f.cols:], scale)
	}
}

// DecodeE4M3s writes scale times the values of FP8 E4M3 numbers; src has at least as many as dst.
func DecodeE4M3s(dst []float32, src []byte, scale float32) {
	for j, c := range src[:len(dst)] {
		dst[j] = scale * valuesE4M3[c]
	}
}
