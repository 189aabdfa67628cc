package kernel

import (
	"math"
	"math/big"
	"testing"
)

// bigFMA is x*y + z in exact arithmetic, rounded once.
func bigFMA(x, y, z float32) float32 {
	f := float64(x)*float64(y) + float64(z)
	if math.IsNaN(f) || math.IsInf(f, 0) || f == 0 {
		// Not finite, or a sum of zero, which float64 has exactly: the product is exact, and so is a sum that cancels.
		return float32(f)
	}
	const prec = 700 // from 2^-298 to 2^257
	p := new(big.Float).SetPrec(prec).SetFloat64(float64(x))
	p.Mul(p, new(big.Float).SetFloat64(float64(y)))
	p.Add(p, new(big.Float).SetFloat64(float64(z)))
	r, _ := p.Float32() // to nearest even, denormals included
	return r
}

// triple draws operands that reach all the cases: free exponents, sums near a midpoint of two float32, cancellation, denormals, specials.
func (r source) triple() (x, y, z float32) {
	any := func() float32 { return math.Float32frombits(r.Uint32()) }
	near := func(e, spread int) float32 {
		m := 1 + float64(r.Uint32()>>9)/(1<<23)
		if r.IntN(2) == 0 {
			m = 1 + float64(r.Uint32()>>29)/8 // few bits: sums that hit midpoints exactly
		}
		if r.IntN(2) == 0 {
			m = -m
		}
		return float32(math.Ldexp(m, e+r.IntN(2*spread+1)-spread))
	}
	switch r.IntN(8) {
	case 0:
		return any(), any(), any()
	case 1:
		return specials[r.IntN(len(specials))], specials[r.IntN(len(specials))], any()
	case 2: // the product beside the midpoints of z
		return near(0, 2), near(-24, 4), near(0, 1)
	case 3: // z beside the midpoints of the product
		return near(0, 2), near(0, 2), near(-28, 28)
	case 4: // results below the normal range
		return near(-70, 12), near(-70, 12), near(-140, 9)
	case 5: // results about the largest
		return near(64, 2), near(63, 2), near(127, 0)
	case 6: // the product or its neighbour cancelled
		x, y = near(0, 20), near(0, 20)
		return x, y, math.Float32frombits(math.Float32bits(-x*y) + r.Uint32N(3) - 1)
	default:
		return near(0, 3), near(0, 3), near(0, 6)
	}
}

func TestFMA32(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 100_000
	}
	r := newSource(1)
	twice := 0
	for range n {
		x, y, z := r.triple()
		want := bigFMA(x, y, z)
		if got := fma32(x, y, z); !same(got, want) {
			t.Fatalf("fma32(%x, %x, %x) = %x, want %x", x, y, z, got, want)
		}
		if got := fmaOdd(x, y, z); !same(got, want) {
			t.Fatalf("fmaOdd(%x, %x, %x) = %x, want %x", x, y, z, got, want)
		}
		if !same(float32(math.FMA(float64(x), float64(y), float64(z))), want) {
			twice++
		}
	}
	if twice == 0 {
		t.Error("no triple on which rounding twice goes wrong: the test does not reach the cases it is for")
	}
	t.Logf("%d of %d triples where float32(math.FMA(…)) rounds twice", twice, n)
}

// TestFMA32Hardware compares with the processor, which the assembly relies on: a product of one step is one fused multiply-add.
func TestFMA32Hardware(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		r := newSource(2)
		w := NewPanels(PanelWidth, 1)
		c, want := make([]float32, PanelWidth), make([]float32, PanelWidth)
		n := 30_000
		if testing.Short() {
			n = 3_000
		}
		for range n {
			var a float32
			for j := range c {
				var x, y, z float32
				x, y, z = r.triple()
				if j == 0 {
					a = x
				}
				w.Data[j], c[j] = y, z
				want[j] = fmaOdd(a, y, z)
			}
			MatMul(c, PanelWidth, []float32{a}, 1, 1, w, 0, 1, true)
			requireSame(t, "fma", c, want)
		}
	})
}
