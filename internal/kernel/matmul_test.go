package kernel

import (
	"fmt"
	"math"
	"sync"
	"testing"
)

// product is the definition of MatMul, element by element.
func product(c []float32, ldc int, a []float32, lda, m, cols int, w []float32, ldw, j0, j1 int, accumulate bool) {
	for i := range m {
		for j := j0; j < j1; j++ {
			var s float32
			if accumulate {
				s = c[i*ldc+j]
			}
			for k := range cols {
				s = fmaOdd(a[i*lda+k], w[j*ldw+k], s)
			}
			c[i*ldc+j] = s
		}
	}
}

// matrix returns rows of cols numbers that start ld apart, the rest canaries.
func (r source) matrix(rows, cols, ld int, fill func([]float32)) []float32 {
	s, _ := guarded(rows*ld, r.IntN(16))
	for i := range rows {
		fill(s[i*ld:][:cols])
	}
	return s
}

// shape is a product of [m x cols] by [rows x cols] transposed.
type shape struct{ m, rows, cols int }

func TestMatMul(t *testing.T) {
	var shapes []shape
	for m := range 31 { // every height of a register tile, alone and split
		shapes = append(shapes, shape{m, 33, 9})
	}
	for rows := range 68 {
		shapes = append(shapes, shape{3, rows, 6})
	}
	for cols := range 68 {
		shapes = append(shapes, shape{5, 40, cols})
	}
	checkMatMul(t, shapes)
}

// TestMatMulBlocks holds products beyond a block of rows and columns, for the blocks of every cache.
func TestMatMulBlocks(t *testing.T) {
	m, k := blockM, blockK
	defer func() {
		blockM, blockK = m, k
		slabs = sync.Pool{New: newSlab}
	}()
	for _, cache := range []int{1 << 20, 2 << 20} {
		blockM, blockK = blocking(cache)
		slabs = sync.Pool{New: newSlab}
		checkMatMul(t, []shape{
			{2, 35, blockK + 1}, {1, 32, 2*blockK + 3}, {blockM + 1, 32, 4}, {2*blockM + 5, 1, 3},
			// Rows of A that are copied, as there are panels enough.
			{2, copyPanels * PanelWidth, 1024}, {blockM + 1, copyPanels * PanelWidth, 1021},
		})
	}
}

// checkMatMul compares products with their definition in every variant.
func checkMatMul(t *testing.T, shapes []shape) {
	eachVariant(t, func(t *testing.T) {
		r := newSource(3)
		for _, s := range shapes {
			for _, accumulate := range []bool{false, true} {
				for kind, fill := range []func([]float32){func(s []float32) { r.normal(s, 1) }, r.wild} {
					lda, ldc := s.cols+r.IntN(4), s.rows+r.IntN(4)
					if s.cols > 1000 {
						lda = (s.cols + 1023) / 1024 * 1024
					}
					a := r.matrix(s.m, s.cols, lda, fill)
					src := r.matrix(s.rows, s.cols, s.cols, fill)
					w := NewPanels(s.rows, s.cols)
					w.Pack(0, src, s.rows)
					p0 := r.IntN(w.Panels() + 1)
					p1 := p0 + r.IntN(w.Panels()-p0+1)
					if kind == 0 {
						p0, p1 = 0, w.Panels()
					}
					c, check := guarded(s.m*ldc, r.IntN(16))
					if accumulate {
						for i := range s.m {
							fill(c[i*ldc:][:s.rows])
						}
					}
					want := append([]float32(nil), c...)
					product(want, ldc, a, lda, s.m, s.cols, src, s.cols, p0*PanelWidth, min(s.rows, p1*PanelWidth), accumulate)
					MatMul(c, ldc, a, lda, s.m, w, p0, p1, accumulate)
					requireSame(t, fmt.Sprintf("%+v panels [%d, %d) accumulate %v", s, p0, p1, accumulate), c, want)
					check(t)
				}
			}
		}
	})
}

// TestMatMulSplit holds that no split of the rows, the panels or the columns changes a bit.
func TestMatMulSplit(t *testing.T) {
	const m, rows, cols = 40, 100, 90
	eachVariant(t, func(t *testing.T) {
		r := newSource(4)
		a := r.matrix(m, cols, cols, func(s []float32) { r.normal(s, 1) })
		src := r.matrix(rows, cols, cols, func(s []float32) { r.normal(s, 1) })
		w := NewPanels(rows, cols)
		w.Pack(0, src, rows)
		whole := make([]float32, m*rows)
		MatMul(whole, rows, a, cols, m, w, 0, w.Panels(), false)

		split := make([]float32, m*rows)
		for i := 0; i < m; {
			n := min(m-i, 1+r.IntN(17))
			for p := range w.Panels() {
				MatMul(split[i*rows:], rows, a[i*cols:], cols, n, w, p, p+1, false)
			}
			i += n
		}
		requireSame(t, "rows and panels", split, whole)

		clear(split)
		v := w.View(1, 3)
		MatMul(split[PanelWidth:], rows, a, cols, m, &v, 0, 2, false)
		for i := range m {
			requireSame(t, "a view", split[i*rows+32:][:64], whole[i*rows+32:][:64])
		}

		const first = 37
		left, rest := NewPanels(rows, first), NewPanels(rows, cols-first)
		left.PackStrided(0, src, cols, rows)
		rest.PackStrided(0, src[first:], cols, rows)
		MatMul(split, rows, a, cols, m, left, 0, w.Panels(), false)
		MatMul(split, rows, a[first:], cols, m, rest, 0, w.Panels(), true)
		requireSame(t, "columns", split, whole)
	})
}

func TestMatMulAccuracy(t *testing.T) {
	const m, rows, cols = 9, 64, 1536
	r := newSource(5)
	a := r.matrix(m, cols, cols, func(s []float32) { r.normal(s, 1) })
	src := r.matrix(rows, cols, cols, func(s []float32) { r.normal(s, 1) })
	w := NewPanels(rows, cols)
	w.Pack(0, src, rows)
	c := make([]float32, m*rows)
	MatMul(c, rows, a, cols, m, w, 0, 2, false)
	for i := range m {
		for j := range rows {
			var sum, size float64
			for k := range cols {
				p := float64(a[i*cols+k]) * float64(src[j*cols+k])
				sum += p
				size += math.Abs(p)
			}
			// A chain of n roundings errs by at most n·2^-24 of Σ|a·w|; for random signs by about its square root.
			if e := math.Abs(float64(c[i*rows+j])-sum) / size; e > 1e-6 {
				t.Errorf("element %d, %d: relative error %.2g", i, j, e)
			}
		}
	}
}

func TestMatMulShapes(t *testing.T) {
	w := NewPanels(40, 8)
	a, c := make([]float32, 16), make([]float32, 80)
	for what, f := range map[string]func(){
		"panels":        func() { MatMul(c, 40, a, 8, 2, w, 0, 3, false) },
		"order":         func() { MatMul(c, 40, a, 8, 2, w, 1, 0, false) },
		"a too short":   func() { MatMul(c, 40, a[:15], 8, 2, w, 0, 2, false) },
		"c too short":   func() { MatMul(c[:79], 40, a, 8, 2, w, 0, 2, false) },
		"lda too small": func() { MatMul(c, 40, a, 7, 2, w, 0, 2, false) },
		"ldc too small": func() { MatMul(c, 39, a, 8, 2, w, 0, 2, false) },
		"data":          func() { MatMul(c, 40, a, 8, 2, &Panels{Rows: 40, Cols: 8, Data: w.Data[1:]}, 0, 2, false) },
		"rows":          func() { w.Pack(0, make([]float32, 39*8), 40) },
		"no panel":      func() { w.Pack(16, make([]float32, 80), 10) },
		"part":          func() { w.Pack(0, make([]float32, 80), 10) },
		"view":          func() { w.View(1, 3) },
		"negative":      func() { NewPanels(-1, 2) },
	} {
		mustPanic(t, what, f)
	}
}

func TestPack(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		r := newSource(6)
		for rows := range 68 {
			for _, cols := range []int{0, 1, 7, 8, 9, 30, 64, 65, 143} {
				ld := cols + r.IntN(5)
				src := r.matrix(rows, cols, ld, r.wild)
				data, check := guarded((rows+31)/32*32*cols, r.IntN(16))
				w := Panels{Rows: rows, Cols: cols, Data: data}
				if rows > 0 {
					w.PackStrided(0, src[:(rows-1)*ld+cols], ld, rows)
				}
				want := make([]float32, len(data))
				for j := range rows {
					for k := range cols {
						want[(j/32*cols+k)*32+j%32] = src[j*ld+k]
					}
				}
				requireSame(t, fmt.Sprintf("%d x %d", rows, cols), data, want)
				check(t)
			}
		}
	})
}

// TestPackParts packs panels in an order of its own.
func TestPackParts(t *testing.T) {
	r := newSource(8)
	src := r.matrix(90, 20, 20, r.wild)
	whole, parts := NewPanels(90, 20), NewPanels(90, 20)
	whole.Pack(0, src, 90)
	parts.Pack(64, src[64*20:], 26)
	parts.Pack(0, src, 64)
	requireSame(t, "parts", parts.Data, whole.Data)
}
