package kernel

import (
	"fmt"
	"sync"
)

// Blocking of MatMulBF16, in rows and columns of A as for [MatMul].
const (
	blockMBF16 = 252
	blockKBF16 = 640
)

// RoundBF16 rounds src to bfloat16 numbers, to the nearest, ties to even, as [EncodeBF16] does: denormal numbers stay, a NaN stays a NaN.
// dst and src have the same length.
func RoundBF16(dst []uint16, src []float32) {
	if len(dst) != len(src) {
		panic(fmt.Sprintf("kernel: %d numbers rounded into %d", len(src), len(dst)))
	}
	for i, x := range src {
		dst[i] = EncodeBF16(x)
	}
}

// MatMulBF16 computes C[m x Rows] = A[m x Cols] · Wᵀ of bfloat16 numbers in float32 for panels [p0, p1), columns
// 32·p0 … min(32·p1, Rows)-1 of C, and adds to C if accumulate. Row i of A starts at a[i·lda] and has w.Depth() numbers; those beyond Cols
// meet zeros of W and may be anything finite. Row i of C starts at c[i·ldc]; the numbers between rows are not touched. C must not
// overlap A.
//
// Each element is a float32 sum of exact products. The order of the sum and its intermediate roundings are those of the variant, so
// variants differ in the last bits; for one variant on one kind of processor they depend on nothing else: no split of
// the rows, of the panels or between calls changes a bit. The variants without bfloat16 instructions agree on every bit with MatMul of the
// numbers as float32. Those with them, "amx" and "avx512bf16", take denormal bfloat16 numbers for zero and flush denormal sums to zero.
func MatMulBF16(c []float32, ldc int, a []uint16, lda, m int, w *PanelsBF16, p0, p1 int, accumulate bool) {
	depth := w.Depth()
	if p0 < 0 || p1 < p0 || p1 > w.Panels() || len(w.Data) < w.Panels()*depth*PanelWidth {
		panic(fmt.Sprintf("kernel: panels [%d, %d) of a matrix of %d x %d in %d numbers", p0, p1, w.Rows, w.Cols, len(w.Data)))
	}
	checkMatrix("A", a, lda, m, depth)
	checkMatrix("C", c, ldc, m, min(w.Rows, p1*PanelWidth))
	if m == 0 || p0 == p1 {
		return
	}
	if depth == 0 {
		if !accumulate {
			n := min(w.Rows, p1*PanelWidth) - p0*PanelWidth
			for i := range m {
				clear(c[i*ldc+p0*PanelWidth:][:n])
			}
		}
		return
	}
	matmulExpanded(c, ldc, a, lda, m, w, p0, p1, accumulate)
}

// expanded holds a block of A and a block of a panel as float32.
type expanded struct {
	a [blockMBF16 * blockKBF16]float32
	b [blockKBF16 * PanelWidth]float32
}

var expandedPool = sync.Pool{New: func() any { return new(expanded) }}

// matmulExpanded computes the product by the float32 kernels: a bfloat16 number is the upper half of a float32 number, and its
// products are exact in float32. A block of A is expanded once for all panels, a block of a panel once for the rows of a block.
func matmulExpanded(c []float32, ldc int, a []uint16, lda, m int, w *PanelsBF16, p0, p1 int, accumulate bool) {
	v := current()
	x := expandedPool.Get().(*expanded)
	defer expandedPool.Put(x)
	mBlocks := (m + blockMBF16 - 1) / blockMBF16
	for bm := range mBlocks {
		m0, m1 := m*bm/mBlocks, m*(bm+1)/mBlocks
		for k0 := 0; k0 < w.Cols; k0 += blockKBF16 {
			k := min(blockKBF16, w.Cols-k0)
			for i := range m1 - m0 {
				expandRow(x.a[i*k:][:k], a[(m0+i)*lda+k0:])
			}
			for p := p0; p < p1; p++ {
				expandPanel(x.b[:k*PanelWidth], w.Data[(p*w.Depth()+k0)*PanelWidth:])
				t := tile{
					k: k, lda: k, ldc: ldc, accumulate: accumulate || k0 > 0,
					a: x.a[:], b: x.b[:], c: c[m0*ldc+p*PanelWidth:],
				}
				if width := w.Rows - p*PanelWidth; width < PanelWidth {
					t.narrow(v, m1-m0, width)
				} else {
					t.wide(v, m1-m0)
				}
			}
		}
	}
}

// expandRow is dst[i] = the value of src[i].
func expandRow(dst []float32, src []uint16) {
	src = src[:len(dst)]
	for i, h := range src {
		dst[i] = DecodeBF16(h)
	}
}

// expandPanel expands the first len(dst)/32 columns of a panel into the layout of [Panels].
func expandPanel(dst []float32, src []uint16) {
	for i := range dst {
		k, j := i/PanelWidth, i%PanelWidth
		dst[i] = DecodeBF16(src[k/2*2*PanelWidth+2*j+k%2])
	}
}
