package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestTrials holds every variant to the definition, to the bit, with integers and with tables, for weights on and between the integers, large ones, and
// scales that make infinities and NaN.
func TestTrials(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(6, 2))
		table := new([512]float64)
		for i := range table {
			table[i] = r.NormFloat64()
		}
		for round := range 500 {
			n := r.IntN(70)
			x, v := make([]float64, n), make([]float64, n)
			for i := range x {
				x[i], v[i] = r.NormFloat64(), r.ExpFloat64()
				if r.IntN(8) == 0 {
					x[i] = float64(r.IntN(9)-4) / 2
				}
			}
			trials := Trials{Low: -float64(r.IntN(127)), Top: float64(r.IntN(127))}
			if round%2 == 1 {
				trials.Table = table
			}
			for j := range 8 {
				trials.Scale[j] = []float64{1, 0.5, 1e-3 * r.NormFloat64(), -r.ExpFloat64(), math.Inf(1), 0}[r.IntN(6)]
				trials.Inverse[j] = 1 / trials.Scale[j]
				if r.IntN(2) == 0 {
					trials.Offset[j] = r.NormFloat64()
				}
			}
			var fit, wantFit [3][8]float64
			var err, wantErr [8]float64
			trials.Fit(&fit, x, v)
			trials.Err(&err, x, v)
			fitTrialsGo(&trials, &wantFit, x, v)
			errTrialsGo(&trials, &wantErr, x, v)
			same := func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b }
			for j := range 8 {
				for s := range fit {
					if !same(fit[s][j], wantFit[s][j]) {
						t.Fatalf("round %d, trial %d: sum %d is %v, want %v", round, j, s, fit[s][j], wantFit[s][j])
					}
				}
				if !same(err[j], wantErr[j]) {
					t.Fatalf("round %d, trial %d: error %v, want %v", round, j, err[j], wantErr[j])
				}
			}
		}
	})
}

func BenchmarkTrials(b *testing.B) {
	x, v := make([]float64, 32), make([]float64, 32)
	for i := range x {
		x[i], v[i] = rand.NormFloat64(), rand.Float64()
	}
	trials := Trials{Low: -8, Top: 7}
	var sums [3][8]float64
	b.SetBytes(8 * 32)
	for b.Loop() {
		trials.Fit(&sums, x, v)
	}
}
