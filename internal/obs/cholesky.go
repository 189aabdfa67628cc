package obs

import (
	"math"

	"github.com/paretopress/paretopress/internal/kernel"
)

// nb is the number of columns of a block of a factorization, a multiple of the width of a panel.
const nb = 64

// width64 is the number of columns that products in float64 have.
const width64 = kernel.PanelWidth64

// inverseCholesky returns L⁻¹ for the Cholesky factor L of a positive definite matrix, A = L·Lᵀ, whose
// lower triangle is given: n rows, ld numbers apart; the strict upper triangle is not read. It overwrites
// a and returns L⁻¹, lower triangular, in panels of 16 columns: element (i, j) is at
// inverse[(j/16·n+i)·16+j%16]. ok is false if A is not positive definite.
//
// Both steps are blocked so that all but a share of 64/n of the work is in products of matrices; a block on
// the diagonal is inverted, and its inverse used in place of the solution of triangular systems (J. Du Croz
// and N. Higham, Stability of methods for matrix inversion, 1992, on why that is as accurate).
func inverseCholesky(a []float64, n, ld int) (inverse []float64, ok bool) {
	blocks := (n + nb - 1) / nb
	diagonal := make([][]float64, blocks) // minus the inverses of the blocks on the diagonal of L, nb numbers a row
	packed := make([]float64, nb*n)
	var before, after [nb * nb]float64
	for k := range blocks {
		k0, k1 := k*nb, min(k*nb+nb, n)
		w := k1 - k0
		// What the columns before the block leave of it.
		packRows(packed, a[k0*ld:], ld, w, k0)
		for j := 0; j < w; j += width64 {
			subtract(a[k0*ld+k0+j:], ld, a[k0*ld:], ld, n-k0, packed[j*k0:], k0, min(width64, w-j))
		}
		if !cholesky(a[k0*ld+k0:], w, ld) {
			return nil, false
		}
		d := minusInverse(a[k0*ld+k0:], w, ld)
		diagonal[k] = d
		// The rows below: L[i,k] = A[i,k]·L[k,k]⁻ᵀ, a block of rows at a time.
		packRows(before[:], d, nb, w, w)
		for i0 := k1; i0 < n; i0 += nb {
			m := min(nb, n-i0)
			for j := 0; j < w; j += width64 {
				out := after[j*nb:][:m*width64]
				clear(out)
				kernel.SubMatMul64(out, width64, a[i0*ld+k0:], ld, m, before[j*w:], w)
			}
			for i := range m {
				for j := range w {
					a[(i0+i)*ld+k0+j] = after[j/width64*width64*nb+i*width64+j%width64]
				}
			}
		}
	}

	inverse = make([]float64, (n+width64-1)/width64*width64*n)
	for i := range blocks {
		i0, i1 := i*nb, min(i*nb+nb, n)
		m := i1 - i0
		for j0 := 0; j0 < i0; j0 += width64 {
			panel := inverse[j0*n:][:n*width64]
			// L⁻¹[i,j] = L[i,i]⁻¹·(-Σ L[i,k]·L⁻¹[k,j]) over k from j to i-1
			sum := before[:m*width64]
			clear(sum)
			kernel.SubMatMul64(sum, width64, a[i0*ld+j0:], ld, m, panel[j0*width64:], i0-j0)
			out := panel[i0*width64:][:m*width64]
			kernel.SubMatMul64(out, width64, diagonal[i], nb, m, sum, m) // minus the inverse, and a sum with its sign
		}
		for r := range m {
			for c := range r + 1 {
				j := i0 + c
				inverse[(j/width64*n+i0+r)*width64+j%width64] = -diagonal[i][r*nb+c]
			}
		}
	}
	return inverse, true
}

// packRows writes rows [0, rows) of k columns as the columns of panels, padded with zeros: the panel of 16 rows from row j on is
// dst[j·k:].
func packRows(dst, src []float64, ld, rows, k int) {
	for j := 0; j < rows; j += width64 {
		panel := dst[j*k:][:k*width64]
		n := min(width64, rows-j)
		if n < width64 {
			clear(panel)
		}
		for r := range n {
			for l, v := range src[(j+r)*ld:][:k] {
				panel[l*width64+r] = v
			}
		}
	}
}

// subtract is kernel.SubMatMul64 for the first width columns of C, beyond which nothing is written.
func subtract(c []float64, ldc int, a []float64, lda, m int, b []float64, k, width int) {
	if width == width64 {
		kernel.SubMatMul64(c, ldc, a, lda, m, b, k)
		return
	}
	buf := make([]float64, m*width64)
	for i := range m {
		copy(buf[i*width64:], c[i*ldc:][:width])
	}
	kernel.SubMatMul64(buf, width64, a, lda, m, b, k)
	for i := range m {
		copy(c[i*ldc:][:width], buf[i*width64:])
	}
}

// cholesky overwrites the lower triangle of a, n rows ld numbers apart, with its Cholesky factor. It returns false if a is not
// positive definite.
func cholesky(a []float64, n, ld int) bool {
	for i := range n {
		row := a[i*ld:][:i+1]
		for j := range row {
			sum := row[j]
			for k, v := range a[j*ld:][:j] {
				sum -= float64(row[k] * v)
			}
			if i > j {
				row[j] = sum / a[j*ld+j]
				continue
			}
			if !(sum > 0) || math.IsInf(sum, 1) {
				return false
			}
			row[j] = math.Sqrt(sum)
		}
	}
	return true
}

// minusInverse returns minus the inverse of the lower triangle of l, n rows ld numbers apart, with nb numbers a row.
func minusInverse(l []float64, n, ld int) []float64 {
	x := make([]float64, nb*nb)
	for i := range n {
		d := l[i*ld+i]
		x[i*nb+i] = -1 / d
		for j := range i {
			sum := 0.0
			for k := j; k < i; k++ {
				sum += float64(l[i*ld+k] * x[k*nb+j])
			}
			x[i*nb+j] = -sum / d
		}
	}
	return x
}
