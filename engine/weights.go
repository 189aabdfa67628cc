package engine

import "fmt"

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
