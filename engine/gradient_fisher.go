package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Fisher is the diagonal of the empirical Fisher information of a parameter: the mean of the squared gradients of microbatches.
type Fisher struct {
	Name       string // as in Model.Gradient
	Rows, Cols int
	Diagonal   []float32 // row-major
}

// Fisher runs a candidate over microbatches of so many windows, the last of which may be smaller, and returns the diagonals of the parameters that want
// chooses, from the head to the embeddings. Each microbatch's gradient is that of its own loss, whose Counted is for all windows. The diagonals,
// 4 bytes a parameter, are in memory; dense gradients are not.
//
// Kirkpatrick et al., Overcoming Catastrophic Forgetting in Neural Networks, arXiv 1612.00796; Kunstner, Balles and Hennig, Limitations
// of the Empirical Fisher Approximation, arXiv 1905.12558.
func (m *Model) Fisher(ctx context.Context, windows [][]int32, size int, c Candidate, loss Loss, want func(name string) bool) ([]Fisher, error) {
	if size < 1 || len(windows) == 0 {
		return nil, fmt.Errorf("engine: %d windows in microbatches of %d", len(windows), size)
	}
	counted := loss.Counted
	if counted != nil && len(counted) != len(windows) {
		return nil, fmt.Errorf("engine: %d windows, but %d that tell what counts", len(windows), len(counted))
	}
	var diagonals []Fisher
	batches := 0
	for part := range slices.Chunk(windows, size) {
		if counted != nil {
			loss.Counted, counted = counted[:len(part)], counted[len(part):]
		}
		next := 0
		_, err := m.Gradient(ctx, part, c, loss, want, func(p *Product) error {
			rows, cols := p.Shape()
			if batches == 0 {
				diagonals = append(diagonals, Fisher{p.Name, rows, cols, make([]float32, rows*cols)})
			}
			p.addSquares(diagonals[next].Diagonal)
			next++
			return nil
		})
		if err != nil {
			return nil, err
		}
		batches++
	}
	for _, f := range diagonals {
		kernel.Scale(f.Diagonal, 1/float32(batches))
	}
	return diagonals, nil
}

// streamed is the most elements of a gradient that exist at a time where it is streamed: rows enough for every thread of most machines.
const streamed = 1 << 21

// stream calls f for the gradient's rows in order, some at a time. The slice is f's to change, but not to keep.
func (p *Product) stream(f func(rows []float32, first, n int)) {
	each := max(1, min(p.rows, streamed/p.cols))
	p.m.back.dense = grow(p.m.back.dense, each*p.cols)
	for first := 0; first < p.rows; first += each {
		n := min(each, p.rows-first)
		part := p.m.back.dense[:n*p.cols]
		p.Rows(part, first, first+n)
		f(part, first, n)
	}
}

// addSquares adds the squares of the gradient to sum.
func (p *Product) addSquares(sum []float32) {
	p.stream(func(rows []float32, first, n int) {
		dst := sum[first*p.cols:][:len(rows)]
		for i, x := range rows {
			dst[i] += float32(x * x)
		}
	})
}
