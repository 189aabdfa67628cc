package engine

import (
	"context"
	"math"
	"strings"
	"testing"
)

// Windows of the tests cross the borders of row blocks, query tiles and panels.
var testLengths = []int{150, 2, 33, 64, 129, 96}

// tolerance is the error of a log-probability that float32 may bring into the
// tiny models, whose logits are below 20: about 100 roundings of 2^-24 * 20.
const tolerance = 1e-4

func TestLogProbsMatchReference(t *testing.T) {
	for name, tiny := range tinyModels() {
		t.Run(name, func(t *testing.T) {
			m := tiny.load(t, 2)
			for _, window := range tiny.texts(testLengths...) {
				got, err := m.LogProbs(context.Background(), window, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != len(window)-1 {
					t.Fatalf("%d log-probabilities for a window of %d tokens", len(got), len(window))
				}
				logits, _ := tiny.run(window)
				want := logProbs(logits)
				for i, p := range got {
					if w := want[i][window[i+1]]; math.Abs(float64(p)-w) > tolerance {
						t.Fatalf("window of %d, position %d: log p = %v, want %v", len(window), i+1, p, w)
					}
				}
			}
		})
	}
}

// TestLongWindow crosses blocks of keys, with and without a sliding window that spans more than one.
func TestLongWindow(t *testing.T) {
	for _, sliding := range []int{0, 700} {
		tiny := *tinyModels()["llama"]
		tiny.positions, tiny.window, tiny.layers = 1200, sliding, 2
		if sliding > 0 {
			tiny.arch = "mistral"
		}
		tiny.fill()
		window := tiny.texts(1100)[0]
		logits, _ := tiny.run(window)
		want := logProbs(logits)
		for _, numerics := range []Numerics{Exact, Fast} {
			got, err := tiny.open(t, Options{Threads: 2, Numerics: numerics}).LogProbs(context.Background(), window, nil)
			if err != nil {
				t.Fatal(err)
			}
			worst, mean := 0.0, 0.0
			for i, p := range got {
				d := math.Abs(float64(p) - want[i][window[i+1]])
				worst, mean = max(worst, d), mean+d/float64(len(got))
			}
			if numerics == Exact && worst > tolerance || mean > 0.05 {
				t.Errorf("sliding window of %d, %v: log-probabilities differ by up to %v, %v in the mean", sliding, numerics, worst, mean)
			}
		}
	}
}

func TestScoreMatchesReference(t *testing.T) {
	for name, tiny := range tinyModels() {
		t.Run(name, func(t *testing.T) {
			m := tiny.load(t, 2)
			windows := tiny.texts(testLengths...)
			teacher, err := m.Teach(context.Background(), windows, nil)
			if err != nil {
				t.Fatal(err)
			}
			changed := tiny.clone()
			candidate := Candidate{"model.layers.2.mlp": {Name: "drop"}}
			for _, module := range m.Config().Modules() {
				if module.Block == 1 {
					w := changed.weights[module.Name+".weight"]
					for i := range w {
						w[i] = float32(math.Round(float64(w[i]*8))) / 8
					}
					candidate[module.Name] = changed.level(module.Name)
				}
			}
			clear(changed.weights["model.layers.2.mlp.down_proj.weight"])
			got := score(t, m, windows, teacher, candidate)
			for i, window := range windows {
				dense, _ := tiny.run(window)
				pressed, _ := changed.run(window)
				p, q := logProbs(dense), logProbs(pressed)
				var nll, kl float64
				for j, next := range window[1:] {
					nll -= q[j][next]
					for v := range p[j] {
						kl += math.Exp(p[j][v]) * (p[j][v] - q[j][v])
					}
				}
				n := float64(len(window) - 1)
				if got[i].Tokens != len(window)-1 {
					t.Errorf("window %d: %d tokens scored of %d", i, got[i].Tokens, len(window))
				}
				if math.Abs(got[i].NLL-nll) > n*tolerance {
					t.Errorf("window %d: NLL %v, want %v", i, got[i].NLL, nll)
				}
				if math.Abs(got[i].KL-kl) > n*tolerance || kl < 0.01*n {
					t.Errorf("window %d: KL %v, want %v", i, got[i].KL, kl)
				}
			}
		})
	}
}

// score scores one candidate, which must not fail.
func score(t *testing.T, m *Model, windows [][]int32, teacher *Teacher, c Candidate) []WindowScore {
	t.Helper()
	outcomes, err := m.Score(context.Background(), windows, teacher, []Candidate{c}, nil)
	if err == nil {
		err = outcomes[0].Err
	}
	if err != nil {
		t.Fatal(err)
	}
	return outcomes[0].Windows
}

// level is a module's weights in this model as a level of another.
func (t *tiny) level(module string) Level {
	shape := t.shapes[module+".weight"]
	return Level{Name: "changed", Weights: plain{shape[0], shape[1], t.weights[module+".weight"]}}
}

// plain is a row-major matrix as Weights.
type plain struct {
	rows, cols int
	data       []float32
}

func (p plain) Shape() (rows, cols int) { return p.rows, p.cols }

func (p plain) DecodeRows(first, n int, dst []float32) {
	copy(dst, p.data[first*p.cols:(first+n)*p.cols])
}

func TestScoreRejects(t *testing.T) {
	tiny := tinyModels()["llama"]
	m := tiny.load(t, 1)
	taught := tiny.texts(16)
	teacher, err := m.Teach(context.Background(), taught, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		windows [][]int32
		teacher *Teacher
		want    string
	}{
		{"one token", [][]int32{{1, 2}, {3}}, nil, "window 1 has 1 tokens"},
		{"too long", [][]int32{make([]int32, 513)}, nil, "window 0 has 513 tokens; the model takes at most 512"},
		{"unknown token", [][]int32{{1, 2, 530}}, nil, "window 0, position 2: token 530"},
		{"negative token", [][]int32{{-1, 2}}, nil, "window 0, position 0: token -1"},
		{"not taught", [][]int32{taught[0], {1, 2}}, teacher, "window 1 is not one that the teacher was taught"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := m.Score(context.Background(), test.windows, test.teacher, []Candidate{nil}, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	other := tinyModels()["llama"]
	other.vocab = 64
	other.fill()
	if _, err := other.load(t, 1).Score(context.Background(), other.texts(16), teacher, []Candidate{nil}, nil); err == nil {
		t.Error("a teacher of another vocabulary is accepted")
	}
}
