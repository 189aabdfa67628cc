package sparseft

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// TestShares holds the shares that are replaced to be those of the paper.
func TestShares(t *testing.T) {
	o := Defaults(SpIELAG)
	o.Steps = 200
	want := []float64{1, .175, .155, .135, .115, .095, .075, .055, .035, .015}
	i := 0
	for step := 1; step <= 210; step++ {
		if !o.reselect(step) {
			continue
		}
		if step != 5+20*i || i >= len(want) || math.Abs(o.share(step)-want[i]) > 1e-15 {
			t.Errorf("step %d: share %v", step, o.share(step))
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%d reselections", i)
	}
	o.ReselectionRatePolicy = Cosine
	for _, step := range []int{5, 25, 105, 185} {
		if w := 0.2 * (1 + math.Cos(math.Pi*float64(step)/200)) / 2; math.Abs(o.share(step)-w) > 1e-15 {
			t.Errorf("cosine, step %d: share %v, want %v", step, o.share(step), w)
		}
	}
}

// TestWindows holds the windows to be the 5 steps before the first reselection and the 6 before later ones.
func TestWindows(t *testing.T) {
	o := Defaults(SpIELAG)
	o.Steps = 67
	var in, first []int
	for step := 1; step <= 67; step++ {
		i, f := o.window(step)
		if i {
			in = append(in, step)
		}
		if f {
			first = append(first, step)
		}
	}
	want := "[1 2 3 4 5 20 21 22 23 24 25 40 41 42 43 44 45 60 61 62 63 64 65]"
	if got := sprint(in); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got := sprint(first); got != "[1 20 40 60]" {
		t.Errorf("windows begin at %v", got)
	}
	o.Steps = 64 // the last reselection does not come
	if i, _ := o.window(60); i {
		t.Error("a window without a reselection")
	}
}

// TestRates compares learning rates with transformers' schedules.
func TestRates(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		want   []float64 // of steps 1 to 6, with 2 of warmup
	}{
		{Constant, []float64{0, .5, 1, 1, 1, 1}},
		{Linear, []float64{0, .5, 1, .75, .5, .25}},
		{Cosine, []float64{0, .5, 1, (1 + math.Sqrt2/2) / 2, .5, (1 - math.Sqrt2/2) / 2}},
	} {
		o := Defaults(SpIELAG)
		o.Steps, o.Warmup, o.Scheduler, o.LearningRate = 6, 2, c.policy, 1
		for i, w := range c.want {
			if got := o.rate(i + 1); math.Abs(got-w) > 1e-15 {
				t.Errorf("%s, step %d: %v, want %v", c.policy, i+1, got, w)
			}
		}
	}
}

func sprint(v []int) string { return fmt.Sprint(v) }

func TestCosPi(t *testing.T) {
	for i := range 1001 {
		x := float64(i) / 1000
		if d := math.Abs(cosPi(x) - math.Cos(math.Pi*x)); d > 5e-16 {
			t.Errorf("cos(π·%v) is off by %v", x, d)
		}
	}
}

// TestBudget holds the split of the budget, and what is said where it leaves a tensor without a weight.
func TestBudget(t *testing.T) {
	base := func(n int) Base { return Dense{make([]float32, n), 1} }
	targets := []Target{{Name: "a", Rows: 100, Cols: 7, Base: base(700)}, {Name: "b", Rows: 100, Cols: 3, Base: base(300)}}
	for _, c := range []struct {
		density float64
		tunable int64
		want    [2]int
		err     string
	}{
		{density: 0.05, want: [2]int{70, 30}}, // of 2000 parameters, embeddings included
		{tunable: 99, want: [2]int{69, 29}},
		{tunable: 1000, want: [2]int{700, 300}},
		{density: 1, want: [2]int{700, 300}}, // more than the targets have: all
		{tunable: 1001, err: "the targets have 1000 weights"},
		{tunable: 3, err: "leaves none for b (100 x 3); every target needs one from 4 on"},
		{density: 0.0001, err: "leaves none for a"},
		{density: 1.5, err: "density is 1.5"},
		{density: 0.5, tunable: 5, err: "both density and num_tunable_weights"},
		{err: "density is 0"},
	} {
		o := options(StaticRandom, 5, c.tunable)
		o.Density, o.ModelParameters = c.density, 2000
		tr, err := New(targets, o)
		if c.err != "" || err != nil {
			if err == nil || c.err == "" || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if got := [2]int{len(supportOf(tr, 0).index), len(supportOf(tr, 1).index)}; got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
		if tr.Trainable() != int64(c.want[0]+c.want[1]) {
			t.Errorf("%+v: %d trainable", c, tr.Trainable())
		}
	}
	// LoRA of the same budget: 99 < r·(107 + 103).
	o := options(LoRA, 5, 420)
	o.Rank, o.NumTunableWeights = 0, 420
	if tr, err := New(targets, o); err != nil || tr.Trainable() != 420 || tr.tuners[0].(*lora).rank != 2 {
		t.Errorf("LoRA by budget: %v", err)
	}
	o.NumTunableWeights = 209
	if _, err := New(targets, o); err == nil || !strings.Contains(err.Error(), "below the 210 of factors of rank 1") {
		t.Errorf("LoRA by too small a budget: %v", err)
	}
	targets[1].Mask = NewMask(300)
	if _, err := New(targets, options(StaticRandom, 5, 99)); err == nil || !strings.Contains(err.Error(), "no weight of b may be trained") {
		t.Errorf("an empty mask: %v", err)
	}
	targets[1].Mask = NewMask(299)
	if _, err := New(targets, options(StaticRandom, 5, 99)); err == nil || !strings.Contains(err.Error(), "the mask of b is for 299 weights") {
		t.Errorf("a mask of another size: %v", err)
	}
}

// TestOptions holds that every option out of its range is named.
func TestOptions(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(*Options)
	}{
		{"method", func(o *Options) { o.Method = "sft" }},
		{"max_steps", func(o *Options) { o.Steps = 0 }},
		{"gradient_accumulation_steps", func(o *Options) { o.Accumulation = 0 }},
		{"warmup_steps", func(o *Options) { o.Warmup = -1 }},
		{"lr_scheduler_type", func(o *Options) { o.Scheduler = "polynomial" }},
		{"learning_rate", func(o *Options) { o.LearningRate = math.NaN() }},
		{"learning_rate", func(o *Options) { o.LearningRate = 11 }},
		{"adam_beta1", func(o *Options) { o.Beta1 = 1 }},
		{"adam_beta2", func(o *Options) { o.Beta2 = -0.1 }},
		{"epsilon", func(o *Options) { o.Epsilon = 0 }},
		{"weight_decay", func(o *Options) { o.WeightDecay = 101 }}, // × 0.01 is above 1
		{"reselection_steps", func(o *Options) { o.ReselectionSteps = 1 }},
		{"selection_accumulation_steps", func(o *Options) { o.SelectionAccumulationSteps = 6 }}, // of 6: it would never come
		{"initial_reselection_rate", func(o *Options) { o.InitialReselectionRate = 1.1 }},
		{"reselection_rate_policy", func(o *Options) { o.ReselectionRatePolicy = Constant }},
		{"candidates", func(o *Options) { o.Candidates = "all" }},
		{"candidate_factor", func(o *Options) { o.CandidateFactor = 0 }},
		{"support", func(o *Options) { o.Support = "" }},
		{"never reselects", func(o *Options) { o.Steps = 2 }},
		{"cross_tensor", func(o *Options) { o.Method, o.CrossTensor = StaticRandom, true }},
		{"r is", func(o *Options) { *o = options(DSEE, 5, 5); o.Rank = 0 }},
		{"lora_alpha", func(o *Options) { *o = options(LoRA, 5, 5); o.Alpha = 0 }},
		{"low_rank", func(o *Options) { *o = options(LoRA, 5, 5); o.LowRank = "merged" }},
		{"omega", func(o *Options) { *o = options(DSEE, 5, 5); o.Omega = SpIELAG }},
		{"divergence", func(o *Options) { o.Divergence = -1 }},
	} {
		o := options(SpIELAG, 50, 5)
		if err := o.Check(); err != nil {
			t.Fatal(err)
		}
		c.change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
	for _, m := range Methods {
		o := Defaults(m)
		o.Steps, o.Density, o.ModelParameters = 100, 0.02, 1000
		if err := o.Check(); err != nil {
			t.Errorf("defaults of %s: %v", m, err)
		}
	}
}
