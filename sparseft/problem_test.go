package sparseft

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// factors is a gradient dYᵀ·X: dy has a row of outputs and x a row of inputs for every sample. Both methods sum over the
// samples in float64 and in their order.
type factors struct {
	dy, x      []float64
	rows, cols int
}

func (f factors) one(i, j int) float32 {
	sum := 0.0
	for s := range len(f.x) / f.cols {
		sum += float64(f.dy[s*f.rows+i] * f.x[s*f.cols+j])
	}
	return float32(sum)
}

func (f factors) Rows(dst []float32, from, to int) {
	for i := from; i < to; i++ {
		for j := range f.cols {
			dst[(i-from)*f.cols+j] = f.one(i, j)
		}
	}
}

func (f factors) At(dst []float32, indices []int32) {
	for k, at := range indices {
		dst[k] = f.one(int(at)/f.cols, int(at)%f.cols)
	}
}

// multiplied is a gradient that is never read, only multiplied.
type multiplied struct{ factors }

func (multiplied) Rows([]float32, int, int) {
	panic("the rows of a gradient that can be multiplied were read")
}

func (m multiplied) Left(dst, u []float32, k int) {
	for q := range k {
		for j := range m.cols {
			sum := 0.0
			for i := range m.rows {
				sum += float64(float64(u[q*m.rows+i]) * float64(m.one(i, j)))
			}
			dst[q*m.cols+j] = float32(sum)
		}
	}
}

func (m multiplied) Right(dst, v []float32, k int) {
	for q := range k {
		for i := range m.rows {
			sum := 0.0
			for j := range m.cols {
				sum += float64(float64(v[q*m.cols+j]) * float64(m.one(i, j)))
			}
			dst[q*m.rows+i] = float32(sum)
		}
	}
}

// problem is a linear regression for every tensor: ½‖X·W'ᵀ - X·W*ᵀ‖², of samples that the number of the microbatch decides.
// With frozen set, gradients are those at the weights trained from, whatever the working copy is.
type problem struct {
	targets []Target
	goal    [][]float64
	work    [][]float32
	samples int
	frozen  bool
	factor  bool    // gradients are multiplied, not computed
	noise   float64 // standard deviation of what is added to the outputs
}

// newProblem makes tensors of the shapes, whose goals differ from them in every weight.
func newProblem(seed uint64, samples int, shapes ...[2]int) *problem {
	r := rand.New(rand.NewPCG(seed, 0))
	p := &problem{samples: samples}
	for i, s := range shapes {
		w, goal := make([]float32, s[0]*s[1]), make([]float64, s[0]*s[1])
		for j := range w {
			w[j] = float32(r.NormFloat64())
			goal[j] = float64(w[j]) + r.NormFloat64()
		}
		p.targets = append(p.targets, Target{Name: fmt.Sprintf("layer.%d", i), Rows: s[0], Cols: s[1], Base: Dense{w, s[1]}})
		p.goal = append(p.goal, goal)
		p.work = append(p.work, slices.Clone(w))
	}
	return p
}

// base is what a tensor is trained from.
func (p *problem) base(i int) []float32 { return p.targets[i].Base.(Dense).Data }

// gradient returns the gradients of samples numbered from to to-1, and their summed loss.
func (p *problem) gradient(from, to int) ([]Gradient, float64) {
	var out []Gradient
	loss := 0.0
	for i, t := range p.targets {
		f := factors{rows: t.Rows, cols: t.Cols}
		w := p.work[i]
		if p.frozen {
			w = p.base(i)
		}
		for s := from; s < to; s++ {
			r := rand.New(rand.NewPCG(uint64(s), uint64(i)))
			x := make([]float64, t.Cols)
			for j := range x {
				x[j] = r.NormFloat64()
			}
			f.x = append(f.x, x...)
			for row := range t.Rows {
				d := p.noise * r.NormFloat64()
				for j := range x {
					d += x[j] * (float64(w[row*t.Cols+j]) - p.goal[i][row*t.Cols+j])
				}
				f.dy = append(f.dy, d)
				loss += d * d / 2
			}
		}
		if p.factor {
			out = append(out, multiplied{f})
		} else {
			out = append(out, f)
		}
	}
	return out, loss
}

// microbatch adds the next microbatch.
func (p *problem) microbatch(t testing.TB, tr *Trainer) {
	t.Helper()
	step, micro := tr.Cursor()
	n := step*tr.Options().Accumulation + micro
	g, loss := p.gradient(n*p.samples, (n+1)*p.samples)
	for i := len(g) - 1; i >= 0; i-- { // as a backward pass meets them
		if err := tr.Add(i, g[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.EndMicrobatch(loss, float64(p.samples)); err != nil {
		t.Fatal(err)
	}
}

// step makes one step.
func (p *problem) step(t testing.TB, tr *Trainer) []Patch {
	t.Helper()
	for !tr.Due() {
		p.microbatch(t, tr)
	}
	patches, err := tr.Step()
	if err != nil {
		t.Fatal(err)
	}
	tr.Apply(patches, p.work)
	return patches
}

// train trains to the end.
func (p *problem) train(t testing.TB, o Options) *Trainer {
	t.Helper()
	tr := start(t, p, o)
	for !tr.Done() {
		p.step(t, tr)
	}
	return tr
}

func start(t testing.TB, p *problem, o Options) *Trainer {
	t.Helper()
	tr, err := New(p.targets, o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// options are the defaults of a method with what small problems need.
func options(m Method, steps int, tunable int64) Options {
	o := Defaults(m)
	o.Steps, o.NumTunableWeights, o.LearningRate, o.Scheduler = steps, tunable, 0.01, Constant
	o.ReselectionSteps, o.SelectionAccumulationSteps = 6, 2
	o.Divergence, o.Seed = 0, 1
	if o.lowRank() {
		o.Rank = 2
	}
	if m == LoRA {
		o.NumTunableWeights = 0
	}
	return o
}

// state is a checkpoint.
func state(t testing.TB, tr *Trainer) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tr.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// supportOf is the support of a tensor that is trained sparsely.
func supportOf(tr *Trainer, i int) *sparse {
	switch u := tr.tuners[i].(type) {
	case *spielAG:
		return &u.sparse
	case *spielMA:
		return &u.sparse
	case *static:
		return &u.sparse
	case *dsee:
		return &u.sparse.sparse
	}
	return nil
}

// equalBits compares bit for bit.
func equalBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// checkWork holds the working copy to be what Weights gives.
func checkWork(t testing.TB, p *problem, tr *Trainer) {
	t.Helper()
	for i, g := range p.targets {
		w := make([]float32, g.Rows*g.Cols)
		tr.Weights(i, w, 0, g.Rows)
		if !equalBits(w, p.work[i]) {
			t.Fatalf("%s: the patched working copy is not the trained tensor", g.Name)
		}
	}
}
