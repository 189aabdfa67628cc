package kernel

import (
	"fmt"
	"unsafe"
)

// RoundBF16 rounds src to bfloat16 numbers, to the nearest, ties to even, as [EncodeBF16] does: denormal numbers stay, a NaN stays a NaN.
// dst and src have the same length.
func RoundBF16(dst []uint16, src []float32) {
	if len(dst) != len(src) {
		panic(fmt.Sprintf("kernel: RoundBF16 of %d numbers into %d", len(src), len(dst)))
	}
	roundRowBF16(current(), dst, src)
}

func roundRowBF16(v variant, dst []uint16, src []float32) {
	whole := len(src) &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		roundBlocksBF16(v, &dst[i], &src[i], min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < len(src); i++ {
		dst[i] = EncodeBF16(src[i])
	}
}

// expandRow is dst[i] = the value of src[i]. Their length is a multiple of 32, and at most that of a block of MatMulBF16.
func expandRow(v variant, dst []float32, src []uint16) {
	expandBlocksBF16(v, &dst[0], &src[0], len(dst)/lanes)
}

// expandPanel expands the first len(dst)/32 columns, an even number, of a panel of [PanelsBF16] into the layout of [Panels].
func expandPanel(v variant, dst []float32, src []uint16) {
	expandPairs(v, &dst[0], &src[0], len(dst)/(2*PanelWidth))
}

func roundGo(dst *uint16, src *float32, blocks int) {
	d := unsafe.Slice(dst, blocks*lanes)
	for i, x := range unsafe.Slice(src, blocks*lanes) {
		d[i] = EncodeBF16(x)
	}
}

func expandGo(dst *float32, src *uint16, blocks int) {
	d := unsafe.Slice(dst, blocks*lanes)
	for i, h := range unsafe.Slice(src, blocks*lanes) {
		d[i] = DecodeBF16(h)
	}
}

func expandPairsGo(dst *float32, src *uint16, steps int) {
	d, s := unsafe.Slice(dst, 2*steps*PanelWidth), unsafe.Slice(src, 2*steps*PanelWidth)
	for ; len(s) > 0; d, s = d[2*PanelWidth:], s[2*PanelWidth:] {
		for j := range PanelWidth {
			d[j], d[PanelWidth+j] = DecodeBF16(s[2*j]), DecodeBF16(s[2*j+1])
		}
	}
}
