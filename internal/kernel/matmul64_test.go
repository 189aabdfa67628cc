package kernel

import (
	"fmt"
	"math"
	"testing"
)

// TestSubMatMul64 compares with the definition in every variant, with canaries around C and NaN wherever nothing may be read.
func TestSubMatMul64(t *testing.T) {
	nan := math.NaN()
	eachVariant(t, func(t *testing.T) {
		r := newSource(21)
		for _, m := range []int{1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 23, 64} {
			for _, k := range []int{1, 2, 5, 16, 63, blockK64 - 1, blockK64 + 3} {
				lda, ldc := k+r.IntN(3), PanelWidth64+r.IntN(3)
				offset := r.IntN(8)
				a := make([]float64, offset+m*lda)
				for i := range a {
					if a[i] = nan; i >= offset && (i-offset)%lda < k {
						a[i] = r.NormFloat64()
					}
				}
				b := make([]float64, offset+k*PanelWidth64)
				for i := range b {
					b[i] = r.NormFloat64()
				}
				c := make([]float64, offset+m*ldc+8)
				for i := range c {
					c[i] = r.NormFloat64()
				}
				want := make([]float64, len(c))
				copy(want, c)
				for i := range m {
					for j := range PanelWidth64 {
						at := offset + i*ldc + j
						for l := range k {
							want[at] = math.FMA(-a[offset+i*lda+l], b[offset+l*PanelWidth64+j], want[at])
						}
					}
				}
				// The last rows of a and c end where their numbers do.
				SubMatMul64(c[offset:offset+(m-1)*ldc+PanelWidth64], ldc, a[offset:offset+(m-1)*lda+k], lda, m, b[offset:], k)
				for i := range want {
					if math.Float64bits(c[i]) != math.Float64bits(want[i]) {
						t.Fatalf("%d x %d, element %d: %v, want %v", m, k, i-offset, c[i], want[i])
					}
				}
			}
		}
	})
}

func TestSubMatMul64Shapes(t *testing.T) {
	x := make([]float64, 64)
	SubMatMul64(nil, 16, nil, 1, 0, nil, 1)
	SubMatMul64(nil, 16, nil, 1, 1, nil, 0)
	mustPanic(t, "short A", func() { SubMatMul64(x, 16, x[:3], 2, 2, x, 2) })
	mustPanic(t, "short B", func() { SubMatMul64(x, 16, x, 2, 2, x[:31], 2) })
	mustPanic(t, "short C", func() { SubMatMul64(x[:31], 16, x, 2, 2, x, 2) })
	mustPanic(t, "overlapping rows", func() { SubMatMul64(x, 15, x, 2, 2, x, 2) })
}

func BenchmarkSubMatMul64(b *testing.B) {
	before := Active()
	defer func() {
		if err := Use(before); err != nil {
			b.Fatal(err)
		}
	}()
	const m, k = 64, 768
	a, p, c := make([]float64, m*(k+8)), make([]float64, k*PanelWidth64), make([]float64, m*PanelWidth64)
	for _, name := range Variants() {
		b.Run(fmt.Sprintf("%s/%dx%dx%d", name, m, PanelWidth64, k), func(b *testing.B) {
			if err := Use(name); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				SubMatMul64(c, PanelWidth64, a, k+8, m, p, k)
			}
			b.ReportMetric(2*m*k*PanelWidth64*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
