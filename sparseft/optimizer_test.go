package sparseft

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// momentOf is what an optimizer is told of a step.
func momentOf(o Options, step int) *moment {
	return &moment{Options: &o, step: step, scale: 1, rate: o.rate(step), correction: o.biases(nil, step)}
}

// TestBiases compares the table of bias corrections with powers.
func TestBiases(t *testing.T) {
	o := Defaults(SpIELAG)
	table := o.biases(o.biases(nil, 10), 5000)
	for age, b := range table {
		one, two := 1-math.Pow(0.9, float64(age)), 1-math.Pow(0.999, float64(age))
		if math.Abs(b.one-one) > 1e-12 || math.Abs(b.two-two) > 1e-12 {
			t.Fatalf("age %d: %v, want %v and %v", age, b, one, two)
		}
	}
}

// TestYoungWeight holds that a weight without gradients behind it is a weight at the beginning of a training, however old
// its neighbours are.
func TestYoungWeight(t *testing.T) {
	o := options(SpIELAG, 100, 1)
	o.WeightDecay = 0.1
	old, young := newAdam(2, true), newAdam(1, true)
	r := rand.New(rand.NewPCG(1, 2))
	delta, fresh := []float32{0, 0}, []float32{0}
	for step := 1; step <= 40; step++ {
		g := float32(r.NormFloat64())
		sums := []float32{float32(r.NormFloat64()), g}
		if step == 21 {
			old.m[1], old.v[1], old.age[1], delta[1] = 0, 0, 0, 0
		}
		old.update(momentOf(o, step), delta, sums)
		if step > 20 {
			young.update(momentOf(o, step-20), fresh, []float32{g})
			if delta[1] != fresh[0] || fresh[0] == 0 {
				t.Fatalf("step %d: %v, a new training has %v", step, delta[1], fresh[0])
			}
		}
	}
}

// TestConstantGradient holds that bias correction and the seeding of moments leave averages unbiased: under a constant
// gradient g every step of every weight, those that were grown with gradients behind them too, is rate·g/|g|. Microbatches
// differ, their mean does not.
func TestConstantGradient(t *testing.T) {
	p := newProblem(1, 1, [2]int{6, 8})
	o := options(SpIELAG, 40, 12)
	o.Accumulation = 2
	tr := start(t, p, o)
	g := make([]float32, 48)
	r := rand.New(rand.NewPCG(3, 3))
	for i := range g {
		g[i] = float32(r.NormFloat64())
	}
	ag := tr.tuners[0].(*spielAG)
	initial := slices.Clone(ag.index)
	for step := 1; !tr.Done(); step++ {
		index, before := ag.index, slices.Clone(ag.delta)
		for _, away := range []float32{1, -1} {
			part := slices.Clone(g)
			for i := range part {
				part[i] += away * float32(i%3)
			}
			if err := tr.Add(0, Dense{part, 8}); err != nil {
				t.Fatal(err)
			}
			if err := tr.EndMicrobatch(1, 1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tr.Step(); err != nil {
			t.Fatal(err)
		}
		if step == 2 {
			if slices.Equal(ag.index, initial) || !slices.Contains(ag.adam.age, 2) {
				t.Fatal("nothing was grown")
			}
			continue
		}
		for i, at := range index {
			moved := float64(ag.delta[i] - before[i])
			if want := -o.LearningRate * math.Copysign(1, float64(g[at])); math.Abs(moved-want) > 1e-3*o.LearningRate {
				t.Fatalf("step %d: weight %d of gradient %v and age %d moved by %v, want %v", step, at, g[at], ag.adam.age[i], moved, want)
			}
		}
	}
}

// TestSM3 compares SpIEL-MA on the full support with dense SM3 in float64, and holds R and C to rise and to bound the sums
// of squares.
func TestSM3(t *testing.T) {
	const rows, cols = 5, 7
	p, ref := newProblem(2, 3, [2]int{rows, cols}), newProblem(2, 3, [2]int{rows, cols})
	o := options(SpIELMA, 30, rows*cols)
	o.LearningRate, o.WeightDecay = 0.05, 0.3
	tr := start(t, p, o)
	delta, row, col := make([]float64, rows*cols), make([]float64, rows), make([]float64, cols)
	squares := make([]float64, rows*cols)
	for step := range o.Steps {
		for i, d := range delta {
			ref.work[0][i] = float32(float64(p.base(0)[i]) + d)
		}
		gs, _ := ref.gradient(step*3, step*3+3)
		dense := make([]float32, rows*cols)
		gs[0].Rows(dense, 0, rows)
		nu := make([]float64, rows*cols)
		for i, s := range dense {
			g := float64(s) / 3
			nu[i] = min(row[i/cols], col[i%cols]) + g*g
			delta[i] -= 0.05 * g / math.Sqrt(nu[i]+1e-8)
			delta[i] -= 0.05 * 0.3 * delta[i]
		}
		for i, n := range nu {
			row[i/cols], col[i%cols] = max(row[i/cols], n), max(col[i%cols], n)
		}
		ma := tr.tuners[0].(*spielMA)
		oldR, oldC := slices.Clone(ma.row), slices.Clone(ma.col)
		for !tr.Due() {
			p.microbatch(t, tr)
		}
		for i, s := range ma.sum {
			g := float64(s) / 3
			squares[i] += g * g
		}
		patches, err := tr.Step()
		if err != nil {
			t.Fatal(err)
		}
		tr.Apply(patches, p.work)
		for i, r := range ma.row {
			if r < oldR[i] {
				t.Fatalf("R fell from %v to %v", oldR[i], r)
			}
		}
		for i, c := range ma.col {
			if c < oldC[i] {
				t.Fatalf("C fell from %v to %v", oldC[i], c)
			}
		}
		for i, s := range squares {
			if b := float64(min(ma.row[i/cols], ma.col[i%cols])); b < s*(1-1e-5) {
				t.Fatalf("step %d: min(R, C) is %v, the squares of weight %d come to %v", step, b, i, s)
			}
		}
	}
	want := make([]float64, rows*cols)
	for i, d := range delta {
		want[i] = float64(p.base(0)[i]) + d
	}
	closeTo(t, "spiel-ma", p.work[0], want, 2e-5)
	closeTo(t, "R", tr.tuners[0].(*spielMA).row, row, 1e-4)
	closeTo(t, "C", tr.tuners[0].(*spielMA).col, col, 1e-4)
}

// TestLoRAGradients compares the gradients of the factors with central differences of the loss in float64.
func TestLoRAGradients(t *testing.T) {
	const rows, cols, rank = 4, 5, 2
	for _, how := range []string{"dense", "masked", "factored"} {
		masked := how == "masked"
		p := newProblem(3, 6, [2]int{rows, cols})
		p.factor = how == "factored"
		o := options(LoRA, 3, 0)
		if masked {
			o.LowRank = MergedMasked
			p.targets[0].Mask = halfMask(rows, cols)
		}
		tr := start(t, p, o)
		l := &tr.tuners[0].(*lora).lowRank
		r := rand.New(rand.NewPCG(4, 4))
		for i := range l.b {
			l.b[i] = float32(r.NormFloat64()) / 4
		}
		loss := func(a, b []float64) float64 {
			total := 0.0
			for s := range 6 {
				r := rand.New(rand.NewPCG(uint64(s), 0))
				x := make([]float64, cols)
				for j := range x {
					x[j] = r.NormFloat64()
				}
				for i := range rows {
					d := 0.0
					for j := range x {
						w := float64(p.base(0)[i*cols+j])
						for q := range rank {
							w += l.scale * b[i*rank+q] * a[q*cols+j]
						}
						if masked && !p.targets[0].Mask.Has(i*cols+j) {
							w = 0
						}
						d += x[j] * (w - p.goal[0][i*cols+j])
					}
					total += d * d / 2
				}
			}
			return total
		}
		tr.Weights(0, p.work[0], 0, rows)
		p.microbatch(t, tr)
		a, b := wide(l.a), wide(l.b)
		for which, v := range [][]float64{a, b} {
			sums := [][]float32{l.sumA, l.sumB}[which]
			for i := range v {
				const h = 1e-4
				x := v[i]
				v[i] = x + h
				up := loss(a, b)
				v[i] = x - h
				down := loss(a, b)
				v[i] = x
				want := (up - down) / (2 * h)
				if d := math.Abs(float64(sums[i]) - want); d > 1e-3+1e-4*math.Abs(want) {
					t.Errorf("%s, factor %d, weight %d: gradient %v, central difference %v", how, which, i, sums[i], want)
				}
			}
		}
	}
}

func wide(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// halfMask keeps 2 of every 4 weights of a row, and 2 of a shorter rest.
func halfMask(rows, cols int) *Mask {
	m := NewMask(rows * cols)
	for i := range rows {
		for j := range cols {
			if (j+i)%4 < 2 {
				m.Keep(i*cols + j)
			}
		}
	}
	return m
}
