package kernel

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
)

// matrixBF16 returns rows of cols bfloat16 numbers, rounded from what fill draws, that start ld apart; the rest are NaNs.
func (r source) matrixBF16(rows, cols, ld int, fill func([]float32)) []uint16 {
	s := make([]uint16, rows*ld)
	row := make([]float32, cols)
	for i := range s {
		s[i] = 0x7fed
	}
	for i := range rows {
		fill(row)
		for k, x := range row {
			s[i*ld+k] = EncodeBF16(x)
		}
	}
	return s
}

// requireNear compares panels [p0, p1) of c with the float64 sums of a row and the bfloat16 roundings of src, and the other
// columns with what was there before.
func requireNear(t *testing.T, what string, c, before []float32, ldc int, a []uint16, lda, m int, src []float32, rows, cols, p0, p1 int, accumulate bool) {
	t.Helper()
	for i := range m {
		for j := range ldc {
			got, old := c[i*ldc+j], before[i*ldc+j]
			if j < p0*PanelWidth || j >= min(rows, p1*PanelWidth) {
				if math.Float32bits(got) != math.Float32bits(old) {
					t.Fatalf("%s: element %d, %d was written", what, i, j)
				}
				continue
			}
			var sum, size float64
			if accumulate {
				sum, size = float64(old), math.Abs(float64(old))
			}
			for k := range cols {
				p := float64(DecodeBF16(a[i*lda+k])) * float64(DecodeBF16(EncodeBF16(src[j*cols+k])))
				sum += p
				size += math.Abs(p)
			}
			// The products are exact, and no order of n additions, each rounded once, errs by more than n·u/(1-n·u) of the sum of their
			// absolute values, u = 2^-24: Higham, Accuracy and Stability of Numerical Algorithms, second edition, (4.4). The padding to
			// 32 columns and the two partial sums of AMX add some.
			n := float64(cols + depthBF16 + 2)
			if e := math.Abs(float64(got) - sum); !(e <= n*0x1p-24/(1-n*0x1p-24)*size) {
				t.Fatalf("%s: element %d, %d: %v, want %v: off by %.3g of %.3g", what, i, j, got, sum, e, size)
			}
		}
	}
}

func TestMatMulBF16(t *testing.T) {
	type shape struct{ m, rows, cols int }
	var shapes []shape
	for m := range 68 { // every height of a tile, alone and split
		shapes = append(shapes, shape{m, 33, 9})
	}
	for rows := range 68 {
		shapes = append(shapes, shape{3, rows, 38})
	}
	for cols := range 100 {
		shapes = append(shapes, shape{5, 40, cols})
	}
	// Beyond the blocks of rows and columns.
	shapes = append(shapes, shape{2, 35, 641}, shape{1, 32, 1283}, shape{253, 32, 4}, shape{1029, 1, 3})
	eachVariant(t, func(t *testing.T) {
		r := newSource(3)
		normal := func(s []float32) { r.normal(s, 1) }
		for _, s := range shapes {
			for _, accumulate := range []bool{false, true} {
				w := NewPanelsBF16(s.rows, s.cols)
				src := r.matrix(s.rows, s.cols, s.cols, normal)
				w.Pack(0, src, s.rows)
				depth := w.Depth()
				lda, ldc := depth+r.IntN(4), s.rows+r.IntN(4)
				a := r.matrixBF16(s.m, depth, lda, normal)
				p0 := r.IntN(w.Panels() + 1)
				p1 := p0 + r.IntN(w.Panels()-p0+1)
				if r.IntN(2) == 0 {
					p0, p1 = 0, w.Panels()
				}
				c, check := guarded(s.m*ldc, r.IntN(16))
				if accumulate {
					for i := range s.m {
						normal(c[i*ldc:][:s.rows])
					}
				}
				before := append([]float32(nil), c...)
				MatMulBF16(c, ldc, a, lda, s.m, w, p0, p1, accumulate)
				what := fmt.Sprintf("%+v panels [%d, %d) accumulate %v", s, p0, p1, accumulate)
				requireNear(t, what, c, before, ldc, a, lda, s.m, src, s.rows, s.cols, p0, p1, accumulate)
				check(t)
			}
		}
	})
}

// flush is x, zero if denormal.
func flush(x float32) float32 {
	if math.Abs(float64(x)) < 0x1p-126 {
		return float32(math.Copysign(0, float64(x)))
	}
	return x
}

// flushed is fma32 as the instructions for bfloat16 do it: denormals, in and out, are zeros.
func flushed(x, y uint16, s float32) float32 {
	return flush(fma32(flush(DecodeBF16(x)), flush(DecodeBF16(y)), s))
}

// chainBF16 is an element of the product as a variant defines it: the sum of a[k]·w[k] over a number of columns that is a multiple of 32.
func chainBF16(v variant, a, w []uint16, s float32) float32 {
	switch v {
	case amx:
		for ; len(a) > 0; a, w = a[depthBF16:], w[depthBF16:] {
			var even, odd float32
			for k := 0; k < depthBF16; k += 2 {
				even = flushed(a[k], w[k], even)
				odd = flushed(a[k+1], w[k+1], odd)
			}
			s = flush(s + flush(even+odd))
		}
	case avx512bf16:
		for k := 0; k < len(a); k += 2 {
			s = flushed(a[k], w[k], flushed(a[k+1], w[k+1], s))
		}
	default:
		for k := range a {
			s = fma32(DecodeBF16(a[k]), DecodeBF16(w[k]), s)
		}
	}
	return s
}

// TestMatMulBF16Chains holds every variant to its definition, bit for bit, whatever the split into rows, panels and calls, the
// strides and the alignment of its operands.
func TestMatMulBF16Chains(t *testing.T) {
	const m, rows, cols = 45, 164, 1130
	r := newSource(4)
	normal := func(s []float32) { r.normal(s, 1) }
	w := NewPanelsBF16(rows, cols)
	depth := w.Depth()
	src := r.matrix(rows, cols, cols, normal)
	w.Pack(0, src, rows)
	rounded := make([]uint16, rows*depth)
	for j := range rows {
		RoundBF16(rounded[j*depth:][:cols], src[j*cols:][:cols])
	}
	a := r.matrixBF16(m, depth, depth, normal)
	start := make([]float32, m*rows)
	normal(start)
	eachVariant(t, func(t *testing.T) {
		want := make([]float32, m*rows)
		for i := range m {
			for j := range rows {
				want[i*rows+j] = chainBF16(currentBF16(), a[i*depth:][:depth], rounded[j*depth:][:depth], start[i*rows+j])
			}
		}
		got := append([]float32(nil), start...)
		MatMulBF16(got, rows, a, depth, m, w, 0, w.Panels(), true)
		requireSame(t, "at once", got, want)

		copy(got, start)
		for i := 0; i < m; {
			n := min(m-i, 1+r.IntN(40))
			for p := range w.Panels() {
				MatMulBF16(got[i*rows:], rows, a[i*depth:], depth, n, w, p, p+1, true)
			}
			i += n
		}
		requireSame(t, "rows and panels", got, want)

		// Rows that share cache sets are copied first, where there are panels enough.
		const lda = 2048
		far := make([]uint16, m*lda+1)[1:]
		for i := range m {
			copy(far[i*lda:], a[i*depth:][:depth])
		}
		copy(got, start)
		MatMulBF16(got, rows, far, lda, m, w, 0, w.Panels(), true)
		requireSame(t, "rows far apart", got, want)

		copy(got, start)
		data := append([]uint16{0}, w.Data...)[1:]
		shifted := PanelsBF16{Rows: rows, Cols: cols, Data: data}
		v := shifted.View(1, 3)
		MatMulBF16(got[PanelWidth:], rows, a, depth, m, &v, 0, 2, true)
		for i := range m {
			requireSame(t, "a view", got[i*rows+32:][:64], want[i*rows+32:][:64])
		}

		// Columns split at a multiple of 1024 and of 288, where every variant's own split of them may be.
		const first = 9 * 1024
		long := NewPanelsBF16(32, first+64)
		x := r.matrixBF16(3, first+64, first+64, normal)
		y := r.matrix(32, first+64, first+64, normal)
		long.Pack(0, y, 32)
		whole, parts := make([]float32, 3*32), make([]float32, 3*32)
		MatMulBF16(whole, 32, x, first+64, 3, long, 0, 1, false)
		left, rest := NewPanelsBF16(32, first), NewPanelsBF16(32, 64)
		left.PackStrided(0, y, first+64, 32)
		rest.PackStrided(0, y[first:], first+64, 32)
		MatMulBF16(parts, 32, x, first+64, 3, left, 0, 1, false)
		MatMulBF16(parts, 32, x[first:], first+64, 3, rest, 0, 1, true)
		requireSame(t, "columns", parts, whole)
	})
}

// TestMatMulBF16Specials shows what becomes of numbers that are not finite and of denormals.
func TestMatMulBF16Specials(t *testing.T) {
	const (
		one      = 0x3f80
		inf      = 0x7f80
		nan      = 0x7fc0
		large    = 0x7f00 // 2^127
		denormal = 0x0001 // 2^-133
		tiny     = 0x0080 // 2^-126
		half     = 0x3f00
	)
	eachVariant(t, func(t *testing.T) {
		flushes := currentBF16() > avx512
		for _, c := range []struct {
			name    string
			a, w    []uint16
			c       float32
			want    float32
			flushed float32 // by the instructions for bfloat16
		}{
			{name: "NaN of A", a: []uint16{one, nan}, w: []uint16{one, 0}, want: canary, flushed: canary},
			{name: "NaN of W", a: []uint16{one, 0}, w: []uint16{one, nan}, want: canary, flushed: canary},
			{name: "NaN of C", a: []uint16{one}, w: []uint16{one}, c: canary, want: canary, flushed: canary},
			{name: "infinity", a: []uint16{one, inf}, w: []uint16{one, one}, want: float32(math.Inf(1)), flushed: float32(math.Inf(1))},
			{name: "infinity times zero", a: []uint16{one, inf}, w: []uint16{one, 0}, want: canary, flushed: canary},
			{name: "infinity less infinity", a: []uint16{inf, inf}, w: []uint16{one, one | 0x8000}, want: canary, flushed: canary},
			{name: "overflow", a: []uint16{large, large}, w: []uint16{one, one}, want: float32(math.Inf(1)), flushed: float32(math.Inf(1))},
			{name: "denormal of A", a: []uint16{denormal}, w: []uint16{large}, want: 0x1p-6, flushed: 0},
			{name: "denormal of W", a: []uint16{large}, w: []uint16{denormal}, want: 0x1p-6, flushed: 0},
			{name: "denormal sum", a: []uint16{tiny}, w: []uint16{half}, want: 0x1p-127, flushed: 0},
		} {
			a, w := make([]uint16, 32), NewPanelsBF16(1, 32)
			copy(a, c.a)
			for k, h := range c.w {
				w.Data[k/2*2*PanelWidth+k%2] = h
			}
			got := []float32{c.c}
			MatMulBF16(got, 1, a, 32, 1, w, 0, 1, true)
			want := c.want
			if flushes {
				want = c.flushed
			}
			if !same(got[0], want) {
				t.Errorf("%s: %v, want %v", c.name, got[0], want)
			}
		}
	})
}

// TestMatMulBF16Preempted has goroutines move between threads and be stopped by the garbage collector between and, by signals, in the midst
// of products: the registers and tiles of a product must be those of its own thread throughout.
func TestMatMulBF16Preempted(t *testing.T) {
	const m, rows, cols, goroutines, rounds = 100, 96, 640, 6, 20
	eachVariant(t, func(t *testing.T) {
		if Active() == "go" {
			t.Skip("no registers of its own")
		}
		var results [goroutines][]float32
		var wait sync.WaitGroup
		stop := make(chan struct{})
		collected := make(chan struct{})
		go func() {
			defer close(collected)
			for {
				select {
				case <-stop:
					return
				default:
					runtime.GC()
				}
			}
		}()
		for g := range goroutines {
			wait.Go(func() {
				r := newSource(uint64(g))
				normal := func(s []float32) { r.normal(s, 1) }
				w := NewPanelsBF16(rows, cols)
				w.Pack(0, r.matrix(rows, cols, cols, normal), rows)
				a := r.matrixBF16(m, cols, cols, normal)
				first := make([]float32, m*rows)
				MatMulBF16(first, rows, a, cols, m, w, 0, w.Panels(), false)
				for range rounds {
					c := make([]float32, m*rows) // garbage
					MatMulBF16(c, rows, a, cols, m, w, 0, w.Panels(), false)
					for i := range c {
						if c[i] != first[i] && results[g] == nil {
							results[g] = []float32{c[i], first[i]}
						}
					}
				}
			})
		}
		wait.Wait()
		close(stop)
		<-collected
		for g, differ := range results {
			if differ != nil {
				t.Errorf("goroutine %d: %v, at first %v", g, differ[0], differ[1])
			}
		}
	})
}

func TestMatMulBF16Bounds(t *testing.T) {
	w := NewPanelsBF16(40, 10)
	a, c := make([]uint16, 2*32), make([]float32, 2*40)
	MatMulBF16(c, 40, a, 32, 2, w, 0, 2, false)
	mustPanic(t, "a row of A of Cols numbers", func() { MatMulBF16(c, 40, a[:63], 32, 2, w, 0, 2, false) })
	mustPanic(t, "short C", func() { MatMulBF16(c[:79], 40, a, 32, 2, w, 0, 2, false) })
	mustPanic(t, "panels", func() { MatMulBF16(c, 40, a, 32, 2, w, 0, 3, false) })
	mustPanic(t, "short W", func() { MatMulBF16(c, 40, a, 32, 2, &PanelsBF16{Rows: 40, Cols: 10, Data: w.Data[1:]}, 0, 1, false) })
	mustPanic(t, "negative m", func() { MatMulBF16(c, 40, a, 32, -1, w, 0, 2, false) })
	mustPanic(t, "view", func() { w.View(1, 3) })
	mustPanic(t, "rows packed from the middle of a panel", func() { w.Pack(8, make([]float32, 320), 32) })
	mustPanic(t, "part of a panel", func() { w.Pack(0, make([]float32, 310), 31) })
	mustPanic(t, "negative shape", func() { NewPanelsBF16(-1, 3) })
	mustPanic(t, "rounding", func() { RoundBF16(a, c) })
}
