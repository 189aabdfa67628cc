package prune

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/internal/obs/obstest"
)

// TestPatterns leaves exactly N of every M weights, those that a sort by the method's score would.
func TestPatterns(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 7))
	const rows, cols = 37, 160
	w, g := obstest.Weights(r, rows*cols), obstest.Gram(r, cols)
	f := obstest.Factor(t, g, cols)
	for _, c := range []struct {
		level    string
		keep, of int
	}{{"magnitude-2:4", 2, 4}, {"wanda-2:4", 2, 4}, {"sparsegpt-2:4", 2, 4}, {"wanda-1:8", 1, 8}, {"sparsegpt-5:8", 5, 8}, {"sparsegpt-1:32", 1, 32}} {
		_, got := build(t, c.level, w, rows, cols, f)
		for at := 0; at < len(w); at += c.of {
			left := 0
			for _, v := range got[at : at+c.of] {
				if v != 0 {
					left++
				}
			}
			if left != c.keep {
				t.Fatalf("%s leaves %d of %d from %d on", c.level, left, c.of, at)
			}
			if strings.HasPrefix(c.level, "sparsegpt") {
				continue // scores are of weights that have absorbed errors: see TestPatternedFeedback
			}
			order := make([]int, c.of)
			for i := range order {
				order[i] = at + i
			}
			score := func(i int) float64 {
				x := math.Abs(float64(w[i]))
				if strings.HasPrefix(c.level, "wanda") {
					x *= math.Sqrt(f.MeanSquares()[i%cols])
				}
				return x
			}
			slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(score(a), score(b)) })
			for rank, i := range order {
				if kept := got[i] != 0; kept != (rank >= c.of-c.keep) || kept && got[i] != f16(w[i]) {
					t.Fatalf("%s: weight %d of rank %d is %v, was %v", c.level, i, rank, got[i], w[i])
				}
			}
		}
	}
}

// TestPatternedFeedback: with feedback the outputs err less than without, and with a score that knows the inputs less than without one.
func TestPatternedFeedback(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 8))
	const rows, cols = 64, 256
	w, g := obstest.Weights(r, rows*cols), obstest.Gram(r, cols)
	f := obstest.Factor(t, g, cols)
	errs := map[string]float64{}
	for _, method := range []string{"magnitude", "wanda", "sparsegpt"} {
		for _, sparsity := range []string{"2:4", "0.50"} {
			_, got := build(t, method+"-"+sparsity, w, rows, cols, f)
			errs[method+"-"+sparsity] = outputError(w, got, g, rows, cols)
		}
	}
	for _, s := range []string{"2:4", "0.50"} {
		if !(errs["wanda-"+s] < errs["magnitude-"+s]) || !(errs["sparsegpt-"+s] < 0.8*errs["wanda-"+s]) {
			t.Errorf("errors of outputs: %v", errs)
		}
	}
}

// TestWandaRows removes as many of each row, to one.
func TestWandaRows(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 9))
	const rows, cols = 7, 50
	w := obstest.Weights(r, rows*cols)
	f := obstest.Factor(t, obstest.Gram(r, cols), cols)
	for _, level := range []string{"wanda-0.43", "wanda-0.00", "wanda-1.00"} {
		s, err := Parse(level)
		if err != nil {
			t.Fatal(err)
		}
		_, got := build(t, level, w, rows, cols, f)
		for i := range rows {
			zeros := 0
			for _, v := range got[i*cols:][:cols] {
				if v == 0 {
					zeros++
				}
			}
			if want := s.Sparsity() * cols; math.Abs(float64(zeros)-want) >= 1 {
				t.Errorf("%s removes %d of row %d, want about %v", level, zeros, i, want)
			}
		}
	}
}

func TestPatternFits(t *testing.T) {
	s, err := Parse("sparsegpt-2:4")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Build(make([]float32, 30), 3, 10, nil); err == nil || !strings.Contains(err.Error(), "multiple of 4 weights, not 10") {
		t.Errorf("error %v", err)
	}
	if s.Fits(3, 12) != nil || s.Bytes(2, 16) != 2*2+2*16 {
		t.Errorf("%d bytes", s.Bytes(2, 16))
	}
	if keep, of, ok := s.Pattern(); keep != 2 || of != 4 || !ok {
		t.Error("another pattern")
	}
}
