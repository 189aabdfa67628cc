package prune

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		level, name string
		sparsity    float64
	}{
		{"magnitude-0.50", "magnitude-0.50", 0.5},
		{"magnitude-0.5", "magnitude-0.50", 0.5},
		{"sparsegpt-0.4271", "sparsegpt-0.4271", 0.4271},
		{"sparsegpt-0.123456", "sparsegpt-0.123456", 0.123456},
		{"sparsegpt-0", "sparsegpt-0.00", 0},
		{"sparsegpt-1", "sparsegpt-1.00", 1},
		{"magnitude-1.000000", "magnitude-1.00", 1},
		{"magnitude-0.000001", "magnitude-0.000001", 0.000001},
		{"wanda-0.5", "wanda-0.50", 0.5},
		{"sparsegpt-2:4", "sparsegpt-2:4", 0.5},
		{"wanda-1:4", "wanda-1:4", 0.75},
		{"magnitude-4:8", "magnitude-4:8", 0.5},
	} {
		s, err := Parse(c.level)
		if err != nil {
			t.Errorf("%s: %v", c.level, err)
			continue
		}
		if s.String() != c.name || s.Sparsity() != c.sparsity {
			t.Errorf("%s: got %v with sparsity %v", c.level, s, s.Sparsity())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, level := range []string{
		"", "magnitude", "magnitude-", "-0.5", "random-0.5", "sparsegpt-2:4:8", "sparsegpt-4:4", "sparsegpt-0:4", "sparsegpt-2:5", "sparsegpt-02:4", "sparsegpt-2:", "wanda-2:64", "sparsegpt-0.5-sym", "sparsegpt-0.5 ", "sparsegpt--0.5", "sparsegpt-+0.5",
		"sparsegpt-.5", "sparsegpt-0.", "sparsegpt-00.5", "sparsegpt-1.000001", "sparsegpt-2", "sparsegpt-0.1234567", "sparsegpt-5e-1",
		"sparsegpt-0,5", "sparsegpt-0x1", "sparsegpt-NaN", "SparseGPT-0.5", "sparsegpt-0.5.5", "sparsegpt-0.-5", "sparsegpt-1_0",
	} {
		if s, err := Parse(level); err == nil {
			t.Errorf("%q parsed as %v", level, s)
		} else if !strings.Contains(err.Error(), `"`) {
			t.Errorf("%q: the error does not name it: %v", level, err)
		}
	}
}

func TestNamesRoundTrip(t *testing.T) {
	for m := 0; m <= one; m += 1 + m%977 {
		s, err := New(SparseGPT, m)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(s.String()); err != nil || back != s {
			t.Fatalf("%v came back as %v, %v", s, back, err)
		}
	}
	for _, m := range []int{-1, one + 1} {
		if _, err := New(Magnitude, m); err == nil {
			t.Errorf("%d millionths: no error", m)
		}
	}
}

func TestZerosIsRoundedExactly(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		n := int(r.Int64N(1 << r.IntN(40)))
		s, err := New(Magnitude, r.IntN(one+1))
		if err != nil {
			t.Fatal(err)
		}
		want := new(big.Int).Mul(big.NewInt(int64(n)), big.NewInt(int64(s.millionths)))
		want.Add(want, big.NewInt(one/2)).Div(want, big.NewInt(one))
		if got := s.Zeros(n); int64(got) != want.Int64() || math.Abs(float64(got)-s.Sparsity()*float64(n)) > 0.51 {
			t.Fatalf("%v of %d: %d, want %v", s, n, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("sparsegpt-0.50")
	f.Add("magnitude-0.123456")
	f.Fuzz(func(t *testing.T, level string) {
		s, err := Parse(level)
		if err != nil {
			return
		}
		if back, err := Parse(s.String()); err != nil || back != s || s.Sparsity() < 0 || s.Sparsity() > 1 {
			t.Fatalf("%q is %v, which comes back as %v, %v", level, s, back, err)
		}
	})
}
