package sparseft

import (
	"fmt"
	"math"
)

// adam is the state of AdamW for some weights: the moments, and for each weight how many gradients they are the average
// of. Weights that are all of the same age have no list of ages.
//
// D. Kingma and J. Ba, Adam: A Method for Stochastic Optimization, arXiv 1412.6980; I. Loshchilov and F. Hutter,
// Decoupled Weight Decay Regularization, arXiv 1711.05101.
type adam struct {
	m, v []float32
	age  []int32
}

// newAdam returns the state before the first gradient of n weights.
func newAdam(n int, ages bool) adam {
	a := adam{m: make([]float32, n), v: make([]float32, n)}
	if ages {
		a.age = make([]int32, n)
	}
	return a
}

// moment is what the trainer tells tensors about a step.
type moment struct {
	*Options
	step       int     // that is being made, from 1
	scale      float64 // sums of gradients times scale are the gradient
	rate       float64 // learning rate
	correction []bias  // by age
}

// bias is 1-β^age for both moments.
type bias struct{ one, two float64 }

// biases extends a table of bias corrections up to an age. Powers are products of one another, so that they are the same
// on every CPU.
func (o *Options) biases(table []bias, age int) []bias {
	if len(table) == 0 {
		table = append(table, bias{})
	}
	for len(table) <= age {
		last := table[len(table)-1]
		table = append(table, bias{1 - float64((1-last.one)*o.Beta1), 1 - float64((1-last.two)*o.Beta2)})
	}
	return table
}

// update makes a step: δ becomes δ - rate·u, and then δ - rate·decay·δ, where u = m̂/(√v̂ + ε/√(1-β2^age)) is AdamW's update with
// ε added before the bias correction. sums are those of the microbatches' gradients; they become zero.
func (a *adam) update(w *moment, delta, sums []float32) {
	for i := range delta {
		a.one(w, i, &delta[i], &sums[i])
	}
}

// one updates a weight.
func (a *adam) one(w *moment, i int, delta, sum *float32) {
	age := w.step
	if a.age != nil {
		a.age[i]++
		age = int(a.age[i])
	}
	g := float64(*sum) * w.scale
	*sum = 0
	m := float64(w.Beta1*float64(a.m[i])) + float64((1-w.Beta1)*g)
	v := float64(w.Beta2*float64(a.v[i])) + float64((1-w.Beta2)*float64(g*g))
	a.m[i], a.v[i] = float32(m), float32(v)
	c := w.correction[age]
	u := m * math.Sqrt(c.two) / (c.one * (math.Sqrt(v) + w.Epsilon))
	d := float64(*delta) - float64(w.rate*u)
	*delta = float32(d - float64(float64(w.rate*w.WeightDecay)*d))
}

// arrays shows the state.
func (a *adam) arrays(prefix string, v *arrays) {
	v.floats(prefix+"m", &a.m)
	v.floats(prefix+"v", &a.v)
	v.ints(prefix+"age", &a.age)
}

// restored checks a state that was read, of n weights before the end of step.
func (a *adam) restored(n, step int, ages bool) error {
	if len(a.m) != n || len(a.v) != n || ages && len(a.age) != n || !ages && len(a.age) != 0 {
		return fmt.Errorf("%d weights with %d and %d moments and %d ages", n, len(a.m), len(a.v), len(a.age))
	}
	if !ages {
		a.age = nil
	} else if a.age == nil {
		a.age = []int32{}
	}
	for _, age := range a.age {
		if age < 0 || int(age) > step {
			return fmt.Errorf("an age of %d at step %d", age, step)
		}
	}
	return nil
}

// largest is the largest magnitude of a gradient that is taken for one: beyond it its square would leave float32.
const largest = 1e15

// check returns the position of the first sum that makes no gradient, and -1 where all do.
func (w *moment) check(sums []float32) int {
	for i, s := range sums {
		if !(math.Abs(float64(s)*w.scale) <= largest) {
			return i
		}
	}
	return -1
}
