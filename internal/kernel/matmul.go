package kernel

import "fmt"

// Blocking of MatMul. A slab of blockM rows by blockK columns of A stays in the second-level cache while panels pass over it, and a panel
// of blockK steps (128 bytes a step) with the rows in hand stays close to the first. Measured by BenchmarkMatMul; see the commit message.
const (
	blockM = 168
	blockK = 576
)

// MatMul computes C[m x Rows] = A[m x Cols] · Wᵀ for panels [p0, p1), columns 32·p0 … min(32·p1, Rows)-1 of C, and adds to C if accumulate.
// Row i of A starts at a[i·lda], row i of C at c[i·ldc]; the numbers between rows are not touched. Each element is one chain
//
//	c = fma(a[i][k], w[j][k], c)    for k = 0, 1, … Cols-1, starting from +0, or from C if accumulate
//
// in every variant, bit for bit. C must not overlap A.
func MatMul(c []float32, ldc int, a []float32, lda, m int, w *Panels, p0, p1 int, accumulate bool) {
	MatMulPrefix(c, ldc, a, lda, m, w.Cols, w, p0, p1, accumulate)
}

// MatMulPrefix is MatMul over the first cols columns of A and W only: what causal attention needs of keys that are packed once.
func MatMulPrefix(c []float32, ldc int, a []float32, lda, m, cols int, w *Panels, p0, p1 int, accumulate bool) {
	if p0 < 0 || p1 < p0 || p1 > w.Panels() || cols < 0 || cols > w.Cols || len(w.Data) < w.Panels()*w.Cols*PanelWidth {
		panic(fmt.Sprintf("kernel: %d columns of panels [%d, %d) of a matrix of %d x %d", cols, p0, p1, w.Rows, w.Cols))
	}
	checkMatrix("A", a, lda, m, cols)
	checkMatrix("C", c, ldc, m, min(w.Rows, p1*PanelWidth))
	if cols == 0 {
		if n := min(w.Rows, p1*PanelWidth) - p0*PanelWidth; !accumulate && n > 0 {
			for i := range m {
				clear(c[i*ldc+p0*PanelWidth:][:n])
			}
		}
		return
	}
	v := current()
	for m0 := 0; m0 < m; m0 += blockM {
		rows := min(blockM, m-m0)
		for k0 := 0; k0 < cols; k0 += blockK {
			depth := min(blockK, cols-k0)
			for p := p0; p < p1; p++ {
				t := tile{
					k: depth, lda: lda, ldc: ldc, accumulate: accumulate || k0 > 0,
					a: a[m0*lda+k0:],
					b: w.Data[(p*w.Cols+k0)*PanelWidth:],
					c: c[m0*ldc+p*PanelWidth:],
				}
				if width := w.Rows - p*PanelWidth; width < PanelWidth {
					t.narrow(v, rows, width)
				} else {
					t.wide(v, rows)
				}
			}
		}
	}
}

// tile is the product of some rows of A and one panel, k steps deep. Strides are in numbers.
type tile struct {
	k, lda, ldc int
	accumulate  bool
	a, b, c     []float32
}

// narrow computes the last panel of a matrix whose Rows is not a multiple of 32: it may not write beyond width columns of C, so
// the product goes through a buffer.
func (t tile) narrow(v variant, rows, width int) {
	const step = 14
	var buf [step * PanelWidth]float32
	for i := 0; i < rows; i += step {
		n := min(step, rows-i)
		part := tile{k: t.k, lda: t.lda, ldc: PanelWidth, accumulate: t.accumulate, a: t.a[i*t.lda:], b: t.b, c: buf[:]}
		if t.accumulate {
			for j := range n {
				copy(buf[j*PanelWidth:], t.c[(i+j)*t.ldc:][:width])
			}
		}
		part.wide(v, n)
		for j := range n {
			copy(t.c[(i+j)*t.ldc:][:width], buf[j*PanelWidth:])
		}
	}
}

// wideGo is the definition of the product.
func (t tile) wideGo(rows int) {
	for i := range rows {
		out := t.c[i*t.ldc:][:PanelWidth]
		var acc [PanelWidth]float32
		if t.accumulate {
			copy(acc[:], out)
		}
		for k, x := range t.a[i*t.lda:][:t.k] {
			w := (*[PanelWidth]float32)(t.b[k*PanelWidth:])
			for j := range acc {
				acc[j] = fma32(x, w[j], acc[j])
			}
		}
		copy(out, acc[:])
	}
}
