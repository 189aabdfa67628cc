package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/paretopress/paretopress/internal/kernel"
)

// compressed are the weights of a module as compressed-tensors stores them: integers with a scale, and at
// will a zero, for each group of columns of a row, or FP8 E4M3 numbers with a scale for each row.
//
// Packed integers are unsigned, of 4 or 8 bits, the least significant bits first, and each row starts at a
// 32-bit word; a weight is scale · (code - zero), with a zero of 2^(bits-1) where none is stored. Zeros
// are packed in the same way along the columns: that of row i and group g has bits i·b to i·b+b-1 of the
// words of column g.
type compressed struct {
	rows, cols   int
	bits         int
	groups, span int  // of a row
	stride       int  // bytes of a row of codes
	signed       bool // codes are bytes in two's complement, with a zero of 0
	float        bool // codes are FP8 E4M3 numbers
	shared       bool // one scale for all rows
	codes        []byte
	scales       Tensor
	zeros        *Tensor
}

// kind is the type as [Tensor.Type] has it.
func (w *compressed) kind() string {
	if w.float {
		return "F8_E4M3"
	}
	return fmt.Sprintf("INT%d", w.bits)
}

// bytes is the size of all parts.
func (w *compressed) bytes() int64 {
	n := int64(len(w.codes)) + w.scales.Bytes()
	if w.zeros != nil {
		n += w.zeros.Bytes()
	}
	return n
}

// decodeRows writes n rows from row first on to dst.
func (w *compressed) decodeRows(first, n int, dst []float32) {
	scales := make([]float32, w.groups)
	for i := first; i < first+n; i++ {
		from := i * w.groups
		if w.shared {
			from = 0
		}
		f := w.scales.format
		f.decode(w.scales.data[f.size(from):f.size(from+w.groups)], scales)
		row := dst[(i-first)*w.cols:][:w.cols]
		codes := w.codes[i*w.stride:][:w.stride]
		for g, scale := range scales {
			w.decodeGroup(row[g*w.span:][:w.span], codes, g*w.span, scale, w.zero(i, g))
		}
	}
}

// zero is that of a group of a row.
func (w *compressed) zero(i, g int) int32 {
	if w.zeros == nil {
		return 1 << (w.bits - 1)
	}
	word := binary.LittleEndian.Uint32(w.zeros.data[4*(i*w.bits/32*w.groups+g):])
	return int32(word >> (i * w.bits % 32) & (1<<w.bits - 1))
}

// decodeGroup writes the weights from column first on.
func (w *compressed) decodeGroup(dst []float32, codes []byte, first int, scale float32, zero int32) {
	switch {
	case w.float:
		kernel.DecodeE4M3s(dst, codes[first:], scale)
	case w.signed:
		for j, c := range codes[first:][:len(dst)] {
			dst[j] = scale * float32(int8(c))
		}
	case w.bits == 8:
		for j, c := range codes[first:][:len(dst)] {
			dst[j] = scale * float32(int32(c)-zero)
		}
	default:
		for j := range dst {
			at := first + j
			dst[j] = scale * float32(int32(codes[at/2]>>(at%2*4)&15)-zero)
		}
	}
}

// check reports the first scale or FP8 number that is NaN or infinite.
func (w *compressed) check(name string) error {
	if err := w.scales.Check(); err != nil {
		return err
	}
	if !w.float {
		return nil
	}
	for i, c := range w.codes {
		if c&0x7f == 0x7f {
			return &fault{ErrNotFinite, fmt.Sprintf("tensor %s: NaN weight in row %d, column %d", name, i/w.cols, i%w.cols)}
		}
	}
	return nil
}
