package sparseft

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

// draw is the generator of bench/peers/golden_spiel.py.
func draw(seed uint64, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		seed = (1103515245*seed + 12345) % (1 << 31)
		out[i] = float32(float64(seed>>7)/(1<<23) - 1)
	}
	return out
}

// TestGolden compares supports, deltas, moments and bounds with those of the authors' implementation, for gradients that are
// given (testdata/spiel.json, by bench/peers/golden_spiel.py).
func TestGolden(t *testing.T) {
	b, err := os.ReadFile("testdata/spiel.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Shapes       [][2]int `json:"shapes"`
		Steps        int      `json:"steps"`
		Reselection  int      `json:"reselection_steps"`
		Accumulation int      `json:"selection_accumulation_steps"`
		Rate         float64  `json:"initial_reselection_rate"`
		Cases        []struct {
			Method   Method    `json:"method"`
			Policy   Policy    `json:"policy"`
			Decay    float64   `json:"weight_decay"`
			Rate     float64   `json:"learning_rate"`
			Initial  [][]int32 `json:"initial"`
			Supports []struct {
				Step    int       `json:"step"`
				Indices [][]int32 `json:"indices"`
			} `json:"supports"`
			Final []struct {
				Indices                []int32   `json:"indices"`
				Values, M, V, Row, Col []float64 // by their names in lower case
				Gradients              []int32   `json:"gradients"`
			} `json:"final"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) != 4 {
		t.Fatalf("%d cases", len(golden.Cases))
	}
	for _, c := range golden.Cases {
		o := Defaults(c.Method)
		o.Steps, o.ReselectionSteps, o.SelectionAccumulationSteps = golden.Steps, golden.Reselection, golden.Accumulation
		o.InitialReselectionRate, o.ReselectionRatePolicy, o.WeightDecay = golden.Rate, c.Policy, c.Decay
		o.LearningRate, o.Scheduler, o.NumTunableWeights = c.Rate, Constant, 38
		p := newProblem(1, 1, golden.Shapes...)
		tr := start(t, p, o)
		for i, index := range c.Initial {
			supportOf(tr, i).adopt(index)
			if ag, ok := tr.tuners[i].(*spielAG); ok {
				ag.adam = newAdam(len(index), true)
				ag.quota, ag.window.limit = len(index), len(index)
			}
		}
		seen := 0
		for step := 1; step <= golden.Steps; step++ {
			for i, s := range golden.Shapes {
				g, noise := draw(1000+uint64(i), s[0]*s[1]), draw(uint64(100*step+i), s[0]*s[1])
				for j := range g {
					g[j] += noise[j] / 2
				}
				if err := tr.Add(i, Dense{g, s[1]}); err != nil {
					t.Fatal(err)
				}
			}
			if err := tr.EndMicrobatch(1, 1); err != nil {
				t.Fatal(err)
			}
			if _, err := tr.Step(); err != nil {
				t.Fatal(err)
			}
			if seen < len(c.Supports) && c.Supports[seen].Step == step {
				for i, want := range c.Supports[seen].Indices {
					if got := supportOf(tr, i).index; !slices.Equal(got, want) {
						t.Fatalf("%s %s, step %d: tensor %d has support %v, want %v", c.Method, c.Policy, step, i, got, want)
					}
				}
				seen++
			}
		}
		if seen != 6 {
			t.Errorf("%d supports were compared", seen)
		}
		for i, want := range c.Final {
			s := supportOf(tr, i)
			if !slices.Equal(s.index, want.Indices) {
				t.Errorf("%s %s: final support %v, want %v", c.Method, c.Policy, s.index, want.Indices)
			}
			near(t, "δ", s.delta, want.Values, 2e-5) // there 1-0.999^age is rounded to float32, 3e-5 of it at age 1
			switch u := tr.tuners[i].(type) {
			case *spielAG:
				near(t, "m", u.adam.m, want.M, 2e-6)
				near(t, "v", u.adam.v, want.V, 2e-6)
				if !slices.Equal(u.adam.age, want.Gradients) {
					t.Errorf("ages %v, want %v", u.adam.age, want.Gradients)
				}
			case *spielMA:
				near(t, "R", u.row, want.Row, 2e-6)
				near(t, "C", u.col, want.Col, 2e-6)
			}
		}
	}
}

// near compares with what float32 arithmetic in another order gives.
func near(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d %s, want %d", len(got), what, len(want))
	}
	for i, x := range got {
		if d := math.Abs(float64(x) - want[i]); d > tolerance*math.Abs(want[i])+1e-7 {
			t.Errorf("%s %d is %v, want %v", what, i, x, want[i])
		}
	}
}
