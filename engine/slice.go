package engine

import "fmt"

// Slice is some rows and columns of a linear module as the checkpoint has it: what a narrower sub-block keeps of it.
type Slice struct {
	Tensor     Tensor // the whole
	Rows, Cols []int  // in the order of the slice; nil: all
}

// NewSlice takes rows and columns of a module, by its name (without ".weight"); nil stands for all.
func NewSlice(ck *Checkpoint, module string, rows, cols []int) (Slice, error) {
	w, err := Dense(ck, module)
	if err != nil {
		return Slice{}, err
	}
	s := Slice{w.(denseWeights).tensor, rows, cols}
	for i, index := range [][]int{rows, cols} {
		for _, at := range index {
			if at < 0 || at >= s.Tensor.Shape[i] {
				return Slice{}, fmt.Errorf("engine: %s is %dx%d; it has no %s %d", module, s.Tensor.Shape[0], s.Tensor.Shape[1], [...]string{"row", "column"}[i], at)
			}
		}
	}
	return s, nil
}

func (s Slice) weights() Weights {
	var w Weights = denseWeights{s.Tensor}
	if s.Rows != nil {
		w = rowsAt{w, s.Rows}
	}
	if s.Cols != nil {
		w = colsAt{w, s.Cols}
	}
	return w
}

// Shape returns the numbers of rows and columns of the slice.
func (s Slice) Shape() (rows, cols int) { return s.weights().Shape() }

// DecodeRows writes n rows of the slice to dst as float32, row after row.
func (s Slice) DecodeRows(first, n int, dst []float32) { s.weights().DecodeRows(first, n, dst) }
