package engine

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Weights is the matrix of one linear module in its stored form: dense in a
// checkpoint, or a level of a bank. A linear module computes y = W·x.
//
// An implementation is safe for concurrent use: rows are decoded in parallel.
type Weights interface {
	// Shape returns the numbers of output features (rows) and input features
	// (columns).
	Shape() (rows, cols int)
	// DecodeRows writes the n rows from row first on to dst as row-major
	// float32; dst has at least n*cols elements.
	DecodeRows(first, n int, dst []float32)
}

// Dense returns the weights that the checkpoint holds for a linear module, by
// the module's name (without ".weight").
func Dense(ck *Checkpoint, module string) (Weights, error) {
	t, err := ck.Tensor(module + ".weight")
	if err != nil {
		return nil, err
	}
	if len(t.Shape) != 2 {
		return nil, fmt.Errorf("engine: tensor %s has %d dimensions; a linear module's has 2", t.Name, len(t.Shape))
	}
	return denseWeights{t}, nil
}

// denseWeights makes a checkpoint's tensor the weights of a module.
type denseWeights struct{ tensor Tensor }

func (w denseWeights) Shape() (rows, cols int) { return w.tensor.Shape[0], w.tensor.Shape[1] }

func (w denseWeights) DecodeRows(first, n int, dst []float32) { w.tensor.DecodeRows(first, n, dst) }

// panelRows is the number of rows of a matrix that are decoded and packed at a
// time.
const panelRows = kernel.PanelWidth

// pack decodes w into panels of the same shape, a panel at a time on every
// thread. It fails when a weight is NaN or infinite; the panels then hold
// unspecified values.
func (m *Model) pack(dst *kernel.Panels, name string, w Weights) error {
	var bad atomic.Int64 // smallest row that holds a weight that is not finite, plus 1
	m.pool.Run(dst.Panels(), func(i int) {
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		first := i * panelRows
		n := min(panelRows, dst.Rows-first)
		s.decode = grow(s.decode, panelRows*dst.Cols)
		rows := s.decode[:n*dst.Cols]
		w.DecodeRows(first, n, rows)
		if at := notFinite(rows); at >= 0 {
			row := int64(first + at/dst.Cols + 1)
			for old := bad.Load(); (old == 0 || row < old) && !bad.CompareAndSwap(old, row); old = bad.Load() {
			}
		}
		dst.Pack(first, rows, n)
	})
	if row := bad.Load(); row != 0 {
		return notFiniteErr("%s: row %d holds a weight that is NaN or infinite", name, row-1)
	}
	return nil
}

// notFinite returns the index of the first NaN or infinity in x, or -1.
func notFinite(x []float32) int {
	const exponent = 0x7f800000
	for i, v := range x {
		if math.Float32bits(v)&exponent == exponent {
			return i
		}
	}
	return -1
}

// grow returns a slice of n elements, buf's memory where it suffices.
func grow(buf []float32, n int) []float32 {
	if cap(buf) < n {
		return make([]float32, n)
	}
	return buf[:n]
}
