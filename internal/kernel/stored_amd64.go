//go:build amd64 && !noasm

package kernel

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// hasF16C is whether there are conversions of binary16: in every processor with AVX2, but a feature of its own.
var hasF16C = cpuid.CPU.Supports(cpuid.F16C)

func decodeF16Blocks(v variant, dst *float32, src *byte, blocks int) {
	switch {
	case v >= avx512:
		decodeF16AVX512(dst, src, blocks)
	case v >= avx2 && hasF16C:
		decodeF16AVX2(dst, src, blocks)
	default:
		decodeF16Go(dst, src, blocks)
	}
}

func decodeBF16Blocks(v variant, dst *float32, src *byte, blocks int) {
	switch {
	case v >= avx512:
		decodeBF16AVX512(dst, src, blocks)
	case v >= avx2:
		decodeBF16AVX2(dst, src, blocks)
	default:
		decodeBF16Go(dst, src, blocks)
	}
}

func roundF16Blocks(v variant, dst, src *float32, blocks int) {
	switch {
	case v >= avx512:
		roundF16AVX512(dst, src, blocks)
	case v >= avx2 && hasF16C:
		roundF16AVX2(dst, src, blocks)
	default:
		roundF16Go(dst, src, blocks)
	}
}

func decodeQ4_1Blocks(v variant, dst *float32, src *byte, blocks int) {
	switch {
	case v >= avx512:
		decodeQ4_1AVX512(dst, src, blocks)
	case v >= avx2 && hasF16C:
		decodeQ4_1AVX2(dst, src, blocks)
	default:
		decodeQ4_1Go(dst, src, blocks)
	}
}

func magnitudeBlocks(v variant, acc *[lanes]uint32, x *float32, blocks int) {
	switch {
	case v >= avx512:
		magnitudeAVX512(acc, x, blocks)
	case v >= avx2:
		magnitudeAVX2(acc, x, blocks)
	default:
		magnitudeGo(acc, x, blocks)
	}
}

// decodeGroups decodes groups of 16·blocks codes of b bits, a grid each. It does all of them or, where 16 bytes from the last codes on do
// not lie in src, nothing, and says which.
func decodeGroups(v variant, dst []float32, src []byte, b int, grids []grid, blocks int) bool {
	n := len(grids) * blocks // blocks in all
	if v < avx2 || n == 0 || len(src) < 2*b*(n-1)+16 {
		return false
	}
	_ = dst[lanes*n-1]
	t := &codeTables[b-2]
	if v >= avx512 {
		decodeCodesAVX512(&dst[0], &src[0], &t.shuffle[0], 2*b, (*uint64)(unsafe.Pointer(&grids[0])), len(grids), blocks)
	} else {
		decodeCodesAVX2(&dst[0], &src[0], &t.shuffle[0], 2*b, (*uint64)(unsafe.Pointer(&grids[0])), len(grids), blocks)
	}
	return true
}

// codeTable tells how 16 codes of b bits are taken out of 16 bytes, a double word for each.
type codeTable struct {
	shuffle [16]uint32 // the byte in which the code begins, the byte after it if the code reaches into it, and two times none
	shift   [16]uint32
	mask    [16]uint32
}

// codeTables are for 2 to 8 bits.
var codeTables = func() (tables [7]codeTable) {
	const none = 0x80
	for n := range tables {
		b := n + 2
		for j := range 16 {
			at := j * b
			next := uint32(none)
			if at&7+b > 8 {
				next = uint32(at>>3 + 1)
			}
			tables[n].shuffle[j] = none<<24 | none<<16 | next<<8 | uint32(at>>3)
			tables[n].shift[j] = uint32(at & 7)
			tables[n].mask[j] = 1<<b - 1
		}
	}
	return tables
}()

// expand spreads values over the first columns of a row and returns the number of blocks of 16 columns that it did. values are those
// of the row and of what follows: 32 bytes are read wherever the values of a block begin.
func expand(v variant, dst []float32, mask, values []byte, nnz int, bf16 bool) int {
	blocks := len(dst) / 16
	if v < avx512 || blocks == 0 || 2*nnz+32 > len(values) {
		return 0
	}
	if bf16 {
		expandBF16AVX512(&dst[0], &mask[0], &values[0], blocks)
	} else {
		expandF16AVX512(&dst[0], &mask[0], &values[0], blocks)
	}
	return blocks
}
