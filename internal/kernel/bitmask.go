package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Bitmask is a sparse matrix: one bit a weight, and the weights whose bit is set as 16-bit numbers.
//
// Each row of the mask starts at a byte; the weight in column j has bit j&7 of byte j>>3. Values
// follow in the order of rows and, within a row, columns.
type Bitmask struct {
	rows, cols int
	stride     int // bytes of a row of the mask
	bf16       bool
	mask       []byte
	values     []byte
	starts     []int // index of the first value of each row, and the number of values
}

// BitmaskBytes is the size of a rows x cols matrix with nnz weights left.
func BitmaskBytes(rows, cols int, nnz int64) int64 {
	return int64(rows)*int64((cols+7)/8) + 2*nnz
}

// PackBitmask stores the weights of w (rows x cols, row-major) whose keep is true: as binary16 numbers,
// or as bfloat16 where bf16 is true. It returns an error if a weight that is kept is not finite once
// rounded.
func PackBitmask(rows, cols int, w []float32, keep []bool, bf16 bool) (*Bitmask, error) {
	stride := (cols + 7) / 8
	mask := make([]byte, rows*stride)
	for i := range rows {
		packBools(mask[i*stride:(i+1)*stride], keep[i*cols:(i+1)*cols])
	}
	values := make([]byte, 2*countBits(mask))
	rest := values
	for i := range rows {
		row := w[i*cols:]
		for j, m := range mask[i*stride : (i+1)*stride] {
			for ; m != 0; m &= m - 1 {
				v := row[8*j+bits.TrailingZeros8(m)]
				h := EncodeF16(v)
				if bf16 {
					h = EncodeBF16(v)
				}
				binary.LittleEndian.PutUint16(rest, h)
				rest = rest[2:]
			}
		}
	}
	return NewBitmask(rows, cols, bf16, mask, values)
}

// packBools sets bit i&7 of dst[i>>3] where src[i] is true. dst is zero before.
func packBools(dst []byte, src []bool) {
	bit := func(set bool) byte { // without a branch that nobody can predict
		if set {
			return 1
		}
		return 0
	}
	for ; len(src) >= 8; src, dst = src[8:], dst[1:] {
		b := (*[8]bool)(src)
		dst[0] = bit(b[0]) | bit(b[1])<<1 | bit(b[2])<<2 | bit(b[3])<<3 | bit(b[4])<<4 | bit(b[5])<<5 | bit(b[6])<<6 | bit(b[7])<<7
	}
	for i, set := range src {
		dst[0] |= bit(set) << i
	}
}

// NewBitmask makes a matrix of its stored parts, which it keeps. It returns an error unless they have
// the lengths that the shape and the mask ask for, every value is finite and the bits after the end of
// a row are 0.
func NewBitmask(rows, cols int, bf16 bool, mask, values []byte) (*Bitmask, error) {
	if err := checkShape(rows, cols); err != nil {
		return nil, err
	}
	stride := (cols + 7) / 8
	if len(mask) != rows*stride {
		return nil, fmt.Errorf("kernel: bitmask of %d x %d weights has %d bytes, want %d", rows, cols, len(mask), rows*stride)
	}
	b := &Bitmask{rows: rows, cols: cols, stride: stride, bf16: bf16, mask: mask, values: values, starts: make([]int, rows+1)}
	nnz := 0
	for i := range rows {
		b.starts[i] = nnz
		row := mask[i*stride : (i+1)*stride]
		if row[stride-1]>>(uint(cols-1)&7)>>1 != 0 {
			return nil, fmt.Errorf("kernel: bitmask has a bit set after the %d columns of row %d", cols, i)
		}
		nnz += countBits(row)
	}
	b.starts[rows] = nnz
	if len(values) != 2*nnz {
		return nil, fmt.Errorf("kernel: bitmask with %d bits set has %d bytes of values, want %d", nnz, len(values), 2*nnz)
	}
	exponent := uint16(0x7c00)
	if bf16 {
		exponent = 0x7f80
	}
	for i := 0; i < len(values); i += 2 {
		if binary.LittleEndian.Uint16(values[i:])&exponent == exponent {
			return nil, fmt.Errorf("kernel: value %d of a bitmask is NaN or infinite", i/2)
		}
	}
	return b, nil
}

// countBits is the number of bits set.
func countBits(mask []byte) int {
	n := 0
	for ; len(mask) >= 8; mask = mask[8:] {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(mask))
	}
	for _, m := range mask {
		n += bits.OnesCount8(m)
	}
	return n
}

// Shape returns the numbers of rows and columns.
func (b *Bitmask) Shape() (rows, cols int) { return b.rows, b.cols }

// Bytes is the number of bytes of mask and values.
func (b *Bitmask) Bytes() int64 { return int64(len(b.mask)) + int64(len(b.values)) }

// NNZ is the number of weights whose bit is set.
func (b *Bitmask) NNZ() int64 { return int64(b.starts[b.rows]) }

// Format returns "bitmask-f16" or "bitmask-bf16".
func (b *Bitmask) Format() string {
	if b.bf16 {
		return "bitmask-bf16"
	}
	return "bitmask-f16"
}

// Parts returns the mask, a byte for 8 columns, and the values.
func (b *Bitmask) Parts() []Part {
	return []Part{
		{Name: "bitmask", Type: "U8", Shape: []int{b.rows, b.stride}, Data: b.mask},
		{Name: "values", Type: valueType(b.bf16), Shape: []int{len(b.values) / 2}, Data: b.values},
	}
}

// valueType is the type of the values of a [Bitmask].
func valueType(bf16 bool) string {
	if bf16 {
		return "BF16"
	}
	return "F16"
}

// Kept calls f with the flat row-major index of each weight that is stored, ascending. Its value may be zero all the same.
func (b *Bitmask) Kept(f func(i int)) {
	for row := range b.rows {
		for at, m := range b.mask[row*b.stride : (row+1)*b.stride] {
			for ; m != 0; m &= m - 1 {
				f(row*b.cols + 8*at + bits.TrailingZeros8(m))
			}
		}
	}
}

// BF16 reports whether the values are bfloat16 numbers rather than binary16.
func (b *Bitmask) BF16() bool { return b.bf16 }

// DecodeRows writes the n rows from row first on to dst, row-major.
func (b *Bitmask) DecodeRows(first, n int, dst []float32) {
	v := current()
	for i := first; i < first+n; i++ {
		row := dst[(i-first)*b.cols:][:b.cols]
		mask := b.mask[i*b.stride : (i+1)*b.stride]
		done := lanes * expand(v, row, mask, b.values[2*b.starts[i]:], b.starts[i+1]-b.starts[i], b.bf16)
		if done < len(row) {
			skip := b.starts[i] + countBits(mask[:done/8])
			b.decode(row[done:], mask[done/8:], b.values[2*skip:2*b.starts[i+1]])
		}
	}
}

// decode writes the columns of a row, or the last ones of a row, to dst.
func (b *Bitmask) decode(dst []float32, mask, values []byte) {
	clear(dst)
	for j := 0; len(mask) > 0; j += 64 {
		var m uint64
		if len(mask) >= 8 {
			m, mask = binary.LittleEndian.Uint64(mask), mask[8:]
		} else {
			for k, x := range mask {
				m |= uint64(x) << (8 * k)
			}
			mask = nil
		}
		n := bits.OnesCount64(m)
		if j+64 <= len(dst) && len(values) >= 128 {
			scatter((*[64]float32)(dst[j:]), m, (*[128]byte)(values), b.bf16)
		} else {
			var out [64]float32
			var in [128]byte
			copy(in[:], values)
			scatter(&out, m, &in, b.bf16)
			copy(dst[j:], out[:])
		}
		values = values[2*n:]
	}
}

// scatter puts the next values where m has a bit. Arrays of fixed sizes spare the checks of indices.
func scatter(out *[64]float32, m uint64, values *[128]byte, bf16 bool) {
	if bf16 {
		for at := 0; m != 0; at, m = at+2, m&(m-1) {
			out[bits.TrailingZeros64(m)&63] = DecodeBF16(uint16(values[at&126]) | uint16(values[at&126+1])<<8)
		}
		return
	}
	for at := 0; m != 0; at, m = at+2, m&(m-1) {
		h := uint32(values[at&126]) | uint32(values[at&126+1])<<8
		// The path of DecodeF16 for normal numbers; values are never infinite.
		v := h&0x8000<<16 | (h&0x7fff<<13 + 0x38000000)
		if h&0x7c00 == 0 {
			v = math.Float32bits(DecodeF16(uint16(h)))
		}
		out[bits.TrailingZeros64(m)&63] = math.Float32frombits(v)
	}
}
