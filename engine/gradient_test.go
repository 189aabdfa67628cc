package engine

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// gradients are the dense gradients of a call, by the names of tensors.
func gradients(t *testing.T, m *Model, windows [][]int32, c Candidate, loss Loss, want func(string) bool) (map[string][]float32, LossValue) {
	t.Helper()
	all := make(map[string][]float32)
	value, err := m.Gradient(context.Background(), windows, c, loss, want, func(p *Product) error {
		rows, cols := p.Shape()
		dst := make([]float32, rows*cols)
		p.Rows(dst, 0, rows)
		if all[tensorName(p.Name)] != nil {
			t.Errorf("%s came twice", p.Name)
		}
		all[tensorName(p.Name)] = dst
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, value
}

// tensorName is the tensor of a parameter.
func tensorName(name string) string {
	if strings.HasSuffix(name, ".weight") || strings.HasSuffix(name, ".bias") {
		return name
	}
	return name + ".weight"
}

// objective is the loss in float64; taught holds the teacher's logits of each window.
func (t *tiny) objective(windows [][]int32, loss Loss, taught []matrix) float64 {
	temperature := loss.Temperature
	if temperature == 0 {
		temperature = 1
	}
	warm := func(logits []float64) []float64 {
		y := slices.Clone(logits)
		for i := range y {
			y[i] /= temperature
		}
		return logProbs(matrix{y})[0]
	}
	sum, n := 0.0, 0
	for i, w := range windows {
		logits, _ := t.run(w)
		for p := 1; p < len(w); p++ {
			if loss.Counted != nil && !loss.Counted[i][p] {
				continue
			}
			n++
			mix := 1.0
			if taught != nil {
				mix = loss.Mix
				teacher, model := warm(taught[i][p-1]), warm(logits[p-1])
				for v, l := range teacher {
					sum += (1 - mix) * temperature * temperature * math.Exp(l) * (l - model[v])
				}
			}
			sum -= mix * logProbs(logits[p-1 : p])[0][w[p]]
		}
	}
	if loss.Predictions > 0 {
		n = loss.Predictions
	}
	return sum / float64(n)
}

// gradientModels are the tiny models and one with every bias there is, of two layers each, which suffice for gradients. Only that with the tied head
// keeps a vocabulary of more than a tile.
func gradientModels() map[string]*tiny {
	models := tinyModels()
	bias := *models["llama"]
	bias.bias, bias.outBias = true, true
	models["llama-bias"] = &bias
	for name, t := range models {
		t.layers = 2
		if name != "llama-tied" {
			t.vocab = 90
		}
		t.fill()
	}
	return models
}

// lossCases are the losses, with a teacher that differs from the model.
var lossCases = []struct {
	name   string
	loss   Loss
	taught bool
	mask   bool
}{
	{name: "nll"},
	{name: "nll-masked", mask: true, loss: Loss{Predictions: 50}},
	{name: "kl", taught: true},
	{name: "kl-T2-masked", taught: true, mask: true, loss: Loss{Temperature: 2}},
	{name: "mixed-T2", taught: true, loss: Loss{Temperature: 2, Mix: 0.3}},
	{name: "mixed", taught: true, loss: Loss{Mix: 0.7}},
}

// mask counts some of the predictions of windows, none of the last's first half.
func mask(windows [][]int32) [][]bool {
	counted := make([][]bool, len(windows))
	for i, w := range windows {
		counted[i] = make([]bool, len(w))
		for p := range w {
			counted[i][p] = p%3 != 0 && (i < len(windows)-1 || p > len(w)/2)
		}
	}
	return counted
}

// student returns a candidate with other weights than the model in every matrix, and the model whose weights are the candidate's.
func (t *tiny) student(tb testing.TB) (Candidate, *tiny) {
	tb.Helper()
	other := t.clone()
	rng := rand.New(rand.NewPCG(1, 9))
	c := Candidate{}
	for name, w := range other.weights {
		unit := strings.TrimSuffix(name, ".weight")
		if len(t.shapes[name]) != 2 {
			continue
		}
		for i := range w {
			w[i] += float32(0.3 * rng.NormFloat64() / math.Sqrt(float64(t.hidden)))
		}
		c[unit] = Level{Name: "student", Weights: plain{t.shapes[name][0], t.shapes[name][1], w}}
	}
	return c, other
}

// TestGradientDirections compares, for each parameter of each kind of model and each loss, the change of the loss in float64 along a random
// direction with what the gradient says.
func TestGradientDirections(t *testing.T) {
	for name, model := range gradientModels() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := model.load(t, 2)
			windows := model.texts(67, 3)
			candidate, student := model.student(t)
			teacher, err := m.Teach(context.Background(), windows, nil)
			if err != nil {
				t.Fatal(err)
			}
			var logits []matrix
			for _, w := range windows {
				l, _ := model.run(w)
				logits = append(logits, l)
			}
			cases := lossCases
			if name != "llama-tied" {
				cases = cases[4:5]
			}
			for _, c := range cases {
				loss, taught := c.loss, []matrix(nil)
				if c.taught {
					loss.Teacher, taught = teacher, logits
				}
				if c.mask {
					loss.Counted = mask(windows)
				}
				got, value := gradients(t, m, windows, candidate, loss, nil)
				if want := student.objective(windows, loss, taught); math.Abs(value.Loss-want) > 1e-5*math.Abs(want) {
					t.Errorf("%s: loss %v, want %v", c.name, value.Loss, want)
				}
				checkDirections(t, c.name, student, got, func() float64 { return student.objective(windows, loss, taught) })
			}
		})
	}
}

func checkDirections(t *testing.T, name string, model *tiny, got map[string][]float32, objective func() float64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(2, 4))
	for _, tensor := range model.names() {
		g := got[tensor]
		w := model.weights[tensor]
		if len(g) != len(w) {
			t.Errorf("%s: %s has a gradient of %d elements, want %d", name, tensor, len(g), len(w))
			continue
		}
		saved, step := slices.Clone(w), make([]float64, len(w))
		for i := range w {
			step[i] = 1e-4 * rng.NormFloat64()
			w[i] = saved[i] + float32(step[i])
		}
		up := objective()
		want, norm, length := 0.0, 0.0, 0.0
		for i := range w {
			high := float64(w[i])
			w[i] = saved[i] - float32(step[i])
			d := high - float64(w[i])
			want += float64(g[i]) * d
			norm += float64(g[i]) * float64(g[i])
			length += d * d
		}
		change := up - objective()
		copy(w, saved)
		if norm == 0 {
			t.Errorf("%s: the gradient of %s is 0", name, tensor)
		}
		if scale := math.Sqrt(norm * length / float64(len(w))); math.Abs(change-want) > 3e-4*scale {
			t.Errorf("%s: along a step of %s the loss changes by %.9g, by its gradient by %.9g; a usual change is %.3g", name, tensor, change, want, scale)
		}
	}
}
