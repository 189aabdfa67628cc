package kernel

import (
	"math"
	"slices"
	"unsafe"
)

// Finite tells whether x has neither NaN nor infinities.
func Finite(x []float32) bool {
	const infinite = 0xff << 24 // the bits of an infinity, shifted so that the sign is gone; those of a NaN are larger
	v := current()
	var acc [lanes]uint32
	whole := len(x) &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		magnitudeBlocks(v, &acc, &x[i], min(callBlocks, (whole-i)/lanes))
	}
	for i, y := range x[whole:] {
		acc[i] = max(acc[i], math.Float32bits(y)<<1)
	}
	return slices.Max(acc[:]) < infinite
}

func magnitudeGo(acc *[lanes]uint32, x *float32, blocks int) {
	for i, y := range unsafe.Slice(x, blocks*lanes) {
		acc[i%lanes] = max(acc[i%lanes], math.Float32bits(y)<<1)
	}
}
