package kernel

import (
	"math"
	"testing"
)

// TestFinite puts numbers of every kind in every place, with NaN around what may be read.
func TestFinite(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		for n := range 70 {
			x, _ := guarded(n, n%5) // the canaries are NaN
			for i := range x {
				x[i] = [...]float32{0, float32(math.Copysign(0, -1)), math.MaxFloat32, -math.MaxFloat32, 0x1p-149, -1}[i%6]
			}
			if !Finite(x) {
				t.Fatalf("%d finite numbers are not", n)
			}
			for i, before := range x {
				for _, bits := range []uint32{0x7f800000, 0xff800000, 0x7f800001, 0x7fc00000, 0xffffffff} {
					x[i] = math.Float32frombits(bits)
					if Finite(x) {
						t.Fatalf("%v at %d of %d is taken for finite", x[i], i, n)
					}
				}
				x[i] = before
			}
		}
		long := make([]float32, 3*callBlocks*lanes+1)
		for _, i := range []int{0, callBlocks * lanes, len(long) - 2, len(long) - 1} {
			long[i] = float32(math.Inf(-1))
			if Finite(long) {
				t.Errorf("an infinity at %d is taken for finite", i)
			}
			long[i] = 0
		}
		if !Finite(long) {
			t.Error("zeros are not finite")
		}
	})
}
