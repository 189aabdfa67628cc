package kernel

import (
	"fmt"
	"sync"
)

// MatMulBF16 computes C[m x Rows] = A[m x Cols] · Wᵀ of bfloat16 numbers in float32 for panels [p0, p1), columns
// 32·p0 … min(32·p1, Rows)-1 of C, and adds to C if accumulate. Row i of A starts at a[i·lda] and has w.Depth() numbers; those beyond Cols
// meet zeros of W and may be anything finite. Row i of C starts at c[i·ldc]; the numbers between rows are not touched. C must not
// overlap A.
//
// Each element is a float32 sum of products, which are exact. The order of the sum and its roundings, all to nearest, are the variant's:
//
//   - "avx512", "avx2" and "go" have no instructions for bfloat16. They agree on every bit with MatMul of the numbers as float32: one chain
//     c = fma(a[i][k], w[j][k], c), k ascending.
//   - "avx512bf16" has the same chain, but takes k = 1, 0, 3, 2, …
//   - "amx" sums 16 even and 16 odd k, in two chains that start from +0, and adds their sum to c, for each 32 columns.
//
// The latter two take denormal numbers of A and W for zero and flush denormal sums to zero, as Intel's manual has it for VDPBF16PS and
// TDPBF16PS. No split of the rows, of the panels or between calls changes a bit.
func MatMulBF16(c []float32, ldc int, a []uint16, lda, m int, w *PanelsBF16, p0, p1 int, accumulate bool) {
	depth := w.Depth()
	if p0 < 0 || p1 < p0 || p1 > w.Panels() || len(w.Data) < w.Panels()*depth*PanelWidth {
		panic(fmt.Sprintf("kernel: panels [%d, %d) of a matrix of %d x %d in %d numbers", p0, p1, w.Rows, w.Cols, len(w.Data)))
	}
	checkMatrix("A", a, lda, m, depth)
	checkMatrix("C", c, ldc, m, min(w.Rows, p1*PanelWidth))
	if depth == 0 {
		if n := min(w.Rows, p1*PanelWidth) - p0*PanelWidth; !accumulate && n > 0 {
			for i := range m {
				clear(c[i*ldc+p0*PanelWidth:][:n])
			}
		}
		return
	}
	p := productBF16{c, ldc, a, lda, m, w, p0, p1, accumulate}
	p.run(currentBF16())
}

// productBF16 is the arguments of MatMulBF16, checked; the depth is not 0.
type productBF16 struct {
	c          []float32
	ldc        int
	a          []uint16
	lda, m     int
	w          *PanelsBF16
	p0, p1     int
	accumulate bool
}

// Blocks of rows and columns of A that are expanded at a time: 640 KB, as float32, that stay in the second-level cache.
const (
	expandM = 252
	expandK = 640
)

// expanded holds a block of A and a block of a panel as float32.
type expanded struct {
	a [expandM * expandK]float32
	b [expandK * PanelWidth]float32
}

var expandedPool = sync.Pool{New: func() any { return new(expanded) }}

// expand computes the product by the float32 kernels: a bfloat16 number is the upper half of a float32 number, and products of two are
// exact in float32. A block of A is expanded once for all panels, a block of a panel once for the rows of a block.
func (p *productBF16) expand(v variant) {
	x := expandedPool.Get().(*expanded)
	defer expandedPool.Put(x)
	depth, mBlocks := p.w.Depth(), (p.m+expandM-1)/expandM
	for bm := range mBlocks {
		m0, m1 := p.m*bm/mBlocks, p.m*(bm+1)/mBlocks
		for k0 := 0; k0 < depth; k0 += expandK {
			k := min(expandK, depth-k0)
			for i := range m1 - m0 {
				expandRow(v, x.a[i*k:][:k], p.a[(m0+i)*p.lda+k0:])
			}
			for panel := p.p0; panel < p.p1; panel++ {
				expandPanel(v, x.b[:k*PanelWidth], p.w.Data[(panel*depth+k0)*PanelWidth:])
				t := tile{
					k: min(k, p.w.Cols-k0), lda: k, ldc: p.ldc, accumulate: p.accumulate || k0 > 0,
					a: x.a[:], b: x.b[:], c: p.c[m0*p.ldc+panel*PanelWidth:],
				}
				if width := p.w.Rows - panel*PanelWidth; width < PanelWidth {
					t.narrow(v, m1-m0, width)
				} else {
					t.wide(v, m1-m0)
				}
			}
		}
	}
}
