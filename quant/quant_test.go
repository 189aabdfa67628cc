package quant

import (
	"bytes"
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
	got := make([]float32, rows*cols)
	p.DecodeRows(0, rows, got)
	return p, got
}

// eachLevel calls f with layouts of every kind.
func eachLevel(f func(suffix string)) {
	for bits := 2; bits <= 8; bits++ {
		for _, group := range []string{"g1", "g7", "g16", "g64", "g96", "g200", "gall"} {
			for _, sym := range []string{"", "-sym"} {
				f(fmt.Sprintf("%db-%s%s", bits, group, sym))
			}
		}
	}
}

// naiveGrid is the quantizer of a group by its formulas, in float64.
func naiveGrid(l kernel.Layout, group []float64) (scale, zero float64) {
	low, high := 0.0, 0.0
	for _, v := range group {
		low, high = min(low, v), max(high, v)
	}
	if l.Symmetric {
		high = max(high, -low)
		low = -high
	}
	if low == high {
		low, high = -1, 1
	}
	top := math.Exp2(float64(l.Bits)) - 1
	scale = float64(kernel.DecodeF16(kernel.EncodeF16(float32((high - low) / top))))
	if l.Symmetric {
		return scale, math.Exp2(float64(l.Bits - 1))
	}
	return scale, min(max(math.RoundToEven(-low/scale), 0), top)
}

func naiveRound(l kernel.Layout, v, scale, zero float64) float64 {
	q := min(max(math.RoundToEven(v/scale)+zero, 0), math.Exp2(float64(l.Bits))-1)
	return scale * (q - zero)
}

func TestRTNIsItsFormula(t *testing.T) {
	const rows, cols = 5, 130
	r := rand.New(rand.NewPCG(1, 1))
	w := obstest.Weights(r, rows*cols)
	for j := range cols { // a row of each sign and one of zeros
		w[cols+j] = float32(math.Abs(float64(w[cols+j])))
		w[2*cols+j] = -float32(math.Abs(float64(w[2*cols+j])))
		w[3*cols+j] = 0
	}
	eachLevel(func(suffix string) {
		s, _ := Parse("rtn-" + suffix)
		_, got := build(t, "rtn-"+suffix, w, rows, cols, nil)
		layout, _ := s.Layout()
		span := layout.Span(cols)
		for i := range rows {
			for first := 0; first < cols; first += span {
				var group []float64
				for _, v := range w[i*cols+first : i*cols+min(first+span, cols)] {
					group = append(group, float64(v))
				}
				scale, zero := naiveGrid(layout, group)
				for j, v := range group {
					want := naiveRound(layout, v, scale, zero)
					// A quotient in float32 may fall on the other side of a tie.
					tie := math.Abs(math.Abs(v/scale-math.Floor(v/scale))-0.5) < 1e-4
					if g := float64(got[i*cols+first+j]); math.Abs(g-want) > 1e-6*scale && !(tie && math.Abs(g-want) < 1.001*scale) {
						t.Fatalf("%v: row %d, column %d: %v became %v, want %v", s, i, first+j, v, g, want)
					}
				}
			}
		}
	})
}

func TestZeroStaysZero(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	w := obstest.Weights(r, 4*64)
	for i := range w {
		if i%3 == 0 {
			w[i] = 0
		}
	}
	eachLevel(func(suffix string) {
		_, got := build(t, "rtn-"+suffix, w, 4, 64, nil)
		for i, v := range w {
			if v == 0 && got[i] != 0 {
				t.Fatalf("rtn-%s: 0 became %v", suffix, got[i])
			}
		}
	})
}

// TestGPTQWithDiagonalHessianIsRTN: with independent inputs nothing can be made up for.
func TestGPTQWithDiagonalHessianIsRTN(t *testing.T) {
	const rows, cols = 6, 210
	r := rand.New(rand.NewPCG(3, 3))
	g := make([]float32, cols*cols)
	for j := range cols {
		g[j*cols+j] = float32(math.Exp(4 * r.NormFloat64()))
	}
	f := obstest.Factor(t, g, cols)
	w := obstest.Weights(r, rows*cols)
	eachLevel(func(suffix string) {
		a, _ := build(t, "rtn-"+suffix, w, rows, cols, nil)
		b, _ := build(t, "gptq-"+suffix, w, rows, cols, f)
		for i, p := range a.Parts() {
			if !bytes.Equal(p.Data, b.Parts()[i].Data) {
				t.Errorf("%s: %s differ between RTN and GPTQ", suffix, p.Name)
			}
		}
	})
}

// reference is GPTQ as the papers write it, in float64: column by column, with the inverse of the
// Hessian of the columns that are left updated after each, and the grid of a group set when it is
// reached.
func reference(l kernel.Layout, w []float32, g []float32, rows, cols int) []float64 {
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
	scale, zero := make([]float64, rows), make([]float64, rows)
	span := l.Span(cols)
	for j := range cols {
		now := mat.DenseCopyOf(&inv)
		d := now.At(j, j)
		for i := range rows {
			row := x[i*cols : (i+1)*cols]
			if j%span == 0 {
				scale[i], zero[i] = naiveGrid(l, row[j:min(j+span, cols)])
			}
			q := naiveRound(l, row[j], scale[i], zero[i])
			e := (row[j] - q) / d
			for k := j + 1; k < cols; k++ {
				row[k] -= e * now.At(j, k)
			}
			row[j] = q
		}
		for a := j + 1; a < cols; a++ {
			for b := j + 1; b < cols; b++ {
				inv.Set(a, b, now.At(a, b)-now.At(a, j)*now.At(j, b)/d)
			}
		}
	}
	return x
}

// TestGPTQIsThePapers compares with float64. Where a weight lies so close to a tie that float32 rounds
// it to the other side, the rest of its row goes another way: few rows may.
func TestGPTQIsThePapers(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	total, other := 0, 0
	for _, c := range []struct {
		rows, cols int
		dead       []int
	}{{4, 1, nil}, {4, 20, nil}, {5, 64, []int{9}}, {6, 150, []int{0, 149}}, {4, 300, nil}} {
		g := obstest.Gram(r, c.cols, c.dead...)
		f := obstest.Factor(t, g, c.cols)
		w := obstest.Weights(r, c.rows*c.cols)
		for _, suffix := range []string{"2b-g16", "3b-g64", "4b-g128", "3b-gall", "4b-g96", "3b-g20", "8b-g200", "3b-g64-sym", "5b-g7-sym"} {
			s, _ := Parse("gptq-" + suffix)
			_, got := build(t, "gptq-"+suffix, w, c.rows, c.cols, f)
			layout, _ := s.Layout()
			want := reference(layout, w, g, c.rows, c.cols)
			for i := range c.rows {
				total++
				for j := range c.cols {
					if d := math.Abs(float64(got[i*c.cols+j]) - want[i*c.cols+j]); d > 1e-6 {
						t.Logf("%v, %d x %d: row %d parts at column %d", s, c.rows, c.cols, i, j)
						other++
						break
					}
				}
			}
		}
	}
	if other*20 > total {
		t.Errorf("%d of %d rows differ", other, total)
	}
}

// outputError is tr(Δ·G·Δᵀ), the squared error of the output over all obstest.Tokens.
func outputError(w, q, g []float32, rows, cols int) float64 {
	sum := 0.0
	for i := range rows {
		for a := range cols {
			da := float64(w[i*cols+a]) - float64(q[i*cols+a])
			for b := range cols {
				sum += da * (float64(w[i*cols+b]) - float64(q[i*cols+b])) * float64(g[a*cols+b])
			}
		}
	}
	return sum
}

func TestGPTQBeatsRTN(t *testing.T) {
	const rows, cols = 24, 160
	r := rand.New(rand.NewPCG(5, 5))
	for _, suffix := range []string{"2b-g32", "3b-g64", "4b-g128", "3b-gall", "4b-g64-sym"} {
		var byRTN, byGPTQ float64
		for range 3 {
			g, w := obstest.Gram(r, cols), obstest.Weights(r, rows*cols)
			_, a := build(t, "rtn-"+suffix, w, rows, cols, nil)
			_, b := build(t, "gptq-"+suffix, w, rows, cols, obstest.Factor(t, g, cols))
			byRTN += outputError(w, a, g, rows, cols)
			byGPTQ += outputError(w, b, g, rows, cols)
		}
		t.Logf("%s: error of GPTQ %.3f of RTN's", suffix, byGPTQ/byRTN)
		if byGPTQ > 0.8*byRTN {
			t.Errorf("%s: GPTQ errs by %v, RTN by %v", suffix, byGPTQ, byRTN)
		}
	}
}

// TestMoreBitsErrLess, for both methods.
func TestMoreBitsErrLess(t *testing.T) {
	const rows, cols = 16, 96
	r := rand.New(rand.NewPCG(6, 6))
	g, w := obstest.Gram(r, cols), obstest.Weights(r, rows*cols)
	f := obstest.Factor(t, g, cols)
	for _, method := range []string{"rtn", "gptq"} {
		last := math.Inf(1)
		for bits := 2; bits <= 8; bits++ {
			_, q := build(t, fmt.Sprintf("%s-%db-g32", method, bits), w, rows, cols, f)
			e := outputError(w, q, g, rows, cols)
			if e >= last {
				t.Errorf("%s: %d bits err by %v, one bit less by %v", method, bits, e, last)
			}
			last = e
		}
	}
}

func TestExtremeWeights(t *testing.T) {
	// Scales below the smallest binary16 number: the weights become 0, not NaN.
	if _, got := build(t, "rtn-4b-g4", []float32{1e-12, -1e-12, 1e-30, 0}, 1, 4, nil); !slices.Equal(got, make([]float32, 4)) {
		t.Errorf("tiny weights became %v", got)
	}
	// The range itself overflows float32.
	s, _ := Parse("rtn-2b-g4")
	if p, err := s.Build([]float32{3e38, -3e38, 0, 0}, 1, 4, nil); err == nil || p != nil || !strings.Contains(err.Error(), "columns 0 to 3") {
		t.Errorf("huge weights: got %v, %v", p, err)
	}
	_, got := build(t, "rtn-8b-g4", []float32{8e6, -8e6, 1, 0}, 1, 4, nil)
	if math.Abs(float64(got[0])/8e6-1) > 0.01 {
		t.Errorf("8e6 became %v", got[0])
	}
}

func TestBuildRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	f := obstest.Factor(t, obstest.Gram(r, 3), 3)
	for name, c := range map[string]struct {
		level string
		w     []float32
		cols  int
		f     *obs.Factor
		want  string
	}{
		"NaN":         {"rtn-4b-g64", []float32{1, 2, 3, 4, float32(math.NaN()), 6}, 3, nil, "weight NaN in row 1, column 1"},
		"infinite":    {"gptq-4b-g64", []float32{1, float32(math.Inf(1)), 3}, 3, f, "weight +Inf in row 0, column 1"},
		"no Hessian":  {"gptq-4b-g64", []float32{1, 2, 3}, 3, nil, "needs calibration"},
		"other width": {"gptq-4b-g64", []float32{1, 2}, 2, f, "has 3 columns"},
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
		r := rand.New(rand.NewPCG(8, 8))
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
		for _, level := range []string{"rtn-4b-g64", "gptq-3b-g64"} {
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

// TestEveryVariantBuildsTheSame, so that a bank does not depend on the machine's vector unit.
func TestEveryVariantBuildsTheSame(t *testing.T) {
	const rows, cols = 40, 180
	active := kernel.Active()
	t.Cleanup(func() {
		if err := kernel.Use(active); err != nil {
			t.Error(err)
		}
	})
	r := rand.New(rand.NewPCG(9, 9))
	f, w := obstest.Factor(t, obstest.Gram(r, cols), cols), obstest.Weights(r, rows*cols)
	var want kernel.Packed
	for _, variant := range kernel.Variants() {
		if err := kernel.Use(variant); err != nil {
			t.Fatal(err)
		}
		got, _ := build(t, "gptq-3b-g64", w, rows, cols, f)
		if want == nil {
			want = got
		}
		for i, p := range got.Parts() {
			if !bytes.Equal(p.Data, want.Parts()[i].Data) {
				t.Errorf("%s: %s differ from those of %s", variant, p.Name, kernel.Variants()[0])
			}
		}
	}
}
