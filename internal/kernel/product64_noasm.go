//go:build !amd64 || noasm

package kernel

func subMatMul64(_ variant, c []float64, ldc int, a []float64, lda, m int, b []float64, k int) {
	subMatMul64Go(c, ldc, a, lda, m, b, k)
}
