package obs

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// TestInverseCholesky checks L⁻¹·A·L⁻ᵀ = I, at sizes around those of panels and blocks, and that nothing above the diagonal is read.
func TestInverseCholesky(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for _, n := range []int{1, 2, 15, 16, 17, 63, 64, 65, 79, 128, 130, 200} {
		x := mat.NewDense(n, n+5, nil)
		for i := range n {
			for j := range n + 5 {
				x.Set(i, j, r.NormFloat64())
			}
		}
		var spd mat.Dense
		spd.Mul(x, x.T())
		for i := range n { // damped as a Hessian is: condition numbers stay in the thousands
			spd.Set(i, i, spd.At(i, i)+0.01*float64(n))
		}
		ld := n + 3
		a := make([]float64, n*ld)
		for i := range a {
			a[i] = math.NaN()
		}
		for i := range n {
			for j := range i + 1 {
				a[i*ld+j] = spd.At(i, j)
			}
		}
		got, ok := inverseCholesky(a, n, ld)
		if !ok {
			t.Fatalf("%d columns: not positive definite", n)
		}
		inverse := mat.NewDense(n, n, nil)
		for i := range n {
			for j := range n {
				v := got[(j/width64*n+i)*width64+j%width64]
				if inverse.Set(i, j, v); j > i && v != 0 {
					t.Fatalf("%d columns: %v above the diagonal", n, v)
				}
			}
			if !(inverse.At(i, i) > 0) {
				t.Fatalf("%d columns: %v on the diagonal", n, inverse.At(i, i))
			}
		}
		var p mat.Dense
		p.Mul(inverse, &spd)
		p.Mul(&p, inverse.T())
		for i := range n {
			p.Set(i, i, p.At(i, i)-1)
		}
		// 2^-53 times the condition number and the square root of some hundred additions.
		if off := mat.Max(&p) - mat.Min(&p); off > 1e-10 {
			t.Errorf("%d columns: off by %.1e", n, off)
		}
	}
}

// TestInverseCholeskyFindsPivots makes a matrix that stops being positive definite in each of its columns.
func TestInverseCholeskyFindsPivots(t *testing.T) {
	const n = 150
	for bad := range n {
		for _, v := range []float64{0, -1, 0.99, math.NaN(), math.Inf(1)} {
			a := make([]float64, n*n)
			for i := range n { // L is the identity and a column of ones
				a[i*n+i] = 2
				a[i*n] = 1
				for j := 1; j < i; j++ {
					a[i*n+j] = 1
				}
			}
			a[0] = 1
			a[bad*n+bad] = v
			if bad == 0 && v == 0.99 {
				continue // still positive definite
			}
			if _, ok := inverseCholesky(a, n, n); ok {
				t.Fatalf("%v in column %d is taken", v, bad)
			}
		}
	}
}
