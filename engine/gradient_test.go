package engine

import (
	"context"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
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

// TestGradientElements compares every element of every parameter of a small model, which has all there is, with central differences in float64.
func TestGradientElements(t *testing.T) {
	model := &tiny{arch: "qwen3", layers: 2, hidden: 8, heads: 4, kvHeads: 2, dim: 4, ffn: 12, vocab: 19, eps: 1e-5, theta: 100,
		bias: true, outBias: true, qkNorm: true}
	model.fill()
	m := model.load(t, 2)
	windows := model.texts(7, 4)
	teacher, err := m.Teach(context.Background(), windows, nil)
	if err != nil {
		t.Fatal(err)
	}
	candidate, student := model.student(t)
	var taught []matrix
	for _, w := range windows {
		l, _ := model.run(w)
		taught = append(taught, l)
	}
	loss := Loss{Teacher: teacher, Temperature: 2, Mix: 0.5}
	got, _ := gradients(t, m, windows, candidate, loss, nil)
	for _, tensor := range student.names() {
		w := student.weights[tensor]
		largest := 0.0
		for _, g := range got[tensor] {
			largest = max(largest, math.Abs(float64(g)))
		}
		for i, saved := range w {
			const step = 3e-4
			w[i] = saved + step
			high, up := float64(w[i]), student.objective(windows, loss, taught)
			w[i] = saved - step
			want := (up - student.objective(windows, loss, taught)) / (high - float64(w[i]))
			w[i] = saved
			if g := float64(got[tensor][i]); math.Abs(g-want) > 1e-5*largest+1e-4*math.Abs(want) {
				t.Fatalf("element %d of %s: %v, want %v; the largest is %v", i, tensor, g, want, largest)
			}
		}
	}
}

// TestGradientDropped drops a sub-block, by itself and by a module through which all must pass, keys, and a module whose bias stays, and compares with
// zeros in the place of the weights.
func TestGradientDropped(t *testing.T) {
	model := gradientModels()["llama-bias"]
	m := model.load(t, 2)
	windows := model.texts(20, 9)
	for _, drop := range [][]string{
		{"model.layers.0.mlp"}, {"model.layers.1.self_attn"}, {"model.layers.1.mlp.up_proj"}, {"model.layers.0.self_attn.k_proj"},
		{"model.layers.0.self_attn.o_proj"}, {"model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.q_proj"},
	} {
		dropped, zeros := Candidate{}, Candidate{}
		for _, unit := range drop {
			dropped[unit] = Level{Name: "drop"}
			for name, shape := range model.shapes {
				if len(shape) == 2 && strings.HasPrefix(name, unit+".") {
					zeros[strings.TrimSuffix(name, ".weight")] = Level{Name: "zero", Weights: plain{shape[0], shape[1], make([]float32, shape[0]*shape[1])}}
				}
			}
			if strings.HasSuffix(unit, "self_attn") { // whose output's bias is dropped with it
				dropped[unit+".o_proj"] = Level{Name: "drop"}
			}
		}
		got, value := gradients(t, m, windows, dropped, Loss{}, nil)
		if drop[0] == "model.layers.1.self_attn" {
			checkAbsent(t, got, "model.layers.1.self_attn.", "model.layers.1.input_layernorm.")
			continue
		}
		want, wantValue := gradients(t, m, windows, zeros, Loss{}, nil)
		if math.Abs(value.Loss-wantValue.Loss) > 1e-6 {
			t.Errorf("%v: loss %v, want %v", drop, value, wantValue)
		}
		for _, unit := range drop {
			checkAbsent(t, got, unit+".weight")
		}
		for name, g := range got {
			if d := distance(g, want[name]); d > 1e-5 {
				t.Errorf("%v: %s differs from that with zeros by %.3g", drop, name, d)
			}
		}
	}
}

// checkAbsent fails if there is a gradient whose name begins so.
func checkAbsent(t *testing.T, got map[string][]float32, prefixes ...string) {
	t.Helper()
	for name := range got {
		for _, prefix := range prefixes {
			if strings.HasPrefix(name, prefix) {
				t.Errorf("%s has a gradient", name)
			}
		}
	}
}

// distance is the relative difference of two vectors.
func distance(got, want []float32) float64 {
	difference, norm := 0.0, 0.0
	for i, x := range want {
		d := float64(got[i]) - float64(x)
		difference += d * d
		norm += float64(x) * float64(x)
	}
	if difference == 0 {
		return 0
	}
	return math.Sqrt(difference / norm)
}

// TestGradientBits compares 1 and 2 threads, and every variant of the kernels, bit by bit.
func TestGradientBits(t *testing.T) {
	before := kernel.Active()
	defer kernel.Use(before)
	model := gradientModels()["qwen3"]
	windows := model.texts(131, 40, 2)
	candidate, _ := model.student(t)
	for _, numerics := range []Numerics{Exact, Fast} {
		var first map[string][]float32
		for _, variant := range kernel.Variants() {
			if err := kernel.Use(variant); err != nil {
				t.Fatal(err)
			}
			if numerics == Fast && variant != before { // whose bits depend on it
				continue
			}
			for threads := range 3 {
				m := model.open(t, Options{Threads: threads + 1, Numerics: numerics})
				teacher, err := m.Teach(context.Background(), windows, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, _ := gradients(t, m, windows, candidate, Loss{Teacher: teacher, Temperature: 1.5, Mix: 0.5, Counted: mask(windows)}, nil)
				if first == nil {
					first = got
				}
				for name, g := range got {
					if !slices.Equal(g, first[name]) {
						t.Errorf("%v numerics, %s with %d threads: the gradient of %s differs", numerics, variant, threads+1, name)
					}
				}
				if variant == "go" {
					break
				}
			}
		}
	}
}

// TestGradientCache has room for the activations of no sub-block, of some and of all: the same bits, also where sub-blocks differ in width, where the
// pass back ends early, and where the room is shared with hidden states of candidates. The room is not exceeded, but for what one layer needs anyway.
func TestGradientCache(t *testing.T) {
	model := gradientModels()["qwen3"]
	long, short := model.texts(131, 40, 2), model.texts(50)
	candidate, _ := model.student(t)
	dropped := Candidate{"model.layers.1.mlp": {Name: "drop"}}
	upper := func(name string) bool { return strings.Contains(name, "layers.1") }
	calls := []struct {
		windows [][]int32
		c       Candidate
		want    func(string) bool
	}{{long, nil, nil}, {short, candidate, nil}, {long, candidate, upper}, {short, dropped, nil}, {long, dropped, nil}}
	for _, numerics := range []Numerics{Exact, Fast} {
		var all []map[string][]float32 // of the calls without a cache
		layer := int64(0)              // bytes for one without a cache
		for _, cache := range []int64{0, 500 << 10, 1 << 30} {
			m := model.open(t, Options{Threads: 2, Numerics: numerics, Cache: cache})
			for i, call := range calls {
				got, _ := gradients(t, m, call.windows, call.c, Loss{}, call.want)
				if cache == 0 {
					all = append(all, got)
				} else if !reflect.DeepEqual(got, all[i]) {
					t.Errorf("%v numerics, cache of %d bytes: the gradients of call %d differ", numerics, cache, i)
				}
				kept, used := 0, m.states.used
				for _, a := range m.back.activations {
					for _, x := range a {
						used += 4 * int64(cap(x.data))
					}
					if a != nil {
						kept++
					}
				}
				f, a := &m.back.mlp, &m.back.attention
				for _, o := range []*operand{&f.gate, &f.up, &a.q, &a.k, &a.v} { // which exchange memory with those
					used += 4 * int64(cap(o.data))
				}
				if cache == 0 {
					layer = max(layer, used)
				}
				if used > cache/2+layer {
					t.Errorf("cache of %d bytes, call %d: %d bytes are kept", cache, i, used)
				}
				if first := i == 0; first && kept != map[int64]int{0: 0, 500 << 10: 2, 1 << 30: 4}[cache] {
					t.Errorf("cache of %d bytes: activations of %d sub-blocks are kept", cache, kept)
				}
				if _, err := m.Score(context.Background(), long, nil, []Candidate{nil, dropped, candidate}, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestGradientFast compares fast numerics with exact ones.
func TestGradientFast(t *testing.T) {
	model := gradientModels()["llama-tied"]
	windows := model.texts(70, 33)
	exact, a := gradients(t, model.load(t, 2), windows, nil, Loss{}, nil)
	fast, b := gradients(t, model.open(t, Options{Threads: 2, Numerics: Fast}), windows, nil, Loss{}, nil)
	if math.Abs(a.Loss-b.Loss) > 0.01*a.Loss {
		t.Errorf("losses %v and %v", a.Loss, b.Loss)
	}
	for name, g := range fast {
		if d := distance(g, exact[name]); d > 0.06 || d == 0 {
			t.Errorf("%s differs by %.3g", name, d)
		}
	}
}

// TestGradientAddsUp has microbatches give what the batch gives, and weights that change under one name be read again.
func TestGradientAddsUp(t *testing.T) {
	model := gradientModels()["llama"]
	m := model.load(t, 2)
	windows := model.texts(300, 250, 11) // more positions than products take at a time
	whole, value := gradients(t, m, windows, nil, Loss{}, nil)
	var sum map[string][]float32
	total := 0.0
	for i := range windows {
		part, v := gradients(t, m, windows[i:i+1], nil, Loss{Predictions: value.Counted}, nil)
		total += v.Loss
		if sum == nil {
			sum = part
			continue
		}
		for name, g := range part {
			kernel.Add(sum[name], g)
		}
	}
	if math.Abs(total-value.Loss) > 1e-6 {
		t.Errorf("losses of %v, want %v", total, value.Loss)
	}
	for name, g := range whole {
		if d := distance(sum[name], g); d > 1e-5 {
			t.Errorf("%s: the sum of the microbatches differs by %.3g", name, d)
		}
	}
	unit := "model.layers.0.mlp.gate_proj"
	candidate := Candidate{unit: model.clone().level(unit)}
	before, _ := gradients(t, m, windows, candidate, Loss{}, nil)
	w := candidate[unit].Weights.(plain).data
	for i := range w {
		w[i] *= 1.5
	}
	after, _ := gradients(t, m, windows, candidate, Loss{}, nil)
	if d := distance(before[unit+".weight"], whole[unit+".weight"]); d != 0 {
		t.Errorf("equal weights give another gradient, by %.3g", d)
	}
	if d := distance(after["lm_head.weight"], before["lm_head.weight"]); d < 1e-3 {
		t.Errorf("weights that have changed change the gradient by %.3g", d)
	}
}
