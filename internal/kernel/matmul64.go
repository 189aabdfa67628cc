package kernel

import (
	"fmt"
	"math"
)

// PanelWidth64 is the number of columns of B and C in [SubMatMul64].
const PanelWidth64 = 16

// blockK64 bounds the depth of one assembly call, which the scheduler cannot interrupt, to ~20 µs.
const blockK64 = 2048

// SubMatMul64 computes C[m x 16] -= A[m x k] · B[k x 16] in float64. Row i of A starts at a[i·lda], row i of C at c[i·ldc], row l of B at
// b[16·l]. Each element is one chain
//
//	c = math.FMA(-a[i][l], b[l][j], c)    for l = 0, 1, … k-1
//
// in every variant, bit for bit. C must not overlap A or B.
func SubMatMul64(c []float64, ldc int, a []float64, lda, m int, b []float64, k int) {
	if m <= 0 || k <= 0 {
		return
	}
	if lda < k || ldc < PanelWidth64 || len(a) < (m-1)*lda+k || len(b) < k*PanelWidth64 || len(c) < (m-1)*ldc+PanelWidth64 {
		panic(fmt.Sprintf("kernel: product of %d x %d and %d x 16 numbers with strides of %d and %d from %d, %d and %d", m, k, k, lda, ldc, len(a), len(b), len(c)))
	}
	v := current()
	for l := 0; l < k; l += blockK64 {
		subMatMul64(v, c, ldc, a[l:], lda, m, b[l*PanelWidth64:], min(blockK64, k-l))
	}
}

// subMatMul64Go is the definition of the product.
func subMatMul64Go(c []float64, ldc int, a []float64, lda, m int, b []float64, k int) {
	for i := range m {
		sum := (*[PanelWidth64]float64)(c[i*ldc:])
		for l, x := range a[i*lda:][:k] {
			for j, y := range (*[PanelWidth64]float64)(b[l*PanelWidth64:]) {
				sum[j] = math.FMA(-x, y, sum[j])
			}
		}
	}
}
