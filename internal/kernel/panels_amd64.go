//go:build amd64 && !noasm

package kernel

// packColumns is the number of columns that all rows of a panel are packed for before the next: their 8 KB stay in the first-level cache.
const packColumns = 64

// packBlocks packs the first cols columns, a multiple of 8, of 32 rows.
func packBlocks(v variant, dst, src []float32, ld, cols int) {
	if v == pureGo {
		packBlocksGo(dst, src, ld, cols)
		return
	}
	for k := 0; k < cols; k += packColumns {
		for i := 0; i < PanelWidth; i += 8 {
			pack8AVX2(&dst[k*PanelWidth+i], &src[i*ld+k], 4*ld, min(packColumns, cols-k)/8)
		}
	}
}

// transposeTiles transposes the first rows and columns of a matrix, whose numbers it returns.
func transposeTiles(v variant, dst []float32, ldd int, src []float32, lds, rows, cols int) (r, c int) {
	rows, cols = rows&^(lanes-1), cols&^(lanes-1)
	if v < avx512 || rows == 0 || cols == 0 {
		return 0, 0
	}
	for r := 0; r < rows; r += lanes {
		transpose16AVX512(&dst[r], 4*ldd, &src[r*lds], 4*lds, cols/lanes)
	}
	return rows, cols
}
