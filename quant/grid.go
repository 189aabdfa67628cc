package quant

import "github.com/paretopress/paretopress/internal/kernel"

// grid is the set of values that the weights of a group can take: scale · (code - zero).
type grid struct {
	scale    float32 // positive, a binary16 number
	zero     float32 // an integer from 0 to the largest code
	low, top float32 // the range of code - zero
}

// minScale is the smallest positive binary16 number. Weights so small that their scale rounds to 0 are
// stored with it: as 0.
const minScale = 0x1p-24

// newGrid returns the grid for weights from low <= 0 to high >= 0, and the bits of its scale. ok is false
// if the scale does not fit in binary16.
func newGrid(l kernel.Layout, low, high float32) (g grid, scale uint16, ok bool) {
	if l.Symmetric {
		high = max(high, -low)
		low = -high
	}
	if low == high {
		low, high = -1, 1
	}
	top := float32(l.MaxCode())
	// Divided first, the range of finite weights stays finite.
	scale = kernel.EncodeF16(high/top - low/top)
	if scale == 0 {
		scale = kernel.EncodeF16(minScale)
	}
	if scale >= 0x7c00 {
		return grid{}, 0, false
	}
	g.scale = kernel.DecodeF16(scale)
	if l.Symmetric {
		g.zero = float32(int(1) << (l.Bits - 1))
	} else {
		g.zero = min(round(min(-low/g.scale, top)), top)
	}
	g.low, g.top = -g.zero, top-g.zero
	return g, scale, true
}

// code returns the integer, less the zero, that stands for w.
func (g *grid) code(w float32) float32 {
	return round(min(max(w/g.scale, g.low), g.top))
}

// round returns the integer nearest to x, ties to even, for |x| below 2^22: the sum has no bits below
// the unit.
func round(x float32) float32 {
	const shift = 3 << 22
	return (x + shift) - shift
}
