package export

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
)

// edited is what becomes of a config.json of so many layers when those of keep are left.
func edited(t *testing.T, config string, layers int, keep ...int) (string, []string, error) {
	t.Helper()
	e := &hfExport{config: engine.Config{Layers: layers, FFN: 5}, ffn: 5, options: HFOptions{Dtype: "BF16"}}
	for to, from := range keep {
		e.layers = append(e.layers, hfLayer{from: from, to: to})
	}
	o, err := parseObject([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	err = e.editConfig(&o)
	data, _ := o.file()
	return string(data), e.result.Notes, err
}

// TestConfigKeeps: members keep their order and their form, unknown ones as well.
func TestConfigKeeps(t *testing.T) {
	const config = `{
  "zebra": {"b": 1.50, "a": [1e-05, null]},
  "num_hidden_layers": 3,
  "model_type": "llama",
  "rms_norm_eps": 1e-05,
  "torch_dtype": "float32",
  "quantization_config": {"quant_method": "compressed-tensors"},
  "eos_token_id": [1, 2, 3],
  "name": "\u00e9<>"
}`
	got, notes, err := edited(t, config, 3, 0, 1, 2)
	const want = `{
  "zebra": {
    "b": 1.50,
    "a": [
      1e-05,
      null
    ]
  },
  "num_hidden_layers": 3,
  "model_type": "llama",
  "rms_norm_eps": 1e-05,
  "torch_dtype": "bfloat16",
  "eos_token_id": [
    1,
    2,
    3
  ],
  "name": "\u00e9<>"
}
`
	if err != nil || got != want || len(notes) != 0 {
		t.Errorf("got %s, %q, %v", got, notes, err)
	}
}

func TestConfigShortens(t *testing.T) {
	const config = `{"dtype":"bfloat16","num_hidden_layers":5,"layer_types":["a","b","c","d","e"],"max_window_layers":3,"no_rope_layers":[1,1,0,1,1],
		"sliding_window":[1,2,3,4,5],"eos_token_id":[7,8],"odd":[1,2,3,4,5]}`
	got, notes, err := edited(t, config, 5, 1, 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal([]byte(got), &c); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"num_hidden_layers": "3", "layer_types": "[b d e]", "max_window_layers": "1", "no_rope_layers": "[1 1 1]", "sliding_window": "[2 4 5]",
		"eos_token_id": "[7 8]", "odd": "[1 2 3 4 5]", "dtype": "bfloat16",
	} {
		if s := fmt.Sprint(c[key]); s != want {
			t.Errorf("%s is %s, want %s", key, s, want)
		}
	}
	if _, ok := c["torch_dtype"]; ok || len(notes) != 1 || !strings.Contains(notes[0], "odd") {
		t.Errorf("%s, notes %q", got, notes)
	}
	if _, _, err := edited(t, `{"layer_types":["a"]}`, 5, 0); err == nil || !strings.Contains(err.Error(), "layer_types") {
		t.Errorf("a list of another length: %v", err)
	}
}

func TestParseObjectRefuses(t *testing.T) {
	for _, bad := range []string{"", "[]", "{", `{"a"}`, `{"a":}`, `{"a":1} 2`, `{"a":1}}`} {
		if o, err := parseObject([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, o)
		}
	}
}

// tiny writes a model of random weights for a config.json and opens it.
func tiny(t *testing.T, c engine.Config, config object) *engine.Checkpoint {
	t.Helper()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	var arrays []array
	add := func(name string, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(r.NormFloat64()) / 4
		}
		arrays = append(arrays, array{name: name, dtype: "F16", shape: shape, write: whole(appendNumbers(nil, "F16", values))})
	}
	add("model.embed_tokens.weight", c.Vocab, c.Hidden)
	for i := range c.Layers {
		e := &hfExport{config: c, ffn: c.FFN}
		add(hfUnit(i, "input_layernorm.weight"), c.Hidden)
		add(hfUnit(i, "post_attention_layernorm.weight"), c.Hidden)
		for _, roles := range hfModules {
			for _, role := range roles {
				shape := e.moduleShape(role)
				add(hfUnit(i, role+".weight"), shape[0], shape[1])
				if e.hasBias(role) {
					add(hfUnit(i, role+".bias"), shape[0])
				}
			}
		}
		if c.QKNorm {
			add(hfUnit(i, "self_attn.q_norm.weight"), c.HeadDim)
			add(hfUnit(i, "self_attn.k_norm.weight"), c.HeadDim)
		}
	}
	add("model.norm.weight", c.Hidden)
	if !c.TieEmbeddings {
		add("lm_head.weight", c.Vocab, c.Hidden)
	}
	if err := writeWeights(dir, arrays, 1<<30, func(int64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	data, err := config.file()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"config.json": data, "generation_config.json": []byte("{}"), "merges.txt": {}} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return openModel(t, dir)
}

// logProbs are those of a window of tokens.
func logProbs(t *testing.T, ck *engine.Checkpoint, c engine.Candidate) []float32 {
	t.Helper()
	m, err := engine.Load(ck, engine.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p, err := m.LogProbs(t.Context(), []int32{1, 5, 2, 9, 3, 3, 8, 0, 7, 4}, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestArchitectures: the config.json that is made of a configuration reads as the same one, and what is
// left of a model of every architecture computes the same.
func TestArchitectures(t *testing.T) {
	base := engine.Config{
		Layers: 4, Hidden: 8, Heads: 2, KVHeads: 1, HeadDim: 4, FFN: 12, Vocab: 16, MaxPositions: 64, NormEps: 1e-5, RopeTheta: 10000, TieEmbeddings: true,
	}
	for name, change := range map[string]func(c *engine.Config){
		"llama": func(c *engine.Config) { c.Arch = "llama"; c.QKVBias, c.OutBias = true, true },
		"linear": func(c *engine.Config) {
			c.Arch = "llama"
			c.RopeScaling = &engine.RopeScaling{Type: "linear", Factor: 2}
		},
		"llama3": func(c *engine.Config) {
			c.Arch, c.TieEmbeddings = "llama", false
			c.RopeScaling = &engine.RopeScaling{Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 8192}
		},
		"mistral":       func(c *engine.Config) { c.Arch = "mistral"; c.SlidingWindow = 3 },
		"mistral full":  func(c *engine.Config) { c.Arch = "mistral" },
		"qwen2":         func(c *engine.Config) { c.Arch = "qwen2"; c.QKVBias = true },
		"qwen2 sliding": func(c *engine.Config) { c.Arch = "qwen2"; c.QKVBias = true; c.SlidingWindow, c.FullLayers = 2, 2 },
		"qwen3":         func(c *engine.Config) { c.Arch = "qwen3"; c.QKNorm = true; c.HeadDim = 6 },
	} {
		c := base
		change(&c)
		o, err := configObject(c)
		if err != nil {
			t.Fatal(err)
		}
		ck := tiny(t, c, o)
		if got := fmt.Sprintf("%+v", ck.Config()); got != fmt.Sprintf("%+v", c) && c.RopeScaling == nil {
			t.Errorf("%s: config.json reads as %s, want %+v", name, got, c)
		}
		cand := engine.Candidate{}
		for _, unit := range []string{"model.layers.1.mlp", "model.layers.1.self_attn", "model.layers.2.self_attn", "model.layers.3.mlp"} {
			cand[unit] = engine.Level{Name: "drop"}
		}
		r, got := write(t, ck, cand, HFOptions{})
		if r.Changed != 0 || got.Config().Layers != 3 || got.Config().Window(1) != ck.Config().Window(2) {
			t.Errorf("%s: %+v, config %+v", name, r, got.Config())
		}
		if a, b := logProbs(t, got, nil), logProbs(t, ck, cand); !slices.Equal(a, b) {
			t.Errorf("%s: log probabilities %v, want %v", name, a, b)
		}
		if want := []string{"config.json", "generation_config.json", "merges.txt", "model.safetensors"}; !slices.Equal(r.Files, want) {
			t.Errorf("%s: files %v, want %v", name, r.Files, want)
		}
	}
}

// TestRopeFactors: the factors in a GGUF file are Llama 3's parameters again.
func TestRopeFactors(t *testing.T) {
	c := engine.Config{HeadDim: 128, RopeTheta: 500000, MaxPositions: 131072}
	plain := c.InvFreq()
	c.RopeScaling = &engine.RopeScaling{Type: "llama3", Factor: 32, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 8192}
	scaled := c.InvFreq()
	factors := make([]float32, len(plain))
	for i := range factors {
		factors[i] = plain[i] / scaled[i]
	}
	c.RopeScaling = &engine.RopeScaling{Type: "factors", Factors: factors}
	o, err := ropeObject(c)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := json.Marshal(o)
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if f, ok := got["factor"].(float64); !ok || math.Abs(f-32) > 1e-4 || got["rope_type"] != "llama3" || got["original_max_position_embeddings"] != 8192.0 {
		t.Errorf("got %s", data)
	}
	factors[3] *= 1.5
	if _, err := ropeObject(c); err == nil || !strings.Contains(err.Error(), "rope_freqs") {
		t.Errorf("other factors: %v", err)
	}
}
