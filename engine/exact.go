package engine

import "math"

// The functions here replace package math's where a result takes part in a
// score: math.Exp is assembly that depends on the CPU, and the compiler may
// fuse the products of pure Go code into FMAs on some architectures. Every
// product below is rounded on its own, so that the results are the same
// everywhere. Errors are below 2 units in the last place.

const (
	ln2Hi = 6.93147180369123816490e-01 // the upper 32 bits of ln 2: k*ln2Hi is exact
	ln2Lo = 1.90821492927058770002e-10
)

// exp returns e**x.
func exp(x float64) float64 {
	switch {
	case x != x:
		return x
	case x > 709.78:
		return math.Inf(1)
	case x < -745.2:
		return 0
	}
	k := math.Floor(float64(x*math.Log2E) + 0.5)
	r := (x - float64(k*ln2Hi)) - float64(k*ln2Lo)
	// Taylor series on |r| <= ln(2)/2; the first term left out is below 1e-17.
	sum := 1.0
	for n := 14; n > 0; n-- {
		sum = 1 + float64(r*sum)/float64(n)
	}
	return math.Ldexp(sum, int(k))
}

// log returns the natural logarithm of a positive finite x.
func log(x float64) float64 {
	m, e := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m *= 2
		e--
	}
	// log m = 2 atanh(s); s² < 0.03, so eleven terms reach 1e-17.
	f := m - 1
	s := f / (2 + f)
	z := float64(s * s)
	sum := 0.0
	for n := 21; n >= 3; n -= 2 {
		sum = float64(z * (sum + 1/float64(n)))
	}
	k := float64(e)
	return float64(k*ln2Hi) + (2*s + (float64(2*s*sum) + float64(k*ln2Lo)))
}

// sincos returns the sine and cosine of x for |x| up to 2**20.
func sincos(x float64) (sin, cos float64) {
	const (
		halfPi1 = 1.57079632673412561417e+00 // 33 bits of π/2 each: n*halfPi1 is exact
		halfPi2 = 6.07710050630396597660e-11
		halfPi3 = 2.02226624879595063154e-21
	)
	n := math.Floor(float64(x*(2/math.Pi)) + 0.5)
	r := ((x - float64(n*halfPi1)) - float64(n*halfPi2)) - float64(n*halfPi3)
	z := float64(r * r)
	s, c := 1.0, 1.0
	for k := 18; k >= 2; k -= 2 {
		s = 1 - float64(z*s)/float64(k*(k+1))
		c = 1 - float64(z*c)/float64(k*(k-1))
	}
	s = float64(r * s)
	switch int64(n) & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	}
	return -c, s
}
