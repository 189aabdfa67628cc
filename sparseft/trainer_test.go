package sparseft

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
)

// denseAdam is AdamW as the methods are to agree with, in float64 on all weights that train is true for.
func denseAdam(p *problem, o Options, train func(tensor, at int) bool) [][]float64 {
	var w, m, v [][]float64
	for i := range p.targets {
		n := len(p.base(i))
		m, v = append(m, make([]float64, n)), append(v, make([]float64, n))
		w = append(w, make([]float64, n))
		for j, x := range p.base(i) {
			w[i][j] = float64(x)
		}
	}
	for step := 1; step <= o.Steps; step++ {
		for i := range w {
			for j, x := range w[i] {
				p.work[i][j] = float32(x)
			}
		}
		n := p.samples * o.Accumulation
		g, _ := p.gradient((step-1)*n, step*n)
		for i := range w {
			dense := make([]float32, len(w[i]))
			g[i].Rows(dense, 0, p.targets[i].Rows)
			for j := range w[i] {
				if !train(i, j) {
					continue
				}
				d := float64(dense[j]) / float64(n)
				m[i][j] = o.Beta1*m[i][j] + (1-o.Beta1)*d
				v[i][j] = o.Beta2*v[i][j] + (1-o.Beta2)*d*d
				c1, c2 := 1-math.Pow(o.Beta1, float64(step)), 1-math.Pow(o.Beta2, float64(step))
				delta := w[i][j] - float64(p.base(i)[j])
				delta -= o.rate(step) * m[i][j] / c1 / ((math.Sqrt(v[i][j]) + o.Epsilon) / math.Sqrt(c2))
				delta -= o.rate(step) * o.WeightDecay * delta
				w[i][j] = float64(p.base(i)[j]) + delta
			}
		}
	}
	return w
}

// close compares with a float64 result.
func closeTo(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	for i, x := range got {
		if d := math.Abs(float64(x) - want[i]); !(d <= tolerance*max(1, math.Abs(want[i]))) {
			t.Fatalf("%s: weight %d is %v, want %v", what, i, x, want[i])
		}
	}
}

// TestFullSupport holds that SpIEL-AG whose support is every weight is Adam, with the decay towards the weights trained
// from, and the same bits as full fine-tuning.
func TestFullSupport(t *testing.T) {
	for _, decay := range []float64{0, 3} {
		shapes := [][2]int{{5, 7}, {8, 3}}
		o := options(SpIELAG, 25, 5*7+8*3)
		o.WeightDecay, o.Accumulation, o.Warmup, o.Scheduler = decay, 2, 3, Cosine
		ag, dense, ref := newProblem(1, 3, shapes...), newProblem(1, 3, shapes...), newProblem(1, 3, shapes...)
		ag.train(t, o)
		o.Method = Full
		dense.train(t, o)
		want := denseAdam(ref, o, func(int, int) bool { return true })
		for i := range want {
			closeTo(t, "spiel-ag", ag.work[i], want[i], 2e-5)
			if !equalBits(ag.work[i], dense.work[i]) {
				t.Errorf("decay %v: tensor %d differs from full fine-tuning", decay, i)
			}
		}
	}
}

// TestFixedSupport holds that a support that does not change is dense training with masked gradients.
func TestFixedSupport(t *testing.T) {
	for _, m := range []Method{StaticRandom, StaticGrad} {
		shapes := [][2]int{{6, 9}, {4, 5}}
		o := options(m, 20, 20)
		o.Accumulation = 3
		p, ref := newProblem(2, 2, shapes...), newProblem(2, 2, shapes...)
		tr := p.train(t, o)
		checkWork(t, p, tr)
		in := func(i, j int) bool {
			_, ok := slices.BinarySearch(supportOf(tr, i).index, int32(j))
			return ok
		}
		want := denseAdam(ref, o, in)
		masked := newProblem(2, 2, shapes...)
		for i := range want {
			closeTo(t, string(m), p.work[i], want[i], 2e-5)
			masked.targets[i].Mask = NewMask(len(want[i]))
			for _, at := range supportOf(tr, i).index {
				masked.targets[i].Mask.Keep(int(at))
			}
		}
		if m == StaticGrad {
			g, _ := newProblem(2, 2, shapes...).gradient(0, 6)
			for i := range g {
				if want := bruteTop(g[i], p.targets[i], len(supportOf(tr, i).index)); !slices.Equal(supportOf(tr, i).index, want) {
					t.Errorf("the support %v is not that of the largest gradients, %v", supportOf(tr, i).index, want)
				}
			}
			continue // the sums of the first step are rounded elsewhere
		}
		o.Method = Full
		masked.train(t, o)
		for i := range want {
			if !equalBits(masked.work[i], p.work[i]) {
				t.Errorf("%s: tensor %d differs from full fine-tuning under the mask", m, i)
			}
		}
	}
}

// TestZeroGradients holds that without gradients deltas decay, and nothing else happens to them.
func TestZeroGradients(t *testing.T) {
	for _, m := range []Method{SpIELAG, SpIELMA, StaticRandom, Full} {
		p := newProblem(3, 2, [2]int{4, 6})
		o := options(m, 60, 10)
		o.WeightDecay, o.LearningRate = 5, 0.02
		o.ReselectionSteps, o.SelectionAccumulationSteps = 100, 50 // not in these steps
		tr := start(t, p, o)
		var delta []float32
		if f, ok := tr.tuners[0].(*full); ok {
			delta = f.delta
		} else {
			delta = supportOf(tr, 0).delta
		}
		for i := range delta {
			delta[i] = float32(i) - 3
		}
		for step := 1; step <= 12; step++ {
			if err := errors.Join(tr.Add(0, Dense{make([]float32, 24), 6}), tr.EndMicrobatch(1, 1)); err != nil {
				t.Fatal(err)
			}
			if _, err := tr.Step(); err != nil {
				t.Fatal(err)
			}
			for i, d := range delta {
				want := (float64(i) - 3) * math.Pow(1-0.1, float64(step))
				if math.Abs(float64(d)-want) > 1e-5*math.Abs(want) {
					t.Fatalf("%s, step %d: δ is %v, want %v", m, step, d, want)
				}
			}
		}
	}
}

// TestAccumulation holds that how a batch is cut into microbatches changes candidates and supports in nothing and weights by
// rounding alone.
func TestAccumulation(t *testing.T) {
	for _, m := range Methods {
		var works [][][]float32
		var supports, candidates [][]int32
		for _, cut := range []int{1, 2, 8} {
			p := newProblem(4, 8/cut, [2]int{10, 12}, [2]int{7, 9})
			o := options(m, 14, 40)
			o.Accumulation = cut
			tr := start(t, p, o)
			var all, mid []int32
			for !tr.Done() {
				p.step(t, tr)
				if step, _ := tr.Cursor(); step == 7 && m == SpIELAG { // within a window
					for i := range p.targets {
						mid = append(mid, tr.tuners[i].(*spielAG).window.index...)
					}
				}
			}
			for i := range p.targets {
				if s := supportOf(tr, i); s != nil {
					all = append(all, s.index...)
				}
			}
			works, supports, candidates = append(works, p.work), append(supports, all), append(candidates, mid)
		}
		for k := 1; k < 3; k++ {
			if !slices.Equal(supports[0], supports[k]) || !slices.Equal(candidates[0], candidates[k]) || m == SpIELAG && len(candidates[0]) < 30 {
				t.Errorf("%s: supports or candidates differ", m)
			}
			for i := range works[0] {
				for j, x := range works[0][i] {
					if d := math.Abs(float64(x - works[k][i][j])); d > 1e-4 {
						t.Fatalf("%s: weight %d differs by %v", m, j, d)
					}
				}
			}
		}
	}
}

// TestMicrobatchWeights holds that microbatches count by what their loss is summed over.
func TestMicrobatchWeights(t *testing.T) {
	p := newProblem(5, 1, [2]int{3, 4})
	o := options(Full, 1, 0)
	o.Accumulation = 2
	tr := start(t, p, o)
	for _, n := range [][2]int{{0, 1}, {1, 6}} {
		g, loss := p.gradient(n[0], n[1])
		if err := errors.Join(tr.Add(0, g[0]), tr.EndMicrobatch(loss, float64(n[1]-n[0]))); err != nil {
			t.Fatal(err)
		}
	}
	g, loss := p.gradient(0, 6)
	if _, err := tr.Step(); err != nil {
		t.Fatal(err)
	}
	for i, m := range tr.tuners[0].(*full).adam.m {
		if want := 0.1 * float64(g[0].(factors).one(i/4, i%4)) / 6; math.Abs(float64(m)-want) > 1e-6*math.Abs(want)+1e-7 {
			t.Errorf("moment %d is %v, want %v", i, m, want)
		}
	}
	if math.Abs(tr.Loss()-loss/6) > 1e-9*loss {
		t.Errorf("the loss is %v, want %v", tr.Loss(), loss/6)
	}
}

// TestThreads holds that threads change nothing: those of a step, nor gradients that are added at the same time.
func TestThreads(t *testing.T) {
	for _, m := range Methods {
		var states []string
		for _, threads := range []int{1, 2, 5} {
			p := newProblem(6, 2, [2]int{10, 12}, [2]int{7, 9}, [2]int{4, 30})
			o := options(m, 14, 60)
			tr := start(t, p, o)
			tr.Threads = threads
			for !tr.Done() {
				step, _ := tr.Cursor()
				g, loss := p.gradient(step*2, step*2+2)
				var adding sync.WaitGroup
				for i := range g {
					adding.Go(func() {
						if err := tr.Add(i, g[i]); err != nil {
							t.Error(err)
						}
					})
					if threads == 1 {
						adding.Wait()
					}
				}
				adding.Wait()
				if err := tr.EndMicrobatch(loss, 2); err != nil {
					t.Fatal(err)
				}
				p.step(t, tr)
			}
			states = append(states, string(state(t, tr)))
		}
		if states[0] != states[1] || states[0] != states[2] {
			t.Errorf("%s: the number of threads shows in the result", m)
		}
	}
}

// TestPlanted holds that SpIEL finds the few weights in which the goal differs: AG wherever they are, MA, whose scores are
// products of a row's and a column's, where they fill some rows and columns.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		method Method
		rate   float64
		block  bool
		least  int // of 48; 13 are expected of chance
	}{
		{SpIELAG, 0.05, false, 45},
		{SpIELAG, 0.05, true, 45},
		{SpIELMA, 0.3, true, 36},
		{StaticGrad, 0.05, false, 24},
	} {
		const rows, cols, k = 12, 15, 48
		p := newProblem(7, 16, [2]int{rows, cols})
		p.noise = 0.1
		for j, x := range p.base(0) {
			p.goal[0][j] = float64(x)
		}
		allowed, total := func(int) bool { return true }, rows*cols
		if c.block { // 6 rows and 8 columns
			allowed, total = func(at int) bool { return at/cols%2 == 1 && at%cols%2 == 0 }, k
		}
		planted := sample(random(9, "planted", ""), k, rows*cols, total, allowed)
		for i, at := range planted {
			p.goal[0][at] += float64(i%2*2-1) * (0.5 + float64(i)/k)
		}
		o := options(c.method, 200, k)
		o.InitialReselectionRate, o.LearningRate, o.Scheduler = 0.4, c.rate, Linear
		tr := start(t, p, o)
		p.step(t, tr)
		first := tr.Loss()
		for !tr.Done() {
			p.step(t, tr)
		}
		found := 0
		for _, at := range supportOf(tr, 0).index {
			if _, ok := slices.BinarySearch(planted, at); ok {
				found++
			}
		}
		t.Logf("%s: precision %d/%d, loss %.3g to %.3g", c.method, found, k, first, tr.Loss())
		if found < c.least {
			t.Errorf("%s: %d of %d planted weights found", c.method, found, k)
		}
		if c.method == SpIELAG && tr.Loss() > first/20 {
			t.Errorf("%s: the loss fell from %v to %v", c.method, first, tr.Loss())
		}
	}
}

// TestDiverged holds that what is not finite stops a training, names the step and the tensor, and leaves the last good
// state.
func TestDiverged(t *testing.T) {
	for _, m := range Methods {
		for _, c := range []struct {
			name string
			bad  float32
			loss float64
			want []string
		}{
			{"gradient", float32(math.NaN()), 1, []string{"step 3", "layer.1", "NaN", "row 2, column 1"}},
			{"infinite", float32(math.Inf(-1)), 1, []string{"step 3", "layer.1", "-Inf"}},
			{"large", 1e30, 1, []string{"step 3", "layer.1", "larger than"}},
			{"loss", 0, math.NaN(), []string{"step 3", "loss is NaN"}},
		} {
			p := newProblem(8, 2, [2]int{4, 5}, [2]int{5, 4})
			o := options(m, 9, 40)
			if m == StaticRandom || m == SpIELMA {
				o.NumTunableWeights = 40 // every weight, so that the bad one is seen
			}
			tr := start(t, p, o)
			p.step(t, tr)
			p.step(t, tr)
			g, _ := p.gradient(0, 2)
			bad := make([]float32, 20)
			bad[2*4+1] = c.bad
			err := tr.Add(0, g[0])
			if err == nil {
				err = tr.Add(1, Dense{bad, 4})
			}
			if e := tr.EndMicrobatch(c.loss, 1); err == nil {
				err = e
			}
			if err == nil {
				_, err = tr.Step()
			}
			if !errors.Is(err, ErrDiverged) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%s, %s: %v", m, c.name, err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s, %s: the error %q does not say %q", m, c.name, err, w)
				}
			}
			checkWork(t, p, tr)
			if e := tr.EndMicrobatch(1, 1); !errors.Is(e, ErrDiverged) {
				t.Errorf("%s, %s: it went on: %v", m, c.name, e)
			}
			if e := tr.Save(new(strings.Builder)); !errors.Is(e, ErrDiverged) {
				t.Errorf("%s, %s: a checkpoint was written: %v", m, c.name, e)
			}
			if d := tr.Delta(); d.Steps != 2 {
				t.Errorf("%s, %s: the delta is of step %d", m, c.name, d.Steps)
			}
		}
	}
}

// TestDivergence holds that a learning rate that is too large is noticed, and that noise is not taken for it.
func TestDivergence(t *testing.T) {
	for _, rate := range []float64{0.01, 5} {
		p := newProblem(9, 1, [2]int{6, 8})
		o := options(Full, 60, 0)
		o.LearningRate, o.Divergence = rate, 3
		tr := start(t, p, o)
		var err error
		for err == nil && !tr.Done() {
			p.microbatch(t, tr)
			var patches []Patch
			patches, err = tr.Step()
			if err == nil {
				tr.Apply(patches, p.work)
			}
		}
		if large := rate > 1; large != errors.Is(err, ErrDiverged) || large && !strings.Contains(err.Error(), "learning rate of 5") {
			t.Errorf("learning rate %v: %v", rate, err)
		}
	}
}

// TestOrder holds that calls out of order are errors and change nothing.
func TestOrder(t *testing.T) {
	p := newProblem(10, 1, [2]int{3, 4}, [2]int{2, 5})
	o := options(StaticRandom, 1, 8)
	tr := start(t, p, o)
	g, loss := p.gradient(0, 1)
	want := func(err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
	_, err := tr.Step()
	want(err, "0 of 1 microbatches")
	if err := tr.Add(1, g[1]); err != nil {
		t.Fatal(err)
	}
	want(tr.Add(1, g[1]), "another gradient of layer.1")
	want(tr.Save(new(strings.Builder)), "within microbatch 1 of step 1")
	want(tr.EndMicrobatch(loss, 1), "no gradient of layer.0")
	if err := tr.Add(0, g[0]); err != nil {
		t.Fatal(err)
	}
	want(tr.EndMicrobatch(loss, 0), "a weight of 0")
	if err := tr.EndMicrobatch(loss, 1); err != nil {
		t.Fatal(err)
	}
	want(tr.Add(0, g[0]), "another gradient of layer.0")
	if _, err = tr.Step(); err != nil || !tr.Done() {
		t.Errorf("%v, done %v", err, tr.Done())
	}
	want(tr.Add(0, g[0]), "step 2")
}
