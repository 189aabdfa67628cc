package kernel

import (
	"math"
	"testing"
)

func TestExp(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			x, _ := guarded(n, r.IntN(16))
			dst, check := guarded(n, r.IntN(16))
			fill(x)
			want := make([]float32, n)
			for i, v := range x {
				want[i] = exp32(v)
			}
			Exp(dst, x)
			requireSame(t, "Exp", dst, want)
			check(t)
			Exp(x, x)
			requireSame(t, "Exp in place", x, want)
		})
	})
}

// TestExpSweep takes every 4001st float32, all binades and signs among them.
func TestExpSweep(t *testing.T) {
	const step = 4001
	n := 1<<32/step + 1
	x, want, got := make([]float32, n), make([]float32, n), make([]float32, n)
	for i := range x {
		x[i] = math.Float32frombits(uint32(i) * step)
		want[i] = exp32(x[i])
	}
	eachVariant(t, func(t *testing.T) {
		Exp(got, x)
		requireSame(t, "Exp", got, want)
	})
	worst := 0.0
	for i, v := range x {
		switch e := math.Exp(float64(v)); {
		case v != v:
			if want[i] == want[i] {
				t.Fatalf("exp32(NaN) = %v", want[i])
			}
		case e > 0x1p128-0x1p103: // the midpoint above the largest float32
			if !math.IsInf(float64(want[i]), 1) {
				t.Fatalf("exp32(%v) = %v", v, want[i])
			}
		case e < 0x1p-126:
			if math.Abs(float64(want[i])-e) > 0x1p-149 {
				t.Fatalf("exp32(%v) = %v, want %v", v, want[i], e)
			}
		default:
			worst = max(worst, math.Abs(float64(want[i])-e)/e)
		}
	}
	if worst > 1e-7 {
		t.Errorf("relative error %.3g", worst)
	}
	t.Logf("relative error at most %.3g", worst)
	for _, c := range [][2]float64{{math.Inf(-1), 0}, {math.Inf(1), math.Inf(1)}, {0, 1}, {88.72283, 3.4027994e38}, {88.8, math.Inf(1)}, {-104, 0}, {-1e30, 0}} {
		if got := exp32(float32(c[0])); math.Abs(float64(got)-c[1]) > 1e-6*c[1] {
			t.Errorf("exp32(%v) = %v, want %v", c[0], got, c[1])
		}
	}
}

func TestSiLUMul(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			gate, _ := guarded(n, r.IntN(16))
			up, _ := guarded(n, r.IntN(16))
			dst, check := guarded(n, r.IntN(16))
			fill(gate)
			fill(up)
			want := make([]float32, n)
			for i, v := range gate {
				want[i] = float32(v/(1+exp32(-v))) * up[i]
			}
			SiLUMul(dst, gate, up)
			requireSame(t, "SiLUMul", dst, want)
			check(t)
			SiLUMul(gate, gate, up)
			requireSame(t, "SiLUMul over gate", gate, want)
		})
	})
	var worst float64
	for x := -30.0; x < 30; x += 0.001 {
		v := []float32{float32(x)}
		SiLUMul(v, v, []float32{1})
		y := float64(float32(x))
		if want := y / (1 + math.Exp(-y)); want != 0 {
			worst = max(worst, math.Abs(float64(v[0])-want)/math.Abs(want))
		}
	}
	if worst > 4e-7 {
		t.Errorf("relative error %.3g", worst)
	}
}

func TestAddScale(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			dst, check := guarded(n, r.IntN(16))
			x, _ := guarded(n, r.IntN(16))
			fill(dst)
			fill(x)
			want := make([]float32, n)
			for i := range want {
				want[i] = dst[i] + x[i]
			}
			Add(dst, x)
			requireSame(t, "Add", dst, want)
			for i := range want {
				want[i] *= 0.3
			}
			Scale(dst, 0.3)
			requireSame(t, "Scale", dst, want)
			check(t)
		})
	})
}

func TestRope(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, h int, fill func([]float32)) {
			x, check := guarded(2*h, r.IntN(16))
			cos, _ := guarded(h, r.IntN(16))
			sin, _ := guarded(h, r.IntN(16))
			fill(x)
			fill(cos)
			fill(sin)
			want := make([]float32, 2*h)
			for i := range h {
				want[i] = float32(x[i]*cos[i]) - float32(x[h+i]*sin[i])
				want[h+i] = float32(x[h+i]*cos[i]) + float32(x[i]*sin[i])
			}
			Rope(x, cos, sin)
			requireSame(t, "Rope", x, want)
			check(t)
		})
	})
}

// laneSums is the definition of a reduction: element i belongs to lane i mod 16.
func laneSums(n int, f func(i int, acc float32) float32) float32 {
	var acc [16]float32
	for i := range n {
		acc[i%16] = f(i, acc[i%16])
	}
	return ((acc[0] + acc[8]) + (acc[4] + acc[12]) + ((acc[2] + acc[10]) + (acc[6] + acc[14]))) +
		(((acc[1] + acc[9]) + (acc[5] + acc[13])) + ((acc[3] + acc[11]) + (acc[7] + acc[15])))
}

func TestRMSNorm(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			x, _ := guarded(n, r.IntN(16))
			weight, _ := guarded(n, r.IntN(16))
			dst, check := guarded(n, r.IntN(16))
			fill(x)
			fill(weight)
			sum := laneSums(n, func(i int, acc float32) float32 { return fmaOdd(x[i], x[i], acc) })
			if got := sumSquares(x); !same(got, sum) {
				t.Fatalf("sumSquares of %d: %v, want %v", n, got, sum)
			}
			want := make([]float32, n)
			for i := range want {
				scale := 1 / float32(math.Sqrt(float64(float32(sum/float32(n))+1e-5)))
				want[i] = weight[i] * float32(x[i]*scale)
			}
			RMSNorm(dst, x, weight, 1e-5)
			requireSame(t, "RMSNorm", dst, want)
			check(t)
			RMSNorm(x, x, weight, 1e-5)
			requireSame(t, "RMSNorm in place", x, want)
		})
	})
}

// largest is the definition of maximum.
func largest(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

func TestMaximum(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			x, _ := guarded(n, r.IntN(16))
			fill(x)
			if got, want := maximum(x), largest(x); got != want { // not by bits: +0 and -0 are equal, and which comes out is the lanes' affair
				t.Fatalf("maximum of %d: %v, want %v", n, got, want)
			}
			maxInGo(t, x, math.Float32bits(maximum(x)))
		})
	})
}

// maxInGo holds that the pure-Go variant has these bits too.
func maxInGo(t *testing.T, x []float32, bits uint32) {
	t.Helper()
	before := Active()
	if err := Use("go"); err != nil {
		t.Fatal(err)
	}
	got := math.Float32bits(maximum(x))
	if err := Use(before); err != nil {
		t.Fatal(err)
	}
	if got != bits {
		t.Fatalf("maximum of %d: %08x, pure Go %08x", len(x), bits, got)
	}
}

func TestMaxSumExp(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			x, _ := guarded(n, r.IntN(16))
			fill(x)
			m := largest(x)
			sum := laneSums(n, func(i int, acc float32) float32 { return acc + exp32(x[i]-m) })
			if gotMax, gotSum := MaxSumExp(x); gotMax != m || !same(gotSum, sum) {
				t.Fatalf("MaxSumExp of %d: %v, %v, want %v, %v", n, gotMax, gotSum, m, sum)
			}
		})
	})
}

// TestOnline holds two parts of a row to the definition.
func TestOnline(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			if n == 0 {
				return
			}
			first, checkFirst := guarded(n, r.IntN(16))
			second, checkSecond := guarded(1+r.IntN(n), r.IntN(16))
			fill(first)
			fill(second)
			part := func(x []float32, m float32) (want []float32, sum float32) {
				for _, v := range x {
					want = append(want, exp32(v-m))
				}
				return want, laneSums(len(x), func(i int, acc float32) float32 { return acc + want[i] })
			}
			var o Online
			m := largest(first)
			want, sum := part(first, m)
			if scale := o.Add(first); scale != 1 {
				t.Fatalf("the first part asks for a factor of %v", scale)
			}
			requireSame(t, "first part", first, want)
			factor := float32(1)
			if m2 := largest(second); m2 > m {
				factor, m = exp32(m-m2), m2
			}
			want, more := part(second, m)
			if scale := o.Add(second); !same(scale, factor) {
				t.Fatalf("factor %v, want %v", scale, factor)
			}
			requireSame(t, "second part", second, want)
			if got, norm := o.Norm(), 1/(float32(sum*factor)+more); !same(got, norm) {
				t.Fatalf("norm %v, want %v", got, norm)
			}
			checkFirst(t)
			checkSecond(t)
		})
	})
}

func TestSoftmaxAccuracy(t *testing.T) {
	r := newSource(9)
	x := make([]float32, 513)
	r.normal(x, 5)
	x[7] = float32(math.Inf(-1))
	var sum float64
	want, shift := make([]float64, len(x)), make([]float64, len(x))
	for i, v := range x {
		want[i] = math.Exp(float64(v))
		sum += want[i]
		shift[i] = math.Abs(float64(v) - float64(largest(x)))
	}
	var o Online
	const cut = 200
	o.Add(x[:cut])
	Scale(x[:cut], o.Add(x[cut:]))
	Scale(x, o.Norm())
	if x[7] != 0 {
		t.Errorf("-Inf became %v", x[7])
	}
	for i, v := range x {
		if i == 7 {
			continue
		}
		// The exponential, its sum, its inverse and two products round; so do x - max and the change of max, which the exponential takes as
		// they are.
		if e := math.Abs(float64(v)*sum/want[i] - 1); e > 6e-7+2*shift[i]*0x1p-24 {
			t.Errorf("element %d: %v, want %v", i, v, want[i]/sum)
		}
	}
}

func TestKLSum(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			s, _ := guarded(n, r.IntN(16))
			teacher, _ := guarded(n, r.IntN(16))
			fill(s)
			fill(teacher)
			const lse = 4.25
			want := laneSums(n, func(i int, acc float32) float32 {
				return fmaOdd(exp32(teacher[i]-lse), teacher[i]-s[i], acc)
			}) + 0
			if got := KLSum(s, teacher, lse); !same(got, want) {
				t.Fatalf("KLSum of %d: %v, want %v", n, got, want)
			}
		})
	})
}

// TestKL holds the formula that KLSum and MaxSumExp are for, over tiles, against float64.
func TestKL(t *testing.T) {
	r := newSource(10)
	const n, tile = 3000, 640
	s, teacher := make([]float32, n), make([]float32, n)
	r.normal(teacher, 3)
	for i := range s {
		s[i] = teacher[i] + float32(0.3*r.NormFloat64())
	}
	lse64 := func(x []float32) float64 {
		var sum float64
		for _, v := range x {
			sum += math.Exp(float64(v))
		}
		return math.Log(sum)
	}
	var want float64
	ls, lt := lse64(s), lse64(teacher)
	for i := range s {
		want += math.Exp(float64(teacher[i])-lt) * (float64(teacher[i]) - lt - float64(s[i]) + ls)
	}
	lse := func(x []float32) float64 {
		top, sum := math.Inf(-1), 0.0
		for i := 0; i < n; i += tile {
			m, e := MaxSumExp(x[i:min(n, i+tile)])
			if float64(m) > top {
				top, sum = float64(m), sum*math.Exp(top-float64(m))
			}
			sum += float64(e) * math.Exp(float64(m)-top)
		}
		return top + math.Log(sum)
	}
	teacherLSE := lse(teacher)
	got := lse(s) - teacherLSE
	for i := 0; i < n; i += tile {
		j := min(n, i+tile)
		got += float64(KLSum(s[i:j], teacher[i:j], float32(teacherLSE)))
	}
	if math.Abs(got-want) > 1e-5*want {
		t.Errorf("KL %v, want %v", got, want)
	}
}

func TestVectorShapes(t *testing.T) {
	x, y := make([]float32, 4), make([]float32, 5)
	for what, f := range map[string]func(){
		"Exp":     func() { Exp(x, y) },
		"SiLUMul": func() { SiLUMul(x, x, y) },
		"Add":     func() { Add(x, y) },
		"RMSNorm": func() { RMSNorm(x, x, y, 1) },
		"Rope":    func() { Rope(y, x[:2], x[:2]) },
		"angles":  func() { Rope(x, x[:2], x[:1]) },
		"KLSum":   func() { KLSum(x, y, 1) },
	} {
		mustPanic(t, what, f)
	}
}
