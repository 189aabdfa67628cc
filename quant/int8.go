package quant

import "github.com/paretopress/paretopress/internal/kernel"

// layoutInt8 is the layout of level int8: what compressed-tensors calls channel-wise and symmetric.
var layoutInt8 = kernel.Layout{Bits: 8, Symmetric: true}

// int8Grid returns the grid of a row for level int8: s = max|w|/127 and q from -127 to 127, so that it is
// the same on both sides of 0. ok is false if the scale does not fit in binary16.
func int8Grid(low, high float32) (g grid, scale uint16, ok bool) {
	const top = 127
	high = max(high, -low)
	if high == 0 {
		high = 1
	}
	scale = max(kernel.EncodeF16(high/top), 1) // 1: the smallest positive number
	if scale >= 0x7c00 {
		return grid{}, 0, false
	}
	return grid{scale: kernel.DecodeF16(scale), zero: 128, low: -top, top: top}, scale, true
}
