// Package obstest makes calibration data for the tests of operators that prune or quantize with [obs].
package obstest

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
)

// Tokens is the number of inputs that [Gram] sums over.
const Tokens = 256

// Gram returns Σ x·xᵀ, cols x cols, over correlated inputs of unequal sizes, with zeros in dead columns.
func Gram(r *rand.Rand, cols int, dead ...int) []float32 {
	g := make([]float32, cols*cols)
	x := make([]float64, cols)
	for range Tokens {
		common := r.NormFloat64()
		for j := range x {
			x[j] = (common + r.NormFloat64()) * (0.3 + float64(j%5))
		}
		for _, j := range dead {
			x[j] = 0
		}
		for i := range x {
			for j := range x {
				g[i*cols+j] += float32(x[i] * x[j])
			}
		}
	}
	return g
}

// Factor returns the factor of a Gram matrix, which must not fail.
func Factor(t testing.TB, g []float32, cols int) *obs.Factor {
	t.Helper()
	f, err := obs.New(g, cols, Tokens)
	if err != nil || f.Failure() != nil {
		t.Fatal(err, f.Failure())
	}
	return f
}

// Weights returns n normal weights.
func Weights(r *rand.Rand, n int) []float32 {
	w := make([]float32, n)
	for i := range w {
		w[i] = float32(0.1 * r.NormFloat64())
	}
	return w
}

// Digest is the SHA-256 of a level of a random matrix of 48 rows, built by an operator. The matrix and its Gram matrix are
// made in integers, so that they are the same on every architecture: what the digest holds is the operator.
func Digest(t testing.TB, cols int, build func(w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, error)) string {
	t.Helper()
	const rows = 48
	r := rand.New(rand.NewPCG(5, 8))
	w := make([]float32, rows*cols)
	for i := range w {
		w[i] = float32(r.IntN(2001)-1000) / 8192
	}
	gram := make([]float32, cols*cols)
	x := make([]int, cols)
	for range Tokens {
		common := r.IntN(41) - 20
		for j := range x {
			x[j] = (common + r.IntN(41) - 20) * (1 + j%3)
		}
		for i := range x {
			for j := range x {
				gram[i*cols+j] += float32(x[i] * x[j]) // below 2^24: no rounding
			}
		}
	}
	p, err := build(w, rows, cols, Factor(t, gram, cols))
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, part := range p.Parts() {
		h.Write(part.Data)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
