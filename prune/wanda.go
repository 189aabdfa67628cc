package prune

import (
	"math"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
)

// wanda removes of each row, or of each group of a pattern, the weights with the smallest |w|·√(mean of the squared input), and changes no other. Rows of a
// matrix share the removals by cumulative rounding.
func (s Spec) wanda(w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, error) {
	norms := make([]float32, cols)
	for j, square := range f.MeanSquares() {
		norms[j] = float32(math.Sqrt(square))
	}
	keep, keys := make([]bool, len(w)), make([]uint32, cols)
	zeros := int64(s.Zeros(len(w)))
	share := func(row int) int { return int((2*zeros*int64(row) + int64(rows)) / (2 * int64(rows))) }
	for i := range rows {
		for j, v := range w[i*cols:][:cols] {
			keys[j] = math.Float32bits(v*norms[j]) &^ (1 << 31)
		}
		row := keep[i*cols:][:cols]
		if s.of > 0 {
			keepPattern(row, keys, s.keep, s.of)
		} else {
			keepLargest(row, keys, share(i+1)-share(i))
		}
	}
	return packKept(w, keep, rows, cols)
}
