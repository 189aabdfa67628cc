package engine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/paretopress/paretopress/internal/safetensors"
)

// tiny is a small random model, which write puts into a Hugging Face folder, and
// of which reference is the forward pass in float64.
type tiny struct {
	arch                                string
	layers, hidden, heads, kvHeads, dim int
	ffn, vocab                          int
	eps, theta                          float64
	scaling                             map[string]any
	tied, bias, outBias, qkNorm         bool
	window                              int
	positions                           int // 0: 512

	weights map[string][]float32
	shapes  map[string][]int
}

// tinyModels are one model for each thing that families do differently.
func tinyModels() map[string]*tiny {
	base := tiny{arch: "llama", layers: 3, hidden: 48, heads: 6, kvHeads: 2, dim: 8, ffn: 80, vocab: 530, eps: 1e-5, theta: 10000}
	with := func(change func(*tiny)) *tiny {
		t := base
		change(&t)
		t.fill()
		return &t
	}
	return map[string]*tiny{
		"llama":        with(func(t *tiny) {}),
		"llama-tied":   with(func(t *tiny) { t.tied = true; t.kvHeads = 6 }),
		"llama-linear": with(func(t *tiny) { t.scaling = map[string]any{"rope_type": "linear", "factor": 4.0} }),
		"llama3": with(func(t *tiny) {
			t.theta = 500
			t.scaling = map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
				"high_freq_factor": 4.0, "original_max_position_embeddings": 256}
		}),
		"mistral": with(func(t *tiny) { t.arch = "mistral"; t.window = 37 }),
		"qwen2":   with(func(t *tiny) { t.arch = "qwen2"; t.bias = true; t.tied = true; t.eps = 1e-6 }),
		"qwen3":   with(func(t *tiny) { t.arch = "qwen3"; t.qkNorm = true; t.dim = 40; t.kvHeads = 3 }),
	}
}

// fill draws the weights.
func (t *tiny) fill() {
	rng := rand.New(rand.NewPCG(7, 11))
	t.weights, t.shapes = make(map[string][]float32), make(map[string][]int)
	add := func(name string, mean, deviation float64, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		w := make([]float32, n)
		for i := range w {
			w[i] = float32(mean + deviation*rng.NormFloat64())
		}
		t.weights[name], t.shapes[name] = w, shape
	}
	q, kv, in := t.heads*t.dim, t.kvHeads*t.dim, math.Sqrt(1/float64(t.hidden))
	add("model.embed_tokens.weight", 0, 1, t.vocab, t.hidden)
	for l := range t.layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		add(p+"input_layernorm.weight", 1, 0.2, t.hidden)
		add(p+"post_attention_layernorm.weight", 1, 0.2, t.hidden)
		add(p+"self_attn.q_proj.weight", 0, 2*in, q, t.hidden)
		add(p+"self_attn.k_proj.weight", 0, 2*in, kv, t.hidden)
		add(p+"self_attn.v_proj.weight", 0, in, kv, t.hidden)
		add(p+"self_attn.o_proj.weight", 0, in, t.hidden, q)
		add(p+"mlp.gate_proj.weight", 0, in, t.ffn, t.hidden)
		add(p+"mlp.up_proj.weight", 0, in, t.ffn, t.hidden)
		add(p+"mlp.down_proj.weight", 0, in, t.hidden, t.ffn)
		if t.bias {
			add(p+"self_attn.q_proj.bias", 0, 0.5, q)
			add(p+"self_attn.k_proj.bias", 0, 0.5, kv)
			add(p+"self_attn.v_proj.bias", 0, 0.5, kv)
		}
		if t.outBias {
			add(p+"self_attn.o_proj.bias", 0, 0.5, t.hidden)
		}
		if t.qkNorm {
			add(p+"self_attn.q_norm.weight", 1, 0.2, t.dim)
			add(p+"self_attn.k_norm.weight", 1, 0.2, t.dim)
		}
	}
	add("model.norm.weight", 1, 0.2, t.hidden)
	if !t.tied {
		add("lm_head.weight", 0, 2*in, t.vocab, t.hidden)
	}
}

// write puts the model into a folder, as Hugging Face transformers saves it.
func (t *tiny) write(tb testing.TB, dir string) {
	tb.Helper()
	config := map[string]any{
		"architectures":     []string{map[string]string{"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}[t.arch]},
		"model_type":        t.arch,
		"num_hidden_layers": t.layers, "hidden_size": t.hidden, "intermediate_size": t.ffn, "vocab_size": t.vocab,
		"num_attention_heads": t.heads, "num_key_value_heads": t.kvHeads, "head_dim": t.dim,
		"rms_norm_eps": t.eps, "rope_theta": t.theta, "max_position_embeddings": max(512, t.positions),
		"tie_word_embeddings": t.tied, "hidden_act": "silu", "torch_dtype": "float32",
	}
	if t.outBias {
		config["attention_bias"] = true
	}
	if t.scaling != nil {
		config["rope_scaling"] = t.scaling
	}
	if t.window > 0 {
		config["sliding_window"] = t.window
	}
	var entries []safetensors.Entry
	var data []byte
	for _, name := range t.names() {
		for _, v := range t.weights[name] {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		entries = append(entries, safetensors.Entry{Name: name, Type: "F32", Shape: t.shapes[name]})
	}
	file := append(safetensors.Header(nil, entries, 0, 8), data...)
	settings, err := json.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	for name, content := range map[string][]byte{"model.safetensors": file, "config.json": settings} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}

func (t *tiny) names() []string {
	var names []string
	for name := range t.weights {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// load loads the model with exact numerics.
func (t *tiny) load(tb testing.TB, threads int) *Model {
	tb.Helper()
	return t.open(tb, Options{Threads: threads})
}

// open writes, opens and loads the model.
func (t *tiny) open(tb testing.TB, o Options) *Model {
	tb.Helper()
	dir := tb.TempDir()
	t.write(tb, dir)
	ck, err := Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	m, err := Load(ck, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.Close(); ck.Close() })
	return m
}

// clone returns a copy whose weights may be changed.
func (t *tiny) clone() *tiny {
	c := *t
	c.weights = make(map[string][]float32)
	for name, w := range t.weights {
		c.weights[name] = slices.Clone(w)
	}
	return &c
}

// texts draws windows of the given lengths.
func (t *tiny) texts(lengths ...int) [][]int32 {
	rng := rand.New(rand.NewPCG(3, 5))
	windows := make([][]int32, len(lengths))
	for i, n := range lengths {
		windows[i] = make([]int32, n)
		for p := range windows[i] {
			windows[i][p] = rng.Int32N(int32(t.vocab))
		}
	}
	return windows
}

// matrix is a weight of the model, as its own rows.
type matrix [][]float64

func (t *tiny) matrix(name string) matrix {
	shape, w := t.shapes[name], t.weights[name]
	rows, cols := 1, shape[len(shape)-1]
	if len(shape) == 2 {
		rows = shape[0]
	}
	m := make(matrix, rows)
	for i := range m {
		m[i] = make([]float64, cols)
		for j := range m[i] {
			m[i][j] = float64(w[i*cols+j])
		}
	}
	return m
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// times is W·x for every row x.
func (m matrix) times(x matrix, bias []float64) matrix {
	y := make(matrix, len(x))
	for i := range x {
		y[i] = make([]float64, len(m))
		for j := range m {
			y[i][j] = dot(m[j], x[i])
			if bias != nil {
				y[i][j] += bias[j]
			}
		}
	}
	return y
}

func (t *tiny) norm(x, weight []float64) []float64 {
	y := make([]float64, len(x))
	r := 1 / math.Sqrt(dot(x, x)/float64(len(x))+t.eps)
	for i := range x {
		y[i] = x[i] * r * weight[i]
	}
	return y
}

// frequency is the angle of rotary pair i per position.
func (t *tiny) frequency(i int) float64 {
	f := math.Pow(t.theta, -2*float64(i)/float64(t.dim))
	if t.scaling == nil {
		return f
	}
	factor := t.scaling["factor"].(float64)
	if t.scaling["rope_type"] == "linear" {
		return f / factor
	}
	low, high := t.scaling["low_freq_factor"].(float64), t.scaling["high_freq_factor"].(float64)
	turns := float64(t.scaling["original_max_position_embeddings"].(int)) * f / (2 * math.Pi)
	switch {
	case turns > high:
		return f
	case turns < low:
		return f / factor
	}
	smooth := (turns - low) / (high - low)
	return (1-smooth)*f/factor + smooth*f
}

// rotated is a head at a position, as complex numbers turned by an angle.
func (t *tiny) rotated(head []float64, position int) []float64 {
	y, half := make([]float64, t.dim), t.dim/2
	for i := range half {
		sin, cos := math.Sincos(float64(position) * t.frequency(i))
		y[i] = head[i]*cos - head[i+half]*sin
		y[i+half] = head[i+half]*cos + head[i]*sin
	}
	return y
}

// run is the reference forward pass of one window: the logits of every position,
// and the inputs of the linear modules by name.
func (t *tiny) run(window []int32) (logits matrix, inputs map[string]matrix) {
	inputs = make(map[string]matrix)
	embedding := t.matrix("model.embed_tokens.weight")
	x := make(matrix, len(window))
	for i, id := range window {
		x[i] = slices.Clone(embedding[id])
	}
	linear := func(name string, in matrix) matrix {
		inputs[name] = in
		var bias []float64
		if t.weights[name+".bias"] != nil {
			bias = t.matrix(name + ".bias")[0]
		}
		return t.matrix(name+".weight").times(in, bias)
	}
	normed := func(weight string) matrix {
		h := make(matrix, len(x))
		for i := range x {
			h[i] = t.norm(x[i], t.matrix(weight)[0])
		}
		return h
	}
	add := func(y matrix) {
		for i := range x {
			for j := range x[i] {
				x[i][j] += y[i][j]
			}
		}
	}
	for l := range t.layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		h := normed(p + "input_layernorm.weight")
		q, k, v := linear(p+"self_attn.q_proj", h), linear(p+"self_attn.k_proj", h), linear(p+"self_attn.v_proj", h)
		add(linear(p+"self_attn.o_proj", t.attend(p, q, k, v)))
		h = normed(p + "post_attention_layernorm.weight")
		gate, up := linear(p+"mlp.gate_proj", h), linear(p+"mlp.up_proj", h)
		for i := range gate {
			for j, g := range gate[i] {
				gate[i][j] = g / (1 + math.Exp(-g)) * up[i][j]
			}
		}
		add(linear(p+"mlp.down_proj", gate))
	}
	head := unitHead
	if t.tied {
		head = unitEmbedding
	}
	return linear(head, normed("model.norm.weight")), inputs
}

func (t *tiny) attend(prefix string, q, k, v matrix) matrix {
	out := make(matrix, len(q))
	for i := range out {
		out[i] = make([]float64, t.heads*t.dim)
	}
	head := func(x matrix, position, head int, norm string) []float64 {
		y := x[position][head*t.dim:][:t.dim]
		if t.qkNorm {
			y = t.norm(y, t.matrix(prefix + norm)[0])
		}
		return t.rotated(y, position)
	}
	for h := range t.heads {
		kvHead := h / (t.heads / t.kvHeads)
		var keys matrix
		for j := range k {
			keys = append(keys, head(k, j, kvHead, "self_attn.k_norm.weight"))
		}
		for i := range q {
			query := head(q, i, h, "self_attn.q_norm.weight")
			weights, sum := make([]float64, i+1), 0.0
			for j := range weights {
				if t.window > 0 && i-j >= t.window {
					continue
				}
				weights[j] = math.Exp(dot(query, keys[j]) / math.Sqrt(float64(t.dim)))
				sum += weights[j]
			}
			for j, w := range weights {
				for d := range t.dim {
					out[i][h*t.dim+d] += w / sum * v[j][kvHead*t.dim+d]
				}
			}
		}
	}
	return out
}

// logProbs are the log-probabilities of the whole vocabulary at each position.
func logProbs(logits matrix) matrix {
	p := make(matrix, len(logits))
	for i, row := range logits {
		sum := 0.0
		for _, l := range row {
			sum += math.Exp(l)
		}
		p[i] = make([]float64, len(row))
		for j, l := range row {
			p[i][j] = l - math.Log(sum)
		}
	}
	return p
}
