package engine

import (
	"fmt"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Inner returns ⟨∇, L - base⟩ for each level L of the matrix: to first order, how much the loss changes when the level takes the place of base, the
// weights that the gradient was taken at. nil weights, of a level that drops the module, are zeros. Gradient and levels are streamed row
// block by row block. The sums are float32 for a row and float64 over the rows in order.
//
// LeCun, Denker and Solla, Optimal Brain Damage, NeurIPS 1989, have the first-order term that they assume to vanish; at a compressed
// model it does not.
func (p *Product) Inner(base Weights, levels []Weights) ([]float64, error) {
	for _, w := range append([]Weights{base}, levels...) {
		if w == nil {
			continue
		}
		if rows, cols := w.Shape(); rows != p.rows || cols != p.cols {
			return nil, fmt.Errorf("engine: the gradient of %s is %dx%d; the weights for it are %dx%d", p.Name, p.rows, p.cols, rows, cols)
		}
	}
	totals := make([]float64, len(levels))
	sums := make([][]float32, len(levels)) // of the rows of a part
	p.stream(func(gradient []float32, first, n int) {
		for i := range sums {
			sums[i] = grow(sums[i], n)
		}
		p.m.pool.Run(ceil(n, panelRows)/panelRows, func(part int) {
			s := <-p.m.scratch
			defer func() { p.m.scratch <- s }()
			at := part * panelRows
			size := min(panelRows, n-at) * p.cols
			s.decode, s.back.base = grow(s.decode, panelRows*p.cols), grow(s.back.base, panelRows*p.cols)
			old, step := s.back.base[:size], s.decode[:size]
			decodeOrZero(base, first+at, size/p.cols, old)
			for i, w := range levels {
				decodeOrZero(w, first+at, size/p.cols, step)
				kernel.AddScaled(step, old, -1)
				for r := 0; r < size; r += p.cols {
					sums[i][at+r/p.cols] = kernel.Dot(gradient[at*p.cols+r:][:p.cols], step[r:][:p.cols])
				}
			}
		})
		for i := range totals {
			for _, x := range sums[i] {
				totals[i] += float64(x)
			}
		}
	})
	for i, x := range totals {
		if !finite(x) {
			return nil, notFiniteErr("%s: the product of gradient and level %d is NaN or infinite", p.Name, i)
		}
	}
	return totals, nil
}

// decodeOrZero decodes n rows of weights, of which nil stands for zeros.
func decodeOrZero(w Weights, first, n int, dst []float32) {
	if w == nil {
		clear(dst)
	} else {
		w.DecodeRows(first, n, dst)
	}
}
