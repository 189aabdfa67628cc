package kernel

import "math"

// Constants of exp32: e^x = 2^n · e^r with n = round(x·log2 e) and r = x - n·ln 2 in [-0.347, 0.347], e^r = 1 + r + r²·q(r).
// The coefficients of q are the minimax fit in relative error over that range (Lawson's algorithm, 3.1e-9 before and 3.7e-9 after rounding
// to float32; _gen/fit.py). ln 2 is split so that n·ln2Hi is exact.
const (
	expMax   = 89   // 2^n · e^r overflows to +Inf from here on
	expMin   = -104 // … and rounds to zero
	log2E    = 0x1.715476p+0
	expMagic = 0x1.8p+23 // adding it rounds to an integer, which is then in the low bits
	ln2Hi    = 0x1.62e4p-1
	ln2Lo    = 0x1.7f7d1cp-20
	expC2    = 0x1.fffffcp-2
	expC3    = 0x1.555492p-3
	expC4    = 0x1.5558f2p-5
	expC5    = 0x1.123a2p-7
	expC6    = 0x1.6a23dp-10
)

// exp32 is the definition of e^x in every variant: relative error below 1e-7 where the result is normal, +0 for -Inf and
// everything below -104, +Inf from 88.722839 on, NaN for NaN.
func exp32(x float32) float32 {
	if x != x {
		return x
	}
	x = min(max(x, expMin), expMax)
	t := fma32(x, log2E, expMagic)
	n := t - expMagic
	r := fma32(n, -ln2Hi, x)
	r = fma32(n, -ln2Lo, r)
	p := fma32(expC6, r, expC5)
	p = fma32(p, r, expC4)
	p = fma32(p, r, expC3)
	p = fma32(p, r, expC2)
	p = fma32(p, r, 1)
	p = fma32(p, r, 1)
	// 2^n in two factors, each a normal number, so that only the last product rounds.
	h := int32(n) >> 1
	return float32(p*pow2(h)) * pow2(int32(n)-h)
}

// pow2 returns 2^n for -126 <= n <= 127.
func pow2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }
