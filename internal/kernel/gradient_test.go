package kernel

import (
	"math"
	"slices"
	"testing"
)

func TestAddScaled(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			dst, check := guarded(n, r.IntN(16))
			x, _ := guarded(n, r.IntN(16))
			fill(dst)
			fill(x)
			want := make([]float32, n)
			for i := range want {
				want[i] = fmaOdd(x[i], 0.3, dst[i])
			}
			AddScaled(dst, x, 0.3)
			requireSame(t, "AddScaled", dst, want)
			check(t)
		})
	})
}

func TestSiLUMulGrad(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			var in, want [3][]float32
			var checks [3]func(*testing.T)
			for i := range in {
				in[i], checks[i] = guarded(n, r.IntN(16))
				fill(in[i])
				want[i] = slices.Clone(in[i])
			}
			for i := range n {
				d, g, u := want[0][i], want[1][i], want[2][i]
				s := 1 / (1 + exp32(-g))
				a := float32(g * s)
				want[0][i], want[1][i], want[2][i] = a*u, float32(d*u)*fmaOdd(a, 1-s, s), d*a
			}
			SiLUMulGrad(in[0], in[1], in[2])
			for i, name := range []string{"result", "gate", "up"} {
				requireSame(t, name, in[i], want[i])
				checks[i](t)
			}
		})
	})
	// Against the derivative in float64, where it is not about to vanish.
	for g := -20.0; g < 20; g += 0.01 {
		x := float64(float32(g))
		grad, gate, up := []float32{1}, []float32{float32(g)}, []float32{1}
		SiLUMulGrad(grad, gate, up)
		s := 1 / (1 + math.Exp(-x))
		for i, want := range [3]float64{x * s, s * (1 + x*(1-s)), x * s} {
			got := float64([][]float32{grad, gate, up}[i][0])
			if math.Abs(got-want) > 2e-6*math.Abs(want)+2e-7*s {
				t.Fatalf("result %d at %v: %v, want %v", i, x, got, want)
			}
		}
	}
}

func TestSoftmaxGrad(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			p, _ := guarded(n, r.IntN(16))
			grad, check := guarded(n, r.IntN(16))
			fill(p)
			fill(grad)
			mean := laneSums(n, func(i int, acc float32) float32 { return fmaOdd(p[i], grad[i], acc) })
			want := make([]float32, n)
			for i := range want {
				want[i] = p[i] * (grad[i] - mean)
			}
			SoftmaxGrad(grad, p)
			requireSame(t, "SoftmaxGrad", grad, want)
			check(t)
		})
	})
}

func TestRMSNormGrad(t *testing.T) {
	const eps = 1e-5
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			var in [4][]float32 // dst, grad, x, weight
			var checks [4]func(*testing.T)
			for i := range in {
				in[i], checks[i] = guarded(n, r.IntN(16))
				fill(in[i])
			}
			dst, grad, x, weight := in[0], in[1], in[2], in[3]
			squares := laneSums(n, func(i int, acc float32) float32 { return fmaOdd(x[i], x[i], acc) })
			mixed := laneSums(n, func(i int, acc float32) float32 { return fmaOdd(float32(grad[i]*weight[i]), x[i], acc) })
			scale := 1 / float32(math.Sqrt(float64(float32(squares/float32(n))+eps)))
			k := float32(float32(scale*scale)*scale) * float32(mixed/float32(n))
			wantDst, wantGrad := make([]float32, n), make([]float32, n)
			for i := range n {
				wantDst[i] = dst[i] + (float32(float32(grad[i]*weight[i])*scale) - float32(x[i]*k))
				wantGrad[i] = grad[i] * float32(x[i]*scale)
			}
			RMSNormGrad(dst, grad, x, weight, eps)
			requireSame(t, "dst", dst, wantDst)
			requireSame(t, "grad", grad, wantGrad)
			for _, check := range checks {
				check(t)
			}
		})
	})
}

func TestDot(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			x, _ := guarded(n, r.IntN(16))
			y, _ := guarded(n, r.IntN(16))
			fill(x)
			fill(y)
			want := laneSums(n, func(i int, acc float32) float32 { return fmaOdd(x[i], y[i], acc) })
			if got := Dot(x, y); !same(got, want) {
				t.Fatalf("Dot of %d: %v, want %v", n, got, want)
			}
		})
	})
}

func TestDots(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		r := newSource(3)
		for _, n := range []int{0, 1, 15, 16, 17, 100, 512} {
			const matrixRows, gap = 9, 5
			x, _ := guarded(n, r.IntN(16))
			matrix, _ := guarded(matrixRows*(n+gap), r.IntN(16))
			r.normal(x, 1)
			for i := range matrixRows {
				r.normal(matrix[i*(n+gap):][:n], 1)
			}
			for m := range 11 {
				rows, want := make([]int32, m), make([]float32, m)
				dst, check := guarded(m, r.IntN(16))
				r.normal(dst, 1)
				for j := range rows {
					rows[j] = r.Int32N(matrixRows)
					want[j] = dst[j] + Dot(x, matrix[int(rows[j])*(n+gap):][:n])
				}
				Dots(dst, x, matrix, n+gap, rows)
				requireSame(t, "Dots", dst, want)
				check(t)
			}
		}
		mustPanic(t, "long rows", func() { Dots(nil, make([]float32, callBlocks*lanes+1), nil, 0, nil) })
	})
}

func TestTranspose(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		r := newSource(5)
		for range 60 {
			rows, cols := r.IntN(100), r.IntN(150)
			lds, ldd := cols+r.IntN(5), rows+r.IntN(5)
			src, _ := guarded(max(0, (rows-1)*lds+cols), r.IntN(16)) // the last row ends with its numbers
			r.normal(src, 1)
			dst, check := guarded(max(0, (cols-1)*ldd+rows), r.IntN(16))
			Transpose(dst, ldd, src, lds, rows, cols)
			check(t)
			for i := range rows {
				for j := range cols {
					if dst[j*ldd+i] != src[i*lds+j] {
						t.Fatalf("%d x %d: element %d, %d", rows, cols, i, j)
					}
				}
			}
		}
	})
}

// TestPackTransposed packs a matrix and, in two parts, the same from its transpose.
func TestPackTransposed(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		r := newSource(9)
		for range 60 {
			rows, cols := 1+r.IntN(100), 1+r.IntN(150)
			w, wt := make([]float32, rows*cols), make([]float32, rows*cols)
			r.normal(w, 1)
			Transpose(wt, rows, w, cols, rows, cols)
			first := cols / 2 &^ 1
			a, b := NewPanels(rows, cols), NewPanels(rows, cols)
			for i := range b.Data {
				b.Data[i] = canary
			}
			a.Pack(0, w, rows)
			b.PackTransposed(0, wt, rows, first)
			b.PackTransposed(first, wt[first*rows:], rows, cols-first)
			requireSame(t, "float32", b.Data, a.Data)
			c, d := NewPanelsBF16(rows, cols), NewPanelsBF16(rows, cols)
			for i := range d.Data {
				d.Data[i] = 0xffff
			}
			c.Pack(0, w, rows)
			d.PackTransposed(0, wt, rows, first)
			d.PackTransposed(first, wt[first*rows:], rows, cols-first)
			if !slices.Equal(c.Data, d.Data) {
				t.Fatalf("bfloat16: %d x %d differ", rows, cols)
			}
		}
		mustPanic(t, "an odd column", func() { NewPanelsBF16(4, 4).PackTransposed(1, make([]float32, 8), 4, 2) })
	})
}
