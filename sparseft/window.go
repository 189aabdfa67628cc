package sparseft

import "fmt"

// window gathers the gradients that growth is chosen by: of the candidates, which the first step or its first microbatch
// fixes, over the steps of the window.
type window struct {
	*tensor
	limit   int       // candidates
	dense   []float32 // sum over the microbatches of the first step of all weights, while no candidate is known
	index   []int32   // candidates: flat indices, ascending
	now     []float32 // sum of their gradients over the microbatches of this step
	sums    []float32 // Σg over the steps
	squares []float32 // Σg²
	steps   int32     // n
}

func newWindow(t *tensor, o *Options) window {
	return window{tensor: t, limit: min(t.total, o.CandidateFactor*t.quota)}
}

// reader returns what has to see the dense gradient of a microbatch while there are no candidates, and what to call then.
func (w *window) reader(m *moment) (consumer, func()) {
	if m.Accumulation > 1 && m.Candidates == FirstStep {
		if w.dense == nil {
			w.dense = make([]float32, w.total)
		}
		return denseSum{w.dense, w.cols}, func() {}
	}
	c := &gradients{w.choose(w.limit), w.cols}
	return c, func() { w.begin(c) }
}

// begin takes the candidates and their gradients so far.
func (w *window) begin(c *gradients) {
	w.index, w.now = c.take()
	w.sums, w.squares = make([]float32, len(w.index)), make([]float32, len(w.index))
}

// end closes a step of the window: its gradients are the sums times the scale.
func (w *window) end(m *moment) {
	if w.dense != nil {
		c := &gradients{w.choose(w.limit), w.cols}
		c.block(w.dense, 0, w.rows)
		w.begin(c)
		w.dense = nil
	}
	for i, s := range w.now {
		g := float64(s) * m.scale
		w.sums[i] += float32(g)
		w.squares[i] += float32(float64(g * g))
		w.now[i] = 0
	}
	w.steps++
}

// forget ends the window.
func (w *window) forget() {
	w.dense, w.index, w.now, w.sums, w.squares, w.steps = nil, nil, nil, nil, nil, 0
}

// check returns the position of the first gradient that is too large.
func (w *window) check(m *moment) int {
	if i := m.check(w.dense); i >= 0 {
		return i
	}
	if i := m.check(w.now); i >= 0 {
		return int(w.index[i])
	}
	return -1
}

// arrays shows the state.
func (w *window) arrays(v *arrays) {
	v.floats("dense", &w.dense)
	v.ints("candidates", &w.index)
	v.sums("candidates.now", &w.now, len(w.index))
	v.floats("candidates.sum", &w.sums)
	v.floats("candidates.squares", &w.squares)
	steps := []int32{w.steps}
	v.ints("candidates.steps", &steps)
	if len(steps) == 1 {
		w.steps = steps[0]
	}
}

// restored checks a state that was read.
func (w *window) restored() error {
	n := len(w.index)
	if len(w.now) != n || len(w.sums) != n || len(w.squares) != n || n > w.limit || w.steps < 0 ||
		len(w.dense) != 0 && (len(w.dense) != w.total || n != 0) {
		return fmt.Errorf("a window of %d candidates with %d, %d and %d sums and %d dense ones", n, len(w.now), len(w.sums), len(w.squares), len(w.dense))
	}
	return w.valid(w.index)
}
