package kernel

import (
	"fmt"
	"math"
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
