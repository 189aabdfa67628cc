package quant

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs/obstest"
)

// TestEightBits: every weight of int8 and fp8 is the nearest number of its row's grid.
func TestEightBits(t *testing.T) {
	const rows, cols = 7, 40
	w := obstest.Weights(rand.New(rand.NewPCG(3, 3)), rows*cols)
	clear(w[2*cols : 3*cols])
	for j := range cols {
		w[5*cols+j] *= 1e-4
	}
	for level, grid := range map[string]func(top float32) []float32{
		"int8": func(top float32) (all []float32) {
			s := kernel.DecodeF16(max(kernel.EncodeF16(top/127), 1))
			for q := -127; q <= 127; q++ {
				all = append(all, s*float32(q))
			}
			return all
		},
		"fp8": func(top float32) (all []float32) {
			s := kernel.DecodeBF16(kernel.EncodeBF16(top / 448))
			for c := range 256 {
				if x := kernel.DecodeE4M3(uint8(c)); x == x {
					all = append(all, s*x)
				}
			}
			return all
		},
	} {
		packed, got := build(t, level, w, rows, cols, nil)
		for i := range rows {
			top := float32(0)
			for _, x := range w[i*cols:][:cols] {
				top = max(top, float32(math.Abs(float64(x))))
			}
			for j, x := range w[i*cols:][:cols] {
				best := math.Inf(1)
				for _, v := range grid(top) {
					best = min(best, math.Abs(float64(v)-float64(x)))
				}
				if top == 0 {
					best = 0
				}
				if d := math.Abs(float64(got[i*cols+j]) - float64(x)); d > best*(1+1e-6) {
					t.Fatalf("%s: weight %v in row %d became %v, %v off; the nearest is %v off", level, x, i, got[i*cols+j], d, best)
				}
			}
		}
		s, err := Parse(level)
		if err != nil || s.NeedsHessian() || s.String() != level {
			t.Errorf("%s parses as %v, %v", level, s, err)
		}
		if a, b := s.Bytes(rows, cols), packed.Bytes(); a != b || b != rows*cols+2*rows {
			t.Errorf("%s was to take %d bytes and takes %d", level, a, b)
		}
	}
}
