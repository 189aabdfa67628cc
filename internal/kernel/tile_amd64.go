//go:build amd64 && !noasm

package kernel

// wide computes rows of a whole panel. The rows are split evenly over register tiles of at most 14 (AVX-512) or 6 (AVX2), so that none
// is padded and no tile is much smaller than the others. The first few fetch the panel that is due next, each a part of it.
func (t tile) wide(v variant, rows int) {
	switch v {
	case avx512:
		n := (rows + 13) / 14
		for i := range n {
			t.callAVX512(rows*i/n, rows*(i+1)/n, t.share(i))
		}
	case avx2:
		n := (rows + 5) / 6
		for i := range n {
			t.callAVX2(rows*i/n, rows*(i+1)/n, 0, t.share(i))
			t.callAVX2(rows*i/n, rows*(i+1)/n, 16, 0)
		}
	default:
		t.wideGo(rows)
	}
}

// fetchBytes is how much of every fetchShares·fetchBytes bytes ahead one call fetches.
const (
	fetchBytes  = 128
	fetchShares = 4
)

// share is the distance, in bytes, of what the i-th register tile fetches; 0, the numbers that it reads itself, where nothing is left to do.
func (t tile) share(i int) int {
	if t.ahead == 0 || i >= fetchShares {
		return 0
	}
	return 4*t.ahead + fetchBytes*i
}

// callAVX512 computes rows [r0, r1) of the panel.
func (t tile) callAVX512(r0, r1, ahead int) {
	k, lda, ldc, accumulate := t.k, 4*t.lda, 4*t.ldc, t.accumulate
	a, b, c := &t.a[r0*t.lda], &t.b[0], &t.c[r0*t.ldc]
	switch r1 - r0 {
	case 1:
		matmul1x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 2:
		matmul2x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 3:
		matmul3x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 4:
		matmul4x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 5:
		matmul5x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 6:
		matmul6x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 7:
		matmul7x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 8:
		matmul8x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 9:
		matmul9x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 10:
		matmul10x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 11:
		matmul11x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 12:
		matmul12x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 13:
		matmul13x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	case 14:
		matmul14x32AVX512(k, a, lda, b, c, ldc, accumulate, ahead)
	}
}

// callAVX2 computes rows [r0, r1) of half a panel, the 16 columns from j on.
func (t tile) callAVX2(r0, r1, j, ahead int) {
	k, lda, ldc, accumulate := t.k, 4*t.lda, 4*t.ldc, t.accumulate
	a, b, c := &t.a[r0*t.lda], &t.b[j], &t.c[r0*t.ldc+j]
	switch r1 - r0 {
	case 1:
		matmul1x16AVX2(k, a, lda, b, c, ldc, accumulate, ahead)
	case 2:
		matmul2x16AVX2(k, a, lda, b, c, ldc, accumulate, ahead)
	case 3:
		matmul3x16AVX2(k, a, lda, b, c, ldc, accumulate, ahead)
	case 4:
		matmul4x16AVX2(k, a, lda, b, c, ldc, accumulate, ahead)
	case 5:
		matmul5x16AVX2(k, a, lda, b, c, ldc, accumulate, ahead)
	case 6:
		matmul6x16AVX2(k, a, lda, b, c, ldc, accumulate, ahead)
	}
}
