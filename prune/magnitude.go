package prune

import (
	"math"

	"github.com/paretopress/paretopress/internal/kernel"
)

// magnitude removes the smallest weights of the matrix, or of each group of a pattern.
func (s Spec) magnitude(w []float32, rows, cols int) (kernel.Packed, error) {
	keys := make([]uint32, len(w))
	for i, v := range w {
		keys[i] = math.Float32bits(v) &^ (1 << 31)
	}
	keep := make([]bool, len(w))
	if s.of > 0 {
		keepPattern(keep, keys, s.keep, s.of)
	} else {
		keepLargest(keep, keys, s.Zeros(len(w)))
	}
	return packKept(w, keep, rows, cols)
}

// packKept stores the weights that are kept as they are: as bfloat16 numbers where one is too large for binary16.
func packKept(w []float32, keep []bool, rows, cols int) (kernel.Packed, error) {
	bf16 := false
	for i, v := range w {
		bf16 = bf16 || keep[i] && tooLarge(v)
	}
	return kernel.PackBitmask(rows, cols, w, keep, bf16)
}

// tooLarge tells whether a weight has no finite binary16 number beside it.
func tooLarge(v float32) bool { return kernel.EncodeF16(v)&0x7fff == 0x7c00 }
