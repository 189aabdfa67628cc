//go:build amd64 && !noasm

package kernel

// subMatMul64 has checked arguments; m and k are positive.
func subMatMul64(v variant, c []float64, ldc int, a []float64, lda, m int, b []float64, k int) {
	switch {
	case v >= avx512:
		i := 0
		for ; i+8 <= m; i += 8 {
			subMatMul8x16AVX512(k, &a[i*lda], 8*lda, &b[0], &c[i*ldc], 8*ldc)
		}
		for ; i < m; i++ {
			subMatMul1x16AVX512(k, &a[i*lda], 8*lda, &b[0], &c[i*ldc], 8*ldc)
		}
	case v >= avx2:
		for j := 0; j < PanelWidth64; j += 8 {
			i := 0
			for ; i+4 <= m; i += 4 {
				subMatMul4x8AVX2(k, &a[i*lda], 8*lda, &b[j], &c[i*ldc+j], 8*ldc)
			}
			for ; i < m; i++ {
				subMatMul1x8AVX2(k, &a[i*lda], 8*lda, &b[j], &c[i*ldc+j], 8*ldc)
			}
		}
	default:
		subMatMul64Go(c, ldc, a, lda, m, b, k)
	}
}
