package kernel

import (
	"fmt"
	"testing"
)

// BenchmarkDots is the products of a vector of 256 numbers with one row in twenty of a matrix of 576 or 1536 rows, which is what one row of a sampled gradient
// asks for at a density of 5 %: GB/s are those of the rows.
func BenchmarkDots(b *testing.B) {
	const n = 256
	for _, matrixRows := range []int{576, 1536} {
		b.Run(fmt.Sprintf("%s/%d", Active(), matrixRows), func(b *testing.B) {
			r := newSource(1)
			x, matrix := make([]float32, n), make([]float32, matrixRows*n)
			r.normal(x, 1)
			r.normal(matrix, 1)
			var all [64][]int32
			total := 0
			for i := range all {
				for j := range matrixRows {
					if r.IntN(20) == 0 {
						all[i] = append(all[i], int32(j))
					}
				}
				total += len(all[i])
			}
			dst := make([]float32, matrixRows)
			b.SetBytes(int64(total) * n * 4)
			for b.Loop() {
				for _, rows := range all {
					Dots(dst[:len(rows)], x, matrix, n, rows)
				}
			}
		})
	}
}

// BenchmarkTranspose is the transposition of 4096 rows of 576 or 1536 numbers, 256 rows and 128 columns at a time, as dense gradients of package engine have it.
func BenchmarkTranspose(b *testing.B) {
	const rows, chunk, part = 4096, 256, 128
	for _, cols := range []int{576, 1536} {
		b.Run(fmt.Sprintf("%s/%d", Active(), cols), func(b *testing.B) {
			src, dst := make([]float32, rows*cols), make([]float32, rows*cols)
			b.SetBytes(4 * rows * int64(cols))
			for b.Loop() {
				for first := 0; first < rows; first += chunk {
					for at := 0; at < cols; at += part {
						Transpose(dst[first*cols+at*chunk:], chunk, src[first*cols+at:], cols, chunk, min(part, cols-at))
					}
				}
			}
		})
	}
}
