package quant

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/paretopress/paretopress/internal/kernel"
)

// buildFP8 rounds each weight, divided by the scale of its row, to the nearest FP8 E4M3 number. The scale
// is s = max|w|/448, a bfloat16 number. A row of zeros has scale 1.
func buildFP8(w []float32, rows, cols int) (kernel.Packed, error) {
	codes, scales := make([]byte, rows*cols), make([]byte, 2*rows)
	for i := range rows {
		row := w[i*cols:][:cols]
		top := float32(0)
		for _, x := range row {
			top = max(top, float32(math.Abs(float64(x))))
		}
		h := kernel.EncodeBF16(top / kernel.MaxE4M3)
		if top == 0 {
			h = kernel.EncodeBF16(1)
		} else if h == 0 {
			return nil, fmt.Errorf("row %d: its scale, for weights up to %v, is below every bfloat16 number", i, top)
		}
		binary.LittleEndian.PutUint16(scales[2*i:], h)
		scale := kernel.DecodeBF16(h)
		for j, x := range row {
			codes[i*cols+j] = kernel.EncodeE4M3(x / scale)
		}
	}
	return kernel.NewFP8(rows, cols, codes, scales)
}
