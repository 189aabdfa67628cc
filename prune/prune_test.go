package prune

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
	"github.com/paretopress/paretopress/internal/obs/obstest"
)

func build(t testing.TB, level string, w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, []float32) {
	t.Helper()
	s, err := Parse(level)
	if err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(w)
	p, err := s.Build(w, rows, cols, f)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w, before) {
		t.Fatal("Build changed the weights")
	}
	if p.Bytes() != s.Bytes(rows, cols) {
		t.Errorf("%v of %d x %d has %d bytes, foretold were %d", s, rows, cols, p.Bytes(), s.Bytes(rows, cols))
	}
	if want := rows*cols - s.Zeros(rows*cols); p.NNZ() != int64(want) {
		t.Errorf("%v of %d x %d keeps %d weights, want %d", s, rows, cols, p.NNZ(), want)
	}
	got := make([]float32, rows*cols)
	p.DecodeRows(0, rows, got)
	return p, got
}

// f16 rounds to 16 bits.
func f16(v float32) float32 { return kernel.DecodeF16(kernel.EncodeF16(v)) }

func TestKeepLargest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		n := 1 + r.IntN(200)
		keys := make([]uint32, n)
		for i := range keys {
			keys[i] = r.Uint32() >> (1 + r.IntN(31)) // many ties
		}
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(keys[a], keys[b]) })
		for _, k := range []int{0, 1, r.IntN(n + 1), n - 1, n} {
			keep := make([]bool, n)
			keepLargest(keep, keys, k)
			for rank, i := range order {
				if keep[i] != (rank >= k) {
					t.Fatalf("of %v, %d removed: element %d of rank %d is kept: %v", keys, k, i, rank, keep[i])
				}
			}
		}
	}
}

func TestMagnitudeRemovesTheSmallest(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, shape := range [][2]int{{1, 1}, {3, 5}, {17, 9}, {20, 130}} {
		rows, cols := shape[0], shape[1]
		w := obstest.Weights(r, rows*cols)
		sorted := make([]float64, len(w))
		for i, v := range w {
			sorted[i] = math.Abs(float64(v))
		}
		slices.Sort(sorted)
		for _, s := range []string{"0", "0.1", "0.333333", "0.50", "0.9", "1"} {
			p, got := build(t, "magnitude-"+s, w, rows, cols, nil)
			cut := len(w) - int(p.NNZ())
			for i, v := range w {
				removed := cut > 0 && math.Abs(float64(v)) <= sorted[cut-1]
				if want := f16(v); removed && got[i] != 0 || !removed && got[i] != want {
					t.Fatalf("%s: weight %v became %v", s, v, got[i])
				}
			}
		}
	}
}

func TestTiesGoByPosition(t *testing.T) {
	w := []float32{1, -1, 1, -1, 1, -1}
	_, got := build(t, "magnitude-0.5", w, 2, 3, nil)
	if want := []float32{0, 0, 0, -1, 1, -1}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// reference is SparseGPT as the paper writes it, in float64: the inverse of the Hessian of the columns
// that are left is updated after each column, and the mask of a block of 128 is chosen at its start.
func reference(s Spec, w []float32, g []float32, rows, cols int) (stored []float64, keep []bool) {
	h := mat.NewSymDense(cols, nil)
	mean := 0.0
	x := make([]float64, len(w))
	for i, v := range w {
		x[i] = float64(v)
	}
	for j := range cols {
		for k := range j + 1 {
			h.SetSym(k, j, 2/float64(obstest.Tokens)*float64(g[k*cols+j]))
		}
		if h.At(j, j) == 0 {
			h.SetSym(j, j, 1)
			for i := range rows {
				x[i*cols+j] = 0
			}
		}
		mean += h.At(j, j) / float64(cols)
	}
	for j := range cols {
		h.SetSym(j, j, h.At(j, j)+0.01*mean)
	}
	var inv mat.Dense
	if err := inv.Inverse(h); err != nil {
		panic(err)
	}
	// The diagonal element of a column once those before it are gone.
	diag := make([]float64, cols)
	steps := make([]*mat.Dense, cols)
	for j := range cols {
		steps[j] = mat.DenseCopyOf(&inv)
		diag[j] = inv.At(j, j)
		for a := j + 1; a < cols; a++ {
			for b := j + 1; b < cols; b++ {
				inv.Set(a, b, inv.At(a, b)-steps[j].At(a, j)*steps[j].At(j, b)/diag[j])
			}
		}
	}
	keep = make([]bool, len(w))
	total := s.Zeros(len(w))
	share := func(col int) int { return int(math.Floor(float64(total)*float64(col)/float64(cols) + 0.5)) }
	for j := range cols {
		if j%128 == 0 {
			end := min(j+128, cols)
			var at []int
			for i := range rows {
				for k := j; k < end; k++ {
					at = append(at, i*cols+k)
					keep[i*cols+k] = true
				}
			}
			score := func(i int) float64 { return x[i] * x[i] / diag[i%cols] }
			slices.SortStableFunc(at, func(a, b int) int { return cmp.Compare(score(a), score(b)) })
			for _, i := range at[:share(end)-share(j)] {
				keep[i] = false
			}
		}
		for i := range rows {
			q := 0.0
			if keep[i*cols+j] {
				q = float64(f16(float32(x[i*cols+j])))
			}
			e := (x[i*cols+j] - q) / diag[j]
			for k := j + 1; k < cols; k++ {
				x[i*cols+k] -= e * steps[j].At(j, k)
			}
			x[i*cols+j] = q
		}
	}
	return x, keep
}

func TestSparseGPTIsThePapers(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, c := range []struct {
		rows, cols int
		dead       []int
	}{{3, 1, nil}, {4, 10, nil}, {5, 33, []int{7}}, {3, 128, nil}, {6, 150, []int{0, 149}}, {2, 260, nil}} {
		g := obstest.Gram(r, c.cols, c.dead...)
		f := obstest.Factor(t, g, c.cols)
		w := obstest.Weights(r, c.rows*c.cols)
		for _, level := range []string{"sparsegpt-0", "sparsegpt-0.25", "sparsegpt-0.5", "sparsegpt-0.77", "sparsegpt-1"} {
			t.Run(fmt.Sprintf("%dx%d/%s", c.rows, c.cols, level), func(t *testing.T) {
				s, _ := Parse(level)
				_, got := build(t, level, w, c.rows, c.cols, f)
				want, keep := reference(s, w, g, c.rows, c.cols)
				for i := range got {
					if (got[i] != 0) != (keep[i] && want[i] != 0) {
						t.Fatalf("weight %d is %v, want %v", i, got[i], want[i])
					}
					// Which way a weight is rounded may differ, by up to 2.4e-4 for those below 0.5, and
					// the weights after it make up for it.
					if d := math.Abs(float64(got[i]) - want[i]); d > 5e-4 {
						t.Fatalf("weight %d is %v, want %v", i, got[i], want[i])
					}
				}
			})
		}
	}
}

// TestBlocksShareTheZeros: each block of 128 columns gets its part, to within a weight.
func TestBlocksShareTheZeros(t *testing.T) {
	const rows, cols = 3, 300
	r := rand.New(rand.NewPCG(4, 4))
	f := obstest.Factor(t, obstest.Gram(r, cols), cols)
	for _, m := range []int{10_000, 427_100, 500_000, 999_999} {
		s, err := New(SparseGPT, m)
		if err != nil {
			t.Fatal(err)
		}
		_, got := build(t, s.String(), obstest.Weights(r, rows*cols), rows, cols, f)
		for first := 0; first < cols; first += columns {
			last := min(first+columns, cols)
			zeros := 0
			for i := range rows {
				for _, v := range got[i*cols+first : i*cols+last] {
					if v == 0 {
						zeros++
					}
				}
			}
			if due := s.Sparsity() * float64(rows*(last-first)); math.Abs(float64(zeros)-due) > 1.5 {
				t.Errorf("%v: columns %d to %d have %d zeros, want about %.1f", s, first, last, zeros, due)
			}
		}
	}
}

// outputError is tr(Δ·G·Δᵀ), the squared error of the output over all obstest.Tokens.
func outputError(w, q, g []float32, rows, cols int) float64 {
	sum := 0.0
	for i := range rows {
		for a := range cols {
			da := float64(w[i*cols+a]) - float64(q[i*cols+a])
			if da == 0 {
				continue
			}
			for b := range cols {
				sum += da * (float64(w[i*cols+b]) - float64(q[i*cols+b])) * float64(g[a*cols+b])
			}
		}
	}
	return sum
}

func TestSparseGPTBeatsMagnitude(t *testing.T) {
	const rows, cols = 24, 160
	r := rand.New(rand.NewPCG(5, 5))
	for _, s := range []string{"0.3", "0.5", "0.7", "0.9"} {
		var byMagnitude, bySparseGPT float64
		for range 3 {
			g, w := obstest.Gram(r, cols), obstest.Weights(r, rows*cols)
			_, m := build(t, "magnitude-"+s, w, rows, cols, nil)
			_, p := build(t, "sparsegpt-"+s, w, rows, cols, obstest.Factor(t, g, cols))
			byMagnitude += outputError(w, m, g, rows, cols)
			bySparseGPT += outputError(w, p, g, rows, cols)
		}
		t.Logf("sparsity %s: error of SparseGPT %.3f of magnitude's", s, bySparseGPT/byMagnitude)
		if bySparseGPT > 0.8*byMagnitude {
			t.Errorf("sparsity %s: SparseGPT errs by %v, magnitude by %v", s, bySparseGPT, byMagnitude)
		}
	}
}

func TestLargeWeightsAreStoredInBF16(t *testing.T) {
	w := []float32{70000, 1, -3e38, 0.001}
	f := obstest.Factor(t, []float32{4, 1, 1, 4}, 2)
	for _, level := range []string{"magnitude-0.25", "sparsegpt-0"} {
		p, got := build(t, level, w, 2, 2, f)
		if p.Format() != "bitmask-bf16" {
			t.Errorf("%s: stored as %s", level, p.Format())
		}
		if d := math.Abs(float64(got[0])/70000 - 1); d > 1.0/256 {
			t.Errorf("%s: 70000 became %v", level, got[0])
		}
	}
	if p, _ := build(t, "magnitude-0.5", []float32{70, 1, 65504, 65519}, 2, 2, nil); p.Format() != "bitmask-f16" {
		t.Errorf("weights within binary16 stored as %s", p.Format())
	}
}

func TestBuildRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	f := obstest.Factor(t, obstest.Gram(r, 3), 3)
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		level string
		w     []float32
		cols  int
		f     *obs.Factor
		want  string
	}{
		"NaN":         {"magnitude-0.5", []float32{1, 2, 3, 4, nan, 6}, 3, nil, "weight NaN in row 1, column 1"},
		"infinite":    {"sparsegpt-0.5", []float32{1, float32(math.Inf(1)), 3}, 3, f, "weight +Inf in row 0, column 1"},
		"no Hessian":  {"sparsegpt-0.5", []float32{1, 2, 3}, 3, nil, "needs calibration"},
		"other width": {"sparsegpt-0.5", []float32{1, 2}, 2, f, "has 3 columns"},
	} {
		s, _ := Parse(c.level)
		p, err := s.Build(c.w, len(c.w)/c.cols, c.cols, c.f)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.level) || p != nil {
			t.Errorf("%s: got %v, %v", name, p, err)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, shape := range [][2]int{{1536, 576}, {576, 1536}} {
		rows, cols := shape[0], shape[1]
		r := rand.New(rand.NewPCG(7, 7))
		g := make([]float32, cols*cols)
		for i := range cols {
			g[i*cols+i] = 1 + r.Float32()
			for j := range i {
				g[i*cols+j] = (r.Float32() - 0.5) / float32(cols)
				g[j*cols+i] = g[i*cols+j]
			}
		}
		f := obstest.Factor(b, g, cols)
		w := obstest.Weights(r, rows*cols)
		for _, level := range []string{"magnitude-0.50", "sparsegpt-0.50"} {
			s, err := Parse(level)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%dx%d", level, rows, cols), func(b *testing.B) {
				b.SetBytes(int64(4 * rows * cols))
				for b.Loop() {
					if _, err := s.Build(w, rows, cols, f); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
