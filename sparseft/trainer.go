package sparseft

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// ErrDiverged is in the error of a training that was stopped because its loss or a gradient is not finite, or because the
// loss rose. No retry from the same state goes better.
var ErrDiverged = errors.New("training diverged")

// Patch is what a step changed of the working copy of a tensor that gradients are computed with.
type Patch struct {
	Indices []int32
	Values  []float32 // the new weights at the indices
	Whole   bool      // every weight may have changed: read them with [Trainer.Weights]
}

// tuner is the training of one tensor.
type tuner interface {
	// add sums the gradient of a microbatch.
	add(g Gradient, m *moment) error
	// check returns the flat index of a gradient too large to take a step with, and -1 where there is none.
	check(m *moment) int
	// update takes the step that the sums make, which become zero.
	update(m *moment)
	// patch returns what the step changed.
	patch() Patch
	// weights puts the rows from to to-1 of the trained weights in dst.
	weights(dst []float32, from, to int)
	// trainable is the number of parameters.
	trainable() int
	// bytes is what the result of the whole training takes.
	bytes() int64
	// result puts what was trained in d.
	result(d *TensorDelta)
	// arrays shows the state, restored checks one that was read.
	arrays(v *arrays)
	restored(o *Options, step int) error
}

// Trainer is the state of a training. It computes no gradient, does no IO and reads no clock: see the package's example for
// the loop around it.
type Trainer struct {
	// Threads is how many goroutines Step and Apply may use, 1 where it is less. Results do not depend on it.
	Threads int

	options Options
	tensors []*tensor
	tuners  []tuner
	state   progress
	added   []bool  // tensors whose gradient of the current microbatch was added
	errs    []error // of adding it
	bias    []bias
	failed  error
}

// progress is where a training stands.
type progress struct {
	Step    int     `json:"step"`       // steps made
	Micro   int     `json:"microbatch"` // microbatches added since
	Loss    float64 `json:"loss"`       // their summed loss
	Weight  float64 `json:"weight"`     // what it is summed over
	Last    float64 `json:"last"`       // loss of the last step
	Average float64 `json:"average"`    // of losses, over about ten steps
	Lowest  float64 `json:"lowest"`     // such average
}

// New starts a training.
func New(targets []Target, o Options) (*Trainer, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	tensors, err := prepare(targets, o)
	if err != nil {
		return nil, err
	}
	rank := 0
	if o.lowRank() {
		if rank, err = o.rank(tensors); err != nil {
			return nil, err
		}
	}
	t := &Trainer{options: o, tensors: tensors, tuners: make([]tuner, len(tensors)), added: make([]bool, len(tensors)), errs: make([]error, len(tensors))}
	for i, g := range tensors {
		switch o.Method {
		case SpIELAG:
			t.tuners[i] = newSpielAG(g, &t.options)
		case SpIELMA:
			t.tuners[i] = newSpielMA(g, &t.options)
		case StaticRandom, StaticGrad:
			t.tuners[i] = newStatic(g, &t.options, o.Method)
		case LoRA:
			t.tuners[i] = newLoRA(g, &t.options, rank)
		case DSEE:
			t.tuners[i] = newDSEE(g, &t.options, rank)
		case Full:
			t.tuners[i] = newFull(g)
		}
	}
	return t, nil
}

// Options returns what the training was told.
func (t *Trainer) Options() Options { return t.options }

// Trainable is the number of trainable parameters.
func (t *Trainer) Trainable() int64 {
	n := int64(0)
	for _, u := range t.tuners {
		n += int64(u.trainable())
	}
	return n
}

// Cursor returns how many steps were made, and how many microbatches were added since the last: the data goes on with
// microbatch step·G + microbatch.
func (t *Trainer) Cursor() (step, microbatch int) { return t.state.Step, t.state.Micro }

// Loss is the mean loss of the last step, over all its microbatches, at the weights before it.
func (t *Trainer) Loss() float64 { return t.state.Last }

// Done tells whether all steps were made.
func (t *Trainer) Done() bool { return t.state.Step >= t.options.Steps }

// Due tells whether all microbatches of a step were added.
func (t *Trainer) Due() bool { return t.state.Micro == t.options.Accumulation }

// Weights puts the rows from to to-1 of a tensor as trained so far in dst: what the working copy holds when all patches were
// applied, bit for bit.
func (t *Trainer) Weights(tensor int, dst []float32, from, to int) {
	t.tuners[tensor].weights(dst, from, to)
}

// Apply changes the working copies of all tensors, row-major, by what a step has returned.
func (t *Trainer) Apply(patches []Patch, copies [][]float32) {
	t.each(func(i int) {
		p, w := patches[i], copies[i]
		if p.Whole {
			t.Weights(i, w, 0, t.tensors[i].rows)
			return
		}
		for j, at := range p.Indices {
			w[at] = p.Values[j]
		}
	})
}

// moment is what tensors are told of the current step.
func (t *Trainer) moment() *moment {
	return &moment{Options: &t.options, step: t.state.Step + 1}
}

// Add adds the gradient of a tensor over the current microbatch. It may be called for several tensors at once, for each of
// them once a microbatch. A gradient that is not finite is an [ErrDiverged] that names step and tensor; the caller then
// calls nothing but [Trainer.Weights] and [Trainer.Delta], which are those of the last step.
func (t *Trainer) Add(tensor int, g Gradient) error {
	if t.added[tensor] || t.Due() || t.Done() {
		return fmt.Errorf("sparseft: another gradient of %s for microbatch %d of step %d", t.tensors[tensor].name, t.state.Micro+1, t.state.Step+1)
	}
	t.added[tensor] = true
	if err := t.tuners[tensor].add(g, t.moment()); err != nil {
		t.errs[tensor] = fmt.Errorf("sparseft: step %d, microbatch %d: %w: %w", t.state.Step+1, t.state.Micro+1, ErrDiverged, err)
	}
	return t.errs[tensor]
}

// EndMicrobatch ends a microbatch whose gradients were all added. They were those of loss, a sum over weight: a step
// minimises Σloss/Σweight. A mean loss has weight 1; a loss summed over tokens has their number, so that microbatches count
// by their tokens. weight is above 0.
func (t *Trainer) EndMicrobatch(loss, weight float64) error {
	if t.failed != nil {
		return t.failed
	}
	for i, added := range t.added {
		if t.errs[i] != nil {
			t.failed = t.errs[i]
			return t.failed
		}
		if !added {
			return fmt.Errorf("sparseft: no gradient of %s for microbatch %d of step %d", t.tensors[i].name, t.state.Micro+1, t.state.Step+1)
		}
	}
	if !(weight > 0) || math.IsInf(weight, 0) {
		return fmt.Errorf("sparseft: step %d, microbatch %d: a weight of %v", t.state.Step+1, t.state.Micro+1, weight)
	}
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return t.fail("microbatch %d: the loss is %v", t.state.Micro+1, loss)
	}
	t.state.Micro++
	t.state.Loss += loss
	t.state.Weight += weight
	clear(t.added)
	return nil
}

// fail stops the training for good.
func (t *Trainer) fail(format string, args ...any) error {
	t.failed = fmt.Errorf("sparseft: step %d: %w: %s", t.state.Step+1, ErrDiverged, fmt.Sprintf(format, args...))
	return t.failed
}

// Step makes a step from the gradients that were added, and returns what it changed of each tensor. After an error that
// is an [ErrDiverged] nothing has changed.
func (t *Trainer) Step() ([]Patch, error) {
	if t.failed != nil {
		return nil, t.failed
	}
	if !t.Due() {
		return nil, fmt.Errorf("sparseft: step %d has %d of %d microbatches", t.state.Step+1, t.state.Micro, t.options.Accumulation)
	}
	m := t.moment()
	m.scale = 1 / t.state.Weight
	m.rate = t.options.rate(m.step)
	t.bias = t.options.biases(t.bias, m.step)
	m.correction = t.bias
	next, err := t.watch()
	if err != nil {
		return nil, err
	}
	at := make([]int, len(t.tuners))
	t.each(func(i int) { at[i] = t.tuners[i].check(m) })
	for i, place := range at {
		if g := t.tensors[i]; place >= 0 {
			return nil, t.fail("the gradient of %s is larger than %.0g at row %d, column %d", g.name, largest, place/g.cols, place%g.cols)
		}
	}
	t.each(func(i int) { t.tuners[i].update(m) })
	if t.options.reselect(m.step) {
		t.reselect(m)
	}
	t.state = next
	patches := make([]Patch, len(t.tuners))
	t.each(func(i int) { patches[i] = t.tuners[i].patch() })
	return patches, nil
}

// reselector is a tuner whose support changes.
type reselector interface {
	propose(p float64) *proposal
	change(m *moment, p *proposal, grow, stay int)
}

// reselect chooses the supports anew.
func (t *Trainer) reselect(m *moment) {
	p := t.options.share(m.step)
	proposals := make([]*proposal, len(t.tuners))
	t.each(func(i int) { proposals[i] = t.tuners[i].(reselector).propose(p) })
	grow, stay := allocate(proposals, t.options.CrossTensor)
	t.each(func(i int) { t.tuners[i].(reselector).change(m, proposals[i], grow[i], stay[i]) })
}

// watch looks at the loss of a step, and returns the state after it.
func (t *Trainer) watch() (progress, error) {
	const over = 10 // steps
	s := t.state
	s.Step, s.Micro, s.Loss, s.Weight = s.Step+1, 0, 0, 0
	s.Last = t.state.Loss / t.state.Weight
	s.Average += (s.Last - s.Average) / float64(min(s.Step, over))
	if s.Step == 1 || s.Average < s.Lowest && s.Step >= over {
		s.Lowest = s.Average
	}
	if d := t.options.Divergence; d > 0 && s.Lowest > 0 && s.Average > d*s.Lowest {
		return s, t.fail("the loss rose from %.4g to %.4g; the learning rate of %.3g is too large", s.Lowest, s.Average, t.options.LearningRate)
	}
	return s, nil
}

// each calls f for every tensor, on several goroutines where Threads allows. Tensors share nothing, so that the order does
// not matter.
func (t *Trainer) each(f func(tensor int)) {
	threads := min(t.Threads, len(t.tuners))
	if threads < 2 {
		for i := range t.tuners {
			f(i)
		}
		return
	}
	next := make(chan int)
	var all sync.WaitGroup
	for range threads {
		all.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range t.tuners {
		next <- i
	}
	close(next)
	all.Wait()
}
