package kernel

import "math"

// fma32 returns x*y + z rounded once to float32: the bits of the hardware's VFMADD231SS, denormals, infinities and signed zeros included.
func fma32(x, y, z float32) float32 {
	s := float64(x)*float64(y) + float64(z) // the product is exact, so that the sum alone rounds, fused or not
	if settled(s) {
		return float32(s)
	}
	return fmaOdd(x, y, z)
}

// settled tells whether a sum that was rounded to float64 can be rounded again, to float32, as if it were exact: unless it lies exactly between
// two float32, where the first rounding may have put it, or below the normal range, where those midpoints are elsewhere.
func settled(s float64) bool {
	const (
		tail      = 1<<29 - 1 // the bits of the significand that a normal float32 has no room for
		half      = 1 << 28   // their value between two float32
		minNormal = 0x1p-126
	)
	return math.Float64bits(s)&tail != half && math.Abs(s) >= minNormal
}

// fmaOdd is fma32 without the short cut: it rounds the float64 sum to odd, which keeps the second rounding from being misled by the first.
func fmaOdd(x, y, z float32) float32 {
	p := float64(float64(x) * float64(y)) // exact
	c := float64(z)
	s := p + c
	// TwoSum (Knuth): s + e = p + c exactly.
	b := s - p
	e := float64(p-float64(s-b)) + float64(c-b)
	if e > 0 || e < 0 { // false for the NaN that an infinite s gives
		if u := math.Float64bits(s); u&1 == 0 {
			// s is the even neighbour of the exact sum: step to the odd one, which is on the other side of the exact sum.
			if (e > 0) == (s > 0) {
				u++
			} else {
				u--
			}
			s = math.Float64frombits(u)
		}
	}
	return float32(s)
}
