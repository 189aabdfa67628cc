//go:build !noasm

package kernel

// supported tells whether a variant runs here: every arm64 processor that Go runs on has NEON.
func supported(v variant) bool { return v == pureGo || v == neon }

func preferred(variant) bool { return true }

// wide computes rows of a whole panel, split evenly over register tiles of at most 6.
func (t tile) wide(v variant, rows int) {
	if v != neon {
		t.wideGo(rows)
		return
	}
	n := (rows + 5) / 6
	for i := range n {
		t.callNEON(rows*i/n, rows*(i+1)/n, 0)
		t.callNEON(rows*i/n, rows*(i+1)/n, 16)
	}
}

// callNEON computes rows [r0, r1) of half a panel, the 16 columns from j on.
func (t tile) callNEON(r0, r1, j int) {
	k, lda, ldc, accumulate := t.k, 4*t.lda, 4*t.ldc, t.accumulate
	a, b, c := &t.a[r0*t.lda], &t.b[j], &t.c[r0*t.ldc+j]
	switch r1 - r0 {
	case 1:
		matmul1x16NEON(k, a, lda, b, c, ldc, accumulate)
	case 2:
		matmul2x16NEON(k, a, lda, b, c, ldc, accumulate)
	case 3:
		matmul3x16NEON(k, a, lda, b, c, ldc, accumulate)
	case 4:
		matmul4x16NEON(k, a, lda, b, c, ldc, accumulate)
	case 5:
		matmul5x16NEON(k, a, lda, b, c, ldc, accumulate)
	case 6:
		matmul6x16NEON(k, a, lda, b, c, ldc, accumulate)
	}
}

// peakLoop runs the loop of a variant and returns the operations.
func peakLoop(v variant, _ bool, steps int) int64 {
	if v != neon {
		return peakGoLoop(steps)
	}
	peakNEON(steps, peakFactor)
	const sums, multiplyAdd = 24 * 4, 2
	return int64(steps) * sums * multiplyAdd
}
