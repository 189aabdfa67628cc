package obs

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/paretopress/paretopress/internal/kernel"
)

// gram returns Σ x·xᵀ over correlated inputs, with zeros in dead columns.
func gram(r *rand.Rand, cols, tokens int, dead ...int) []float32 {
	g := make([]float32, cols*cols)
	x := make([]float64, cols)
	for range tokens {
		common := r.NormFloat64()
		for j := range x {
			x[j] = (common + r.NormFloat64()) * (0.2 + float64(j%7))
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

func randomWeights(r *rand.Rand, n int) []float32 {
	w := make([]float32, n)
	for i := range w {
		w[i] = float32(r.NormFloat64())
	}
	return w
}

// damped is H by its definition.
func damped(g []float32, cols, tokens int) *mat.SymDense {
	h := mat.NewSymDense(cols, nil)
	mean := 0.0
	for i := range cols {
		for j := range cols {
			h.SetSym(i, j, 2/float64(tokens)*float64(g[min(i, j)*cols+max(i, j)]))
		}
		if h.At(i, i) == 0 {
			h.SetSym(i, i, 1)
		}
		mean += h.At(i, i) / float64(cols)
	}
	for i := range cols {
		h.SetSym(i, i, h.At(i, i)+0.01*mean)
	}
	return h
}

func TestFactorIsTheCholeskyFactorOfTheInverse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		cols, tokens int
		dead         []int
	}{{1, 3, nil}, {2, 5, nil}, {7, 20, []int{3}}, {33, 10, []int{0, 32}}, {64, 200, nil}, {193, 40, []int{64}}, {100, 5, nil}, {3, 4, []int{0, 1, 2}}} {
		g := gram(r, c.cols, c.tokens, c.dead...)
		u, err := newHessian(g, c.cols, c.tokens).factor()
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.cols {
			for j := range i {
				u[i*c.cols+j] = 0 // what lies below the diagonal is not part of U
			}
		}
		// UᵀU·H = I
		um := mat.NewDense(c.cols, c.cols, u)
		var p mat.Dense
		p.Mul(um.T(), um)
		p.Mul(&p, damped(g, c.cols, c.tokens))
		for i := range c.cols {
			for j := range c.cols {
				want := 0.0
				if i == j {
					want = 1
				}
				if d := math.Abs(p.At(i, j) - want); d > 1e-9 {
					t.Fatalf("%d columns: UᵀU·H has %v in row %d, column %d", c.cols, p.At(i, j), i, j)
				}
			}
		}
		f, err := New(g, c.cols, c.tokens)
		if err != nil || f.Failure() != nil {
			t.Fatal(err, f.Failure())
		}
		if !slices.Equal(f.Dead(), c.dead) {
			t.Errorf("dead columns %v, want %v", f.Dead(), c.dead)
		}
		for i := range c.cols {
			for j := i; j < c.cols; j++ {
				stripe := f.stripes[j/stripe]
				if got := stripe.data[j%128*stripe.ld+i]; got != float32(u[i*c.cols+j]) {
					t.Fatalf("U[%d,%d] = %v, want %v", i, j, got, u[i*c.cols+j])
				}
			}
			if f.InverseDiag()[i] != float32(1/u[i*c.cols+i]) {
				t.Fatalf("diagonal %d is 1/%v", i, f.InverseDiag()[i])
			}
		}
	}
}

func TestFailureIsReportedAndFeedsNothingBack(t *testing.T) {
	g := []float32{1, 10, 0, 10, 1, 0, 0, 0, 0} // not a sum of squares; the last column is dead
	f, err := New(g, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	if f.Failure() == nil {
		t.Fatal("no failure")
	}
	s := &recorder{cols: 3, round: func(_, _ int, w float32) float32 { return w / 2 }}
	w := pack([]float32{1, 2, 3, 4, 5, 6}, 2, 3)
	f.Sweep(w, 3, s)
	if want := []float32{1, 2, 0, 4, 5, 0}; !slices.Equal(s.seen, want) {
		t.Errorf("the strategy saw %v, want %v", s.seen, want)
	}
	if got, want := rowMajor(w), []float32{0.5, 1, 0, 2, 2.5, 0}; !slices.Equal(got, want) {
		t.Errorf("stored is %v, want %v", got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, c := range map[string]struct {
		gram         []float32
		cols, tokens int
	}{
		"no columns":        {nil, 0, 1},
		"too short":         {[]float32{1, 0, 0}, 2, 1},
		"no tokens":         {[]float32{1}, 1, 0},
		"NaN":               {[]float32{1, nan, nan, 1}, 2, 1},
		"infinite":          {[]float32{inf}, 1, 1},
		"negative diagonal": {[]float32{1, 0, 0, -1}, 2, 1},
	} {
		if _, err := New(c.gram, c.cols, c.tokens); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFinite(t *testing.T) {
	w := []float32{1, 2, 3, float32(math.NaN()), 5, float32(math.Inf(-1))}
	if err := Finite(w, 2); err == nil || err.Error() != "weight NaN in row 1, column 1" {
		t.Errorf("got %v", err)
	}
	if err := Finite(w[4:], 2); err == nil || err.Error() != "weight -Inf in row 0, column 1" {
		t.Errorf("got %v", err)
	}
	if err := Finite(w[:3], 3); err != nil {
		t.Errorf("got %v", err)
	}
}

// pack and rowMajor put a matrix into panels and take it out of them.
func pack(w []float32, rows, cols int) *kernel.Panels {
	p := kernel.NewPanels(rows, cols)
	p.Pack(0, w, rows)
	return p
}

func rowMajor(p *kernel.Panels) []float32 {
	w := make([]float32, p.Rows*p.Cols)
	kernel.RowMajor(w, p.Data, p.Rows, p.Cols)
	return w
}

// recorder is a Strategy that keeps what it saw and what it answered, row-major.
type recorder struct {
	cols  int
	round func(row, col int, w float32) float32
	begin func(w []float32, first, last int)
	seen  []float32
	done  []float32
}

func (s *recorder) Begin(w *kernel.Panels, first, last int) {
	if s.seen == nil {
		s.seen, s.done = make([]float32, w.Rows*w.Cols), make([]float32, w.Rows*w.Cols)
	}
	if s.begin != nil {
		s.begin(rowMajor(w), first, last)
	}
}

func (s *recorder) Round(q, x []float32, row, col int) {
	for i, w := range x {
		at := (row+i)*s.cols + col
		s.seen[at], s.done[at] = w, s.round(row+i, col, w)
		q[i] = s.done[at]
	}
}

// refit is the least-squares refit: the values of the columns from col on that minimise Δ·H·Δᵀ when the
// columns before them have become done.
func refit(h *mat.SymDense, w, done []float32, col int) []float64 {
	n := len(w) - col
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(w[col+i])
	}
	if col == 0 {
		return out
	}
	rest := h.SliceSym(col, len(w)).(*mat.SymDense)
	rhs := mat.NewVecDense(n, nil)
	for i := range n {
		for j := range col {
			rhs.SetVec(i, rhs.AtVec(i)-h.At(col+i, j)*(float64(done[j])-float64(w[j])))
		}
	}
	var chol mat.Cholesky
	if !chol.Factorize(rest) {
		panic("not positive definite")
	}
	var delta mat.VecDense
	if err := chol.SolveVecTo(&delta, rhs); err != nil {
		panic(err)
	}
	for i := range out {
		out[i] += delta.AtVec(i)
	}
	return out
}

// strategies answer in ways that no rounding can tip over, and on a grid.
var strategies = map[string]func(row, col int, w float32) float32{
	"mask": func(row, col int, w float32) float32 {
		if (row*31+col*17)%5 < 2 {
			return 0
		}
		return w
	},
	"grid": func(_, _ int, w float32) float32 { return 0.25 * float32(math.RoundToEven(float64(4*w))) },
}

// TestUpdateIsTheLeastSquaresRefit holds the factor to 1e-8 in float64, column by column as the papers
// write it.
func TestUpdateIsTheLeastSquaresRefit(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for cols := 2; cols <= 9; cols++ {
		g := gram(r, cols, 50)
		h := damped(g, cols, 50)
		u, err := newHessian(g, cols, 50).factor()
		if err != nil {
			t.Fatal(err)
		}
		w := randomWeights(r, cols)
		x, done := make([]float64, cols), make([]float32, cols)
		for j := range w {
			x[j] = float64(w[j])
		}
		for j := range cols {
			for i, want := range refit(h, w, done, j) {
				if math.Abs(x[j+i]-want) > 1e-8*(1+math.Abs(want)) {
					t.Fatalf("%d columns: after %d, column %d is %v, want %v", cols, j, j+i, x[j+i], want)
				}
			}
			done[j] = strategies["grid"](0, j, float32(x[j]))
			e := (x[j] - float64(done[j])) / u[j*cols+j]
			for i := j; i < cols; i++ {
				x[i] -= float64(e * u[j*cols+i])
			}
		}
	}
}

// tolerance is what float32 sweeps may differ by: 24 bits, some hundred additions, and weights that
// grow with the condition of H.
const tolerance = 2e-5

// TestSweepIsTheLeastSquaresRefit checks what strategies are given, at every span and block size.
func TestSweepIsTheLeastSquaresRefit(t *testing.T) {
	const rows, tokens = 3, 300
	r := rand.New(rand.NewPCG(3, 3))
	for _, cols := range []int{1, 5, 32, 41, 70} {
		g := gram(r, cols, tokens, cols/2)
		h := damped(g, cols, tokens)
		f, err := New(g, cols, tokens)
		if err != nil || f.Failure() != nil {
			t.Fatal(err, f.Failure())
		}
		w := randomWeights(r, rows*cols)
		for i := range rows {
			w[i*cols+cols/2] = 0 // dead
		}
		for name, round := range strategies {
			for _, span := range []int{1, 3, 8, 10, 24, 32, 50, 100} {
				for _, size := range [][2]int{{1, 1}, {8, 3}, {16, 4}, {24, 16}, {32, 16}, {128, 16}} {
					t.Run(fmt.Sprintf("%s/cols=%d/span=%d/block=%d", name, cols, span, size[0]), func(t *testing.T) {
						next := 0
						s := &recorder{cols: cols, round: round}
						s.begin = func(now []float32, first, last int) {
							if first != next || last != min(first+span, cols) {
								t.Fatalf("Begin(%d, %d) after %d", first, last, next)
							}
							next = last
							for i := range rows {
								want := refit(h, w[i*cols:(i+1)*cols], s.done[i*cols:], first)
								for j := first; j < last; j++ {
									if got := float64(now[i*cols+j]); math.Abs(got-want[j-first]) > tolerance*(1+math.Abs(want[j-first])) {
										t.Fatalf("before column %d, row %d has %v in column %d, want %v", first, i, got, j, want[j-first])
									}
								}
							}
						}
						stored := pack(w, rows, cols)
						f.sweep(stored, span, size[0], size[1], s)
						if !slices.Equal(rowMajor(stored), s.done) {
							t.Fatal("the sweep does not leave what is stored")
						}
						if next != cols {
							t.Fatalf("spans reach to %d of %d", next, cols)
						}
						for i := range rows {
							for j := range cols {
								want := refit(h, w[i*cols:(i+1)*cols], s.done[i*cols:(i+1)*cols], j)[0]
								if got := float64(s.seen[i*cols+j]); math.Abs(got-want) > tolerance*(1+math.Abs(want)) {
									t.Fatalf("row %d, column %d was %v, want %v", i, j, got, want)
								}
							}
						}
					})
				}
			}
		}
	}
}

// parted is a recorder that decides about parts.
type parted struct {
	recorder
	part  int
	begun func(w *kernel.Panels, row, n, first, last int)
}

func (s *parted) Part() int { return s.part }

func (s *parted) BeginPart(w *kernel.Panels, row, n, first, last int) {
	s.begun(w, row, n, first, last)
}

// TestPartsSeeAllErrors checks what BeginPart is given, and that parts change what is stored by the order of additions at most.
func TestPartsSeeAllErrors(t *testing.T) {
	const rows, tokens = 35, 700
	r := rand.New(rand.NewPCG(9, 9))
	for _, c := range [][3]int{{40, 40, 8}, {96, 32, 32}, {96, 32, 16}, {512, 256, 32}, {512, 256, 16}, {300, 256, 16}} {
		cols, span, part := c[0], c[1], c[2]
		g := gram(r, cols, tokens)
		h := damped(g, cols, tokens)
		f, err := New(g, cols, tokens)
		if err != nil || f.Failure() != nil {
			t.Fatal(err, f.Failure())
		}
		w := randomWeights(r, rows*cols)
		s := &parted{recorder: recorder{cols: cols, round: strategies["grid"]}, part: part}
		spans, parts := 0, 0
		s.begin = func(_ []float32, first, last int) { spans++ }
		s.begun = func(now *kernel.Panels, row, n, first, last int) {
			if first%part != 0 || last != min(first+part, cols) || spans != first/span+1 || row%width != 0 || n != min(width, rows-row) {
				t.Fatalf("%v: BeginPart(%d, %d, %d, %d) in span %d", c, row, n, first, last, spans)
			}
			parts++
			if row > 0 || first%64 != 0 { // the refit is slow
				return
			}
			x := rowMajor(now)
			want := refit(h, w[:cols], s.done[:cols], first)
			for j := first; j < last; j++ {
				if got := float64(x[j]); math.Abs(got-want[j-first]) > 10*tolerance*(1+math.Abs(want[j-first])) {
					t.Fatalf("%v: before column %d, column %d is %v, want %v", c, first, j, got, want[j-first])
				}
			}
		}
		p := pack(w, rows, cols)
		f.Sweep(p, span, s)
		if want := (cols + part - 1) / part * 2; parts != want {
			t.Errorf("%v: %d parts, want %d", c, parts, want)
		}
		if !slices.Equal(rowMajor(p), s.done) {
			t.Errorf("%v: the sweep does not leave what is stored", c)
		}
	}
	for _, c := range [][2]int{{32, 24}, {384, 96}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("spans of %d in parts of %d are taken", c[0], c[1])
				}
			}()
			g := gram(r, 3, 9)
			f, _ := New(g, 3, 9)
			f.Sweep(pack(make([]float32, 3), 1, 3), c[0], &parted{recorder: recorder{cols: 3, round: strategies["grid"]}, part: c[1]})
		}()
	}
}

// TestMeanSquares are of the inputs, without damping, whether or not the factor is sound.
func TestMeanSquares(t *testing.T) {
	for _, g := range [][]float32{{8, 1, 0, 1, 2, 0, 0, 0, 0}, {8, 10, 0, 10, 2, 0, 0, 0, 0}} {
		f, err := New(g, 3, 4)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.MeanSquares(); !slices.Equal(got, []float64{2, 0.5, 0}) {
			t.Errorf("mean squares %v (failure %v)", got, f.Failure())
		}
	}
}

// TestRowsAreIndependent: where the strategy treats rows alike, a row by itself becomes what it becomes among
// others, bit for bit.
func TestRowsAreIndependent(t *testing.T) {
	const rows, cols, tokens = 70, 290, 400
	r := rand.New(rand.NewPCG(6, 6))
	f, err := New(gram(r, cols, tokens), cols, tokens)
	if err != nil || f.Failure() != nil {
		t.Fatal(err, f.Failure())
	}
	w := randomWeights(r, rows*cols)
	for _, span := range []int{64, 96, cols} {
		together := pack(w, rows, cols)
		f.Sweep(together, span, &recorder{cols: cols, round: strategies["grid"]})
		for _, i := range []int{0, 31, 32, 63, 64, rows - 1} {
			alone := pack(w[i*cols:(i+1)*cols], 1, cols)
			f.Sweep(alone, span, &recorder{cols: cols, round: strategies["grid"]})
			if !slices.Equal(rowMajor(alone), rowMajor(together)[i*cols:(i+1)*cols]) {
				t.Errorf("spans of %d: row %d depends on the others", span, i)
			}
		}
	}
}

// TestBlockSizesAgree: blocks change the order of additions only.
func TestBlockSizesAgree(t *testing.T) {
	const rows, cols, tokens = 8, 160, 400
	r := rand.New(rand.NewPCG(4, 4))
	f, err := New(gram(r, cols, tokens), cols, tokens)
	if err != nil || f.Failure() != nil {
		t.Fatal(err, f.Failure())
	}
	w := randomWeights(r, rows*cols)
	for name, round := range strategies {
		var first *recorder
		for _, size := range [][2]int{{1, 1}, {32, 1}, {32, 16}, {128, 16}, {128, 128}, {cols, cols}} {
			s := &recorder{cols: cols, round: round}
			f.sweep(pack(w, rows, cols), cols, size[0], size[1], s)
			if first == nil {
				first = s
				continue
			}
			for i, v := range s.seen {
				if d := math.Abs(float64(v - first.seen[i])); d > tolerance*(1+math.Abs(float64(v))) {
					t.Fatalf("%s: with blocks of %v weight %d is %v, with blocks of 1 %v", name, size, i, v, first.seen[i])
				}
			}
		}
	}
}

// TestVariantsAgree: a bank has the same bytes whatever the processor that built it.
func TestVariantsAgree(t *testing.T) {
	const rows, cols, tokens = 40, 200, 300
	r := rand.New(rand.NewPCG(7, 7))
	g, w := gram(r, cols, tokens), randomWeights(r, rows*cols)
	before := kernel.Active()
	defer func() {
		if err := kernel.Use(before); err != nil {
			t.Fatal(err)
		}
	}()
	var first *Factor
	var stored []float32
	for _, name := range kernel.Variants() {
		if err := kernel.Use(name); err != nil {
			t.Fatal(err)
		}
		f, err := New(g, cols, tokens)
		if err != nil || f.Failure() != nil {
			t.Fatal(err, f.Failure())
		}
		p := pack(w, rows, cols)
		f.Sweep(p, 96, &recorder{cols: cols, round: strategies["grid"]})
		if first == nil {
			first, stored = f, rowMajor(p)
			continue
		}
		if !reflect.DeepEqual(f, first) {
			t.Errorf("%s: another factor", name)
		}
		if !slices.Equal(rowMajor(p), stored) {
			t.Errorf("%s: other weights", name)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for _, cols := range []int{576, 1536} {
		b.Run(fmt.Sprint(cols), func(b *testing.B) {
			r := rand.New(rand.NewPCG(5, 5))
			g := gram(r, cols, 8)
			for b.Loop() {
				if f, err := New(g, cols, 8); err != nil || f.Failure() != nil {
					b.Fatal(err, f.Failure())
				}
			}
		})
	}
}
