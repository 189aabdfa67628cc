package engine

import (
	"math"
	"math/rand/v2"
	"testing"
)

// ulps is the distance of two numbers in units of the last place of want.
func ulps(got, want float64) float64 {
	return math.Abs(got-want) / math.Abs(math.Nextafter(want, math.Inf(1))-want)
}

func TestExp(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100000 {
		x := rng.Float64()*1400 - 700
		if got, want := exp(x), math.Exp(x); ulps(got, want) > 3 {
			t.Fatalf("exp(%v) = %v, want %v", x, got, want)
		}
	}
	for x, want := range map[float64]float64{0: 1, -1000: 0, 1000: math.Inf(1), math.Inf(1): math.Inf(1), math.Inf(-1): 0} {
		if got := exp(x); got != want {
			t.Errorf("exp(%v) = %v, want %v", x, got, want)
		}
	}
	if got := exp(math.NaN()); !math.IsNaN(got) {
		t.Errorf("exp(NaN) = %v", got)
	}
}

func TestLog(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100000 {
		x := math.Exp(rng.Float64()*200 - 100)
		if got, want := log(x), math.Log(x); ulps(got, want) > 3 && math.Abs(got-want) > 1e-16 {
			t.Fatalf("log(%v) = %v, want %v", x, got, want)
		}
	}
	if got := log(1); got != 0 {
		t.Errorf("log(1) = %v", got)
	}
}

func TestSincos(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 200000 {
		x := rng.Float64() * 131072
		if i%2 == 0 {
			x = rng.Float64()*40 - 20
		}
		sin, cos := sincos(x)
		wantSin, wantCos := math.Sincos(x)
		if math.Abs(sin-wantSin) > 4e-16 || math.Abs(cos-wantCos) > 4e-16 {
			t.Fatalf("sincos(%v) = %v, %v, want %v, %v", x, sin, cos, wantSin, wantCos)
		}
	}
	if sin, cos := sincos(0); sin != 0 || cos != 1 {
		t.Errorf("sincos(0) = %v, %v", sin, cos)
	}
}
