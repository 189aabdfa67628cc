package engine

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

const llamaJSON = `"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":64,"intermediate_size":96,
	"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":100,"rms_norm_eps":1e-5,"max_position_embeddings":512`

func TestParseConfig(t *testing.T) {
	base := Config{Arch: "llama", Layers: 2, Hidden: 64, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 96, Vocab: 100, MaxPositions: 512, NormEps: 1e-5, RopeTheta: 10000}
	with := func(change func(*Config)) Config {
		c := base
		change(&c)
		return c
	}
	scaled := with(func(c *Config) {
		c.RopeTheta = 5e5
		c.RopeScaling = &RopeScaling{Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 256}
	})
	for name, test := range map[string]struct {
		json string
		want Config
	}{
		"llama":        {llamaJSON, base},
		"no kv heads":  {strings.Replace(llamaJSON, `"num_key_value_heads":2,`, "", 1), with(func(c *Config) { c.KVHeads = 4 })},
		"null kv":      {strings.Replace(llamaJSON, `heads":2,`, `heads":null,`, 1), with(func(c *Config) { c.KVHeads = 4 })},
		"head_dim":     {llamaJSON + `,"head_dim":32`, with(func(c *Config) { c.HeadDim = 32 })},
		"tied, biased": {llamaJSON + `,"tie_word_embeddings":true,"attention_bias":true`, with(func(c *Config) { c.TieEmbeddings, c.QKVBias, c.OutBias = true, true, true })},
		"null scaling": {llamaJSON + `,"rope_scaling":null,"rope_theta":10000`, base},
		"default":      {llamaJSON + `,"rope_scaling":{"type":"default"}`, base},
		"linear":       {llamaJSON + `,"rope_scaling":{"type":"linear","factor":4}`, with(func(c *Config) { c.RopeScaling = &RopeScaling{Type: "linear", Factor: 4} })},
		"llama3": {llamaJSON + `,"rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
			"high_freq_factor":4.0,"original_max_position_embeddings":256}`, scaled},
		"rope_parameters": {llamaJSON + `,"rope_parameters":{"rope_type":"llama3","rope_theta":500000.0,"factor":8.0,"low_freq_factor":1.0,
			"high_freq_factor":4.0,"original_max_position_embeddings":256}`, scaled},
		"rope_parameters of default": {llamaJSON + `,"rope_parameters":{"rope_theta":10000.0,"rope_type":"default"}`, base},
		"mistral": {strings.NewReplacer("llama", "mistral", "Llama", "Mistral").Replace(llamaJSON) + `,"sliding_window":64`,
			with(func(c *Config) { c.Arch, c.SlidingWindow = "mistral", 64 })},
		"mistral, null window": {strings.NewReplacer("llama", "mistral", "Llama", "Mistral").Replace(llamaJSON) + `,"sliding_window":null`,
			with(func(c *Config) { c.Arch = "mistral" })},
		"mistral, window by default": {strings.NewReplacer("llama", "mistral", "Llama", "Mistral").Replace(llamaJSON),
			with(func(c *Config) { c.Arch, c.SlidingWindow = "mistral", 4096 })},
		"qwen2": {strings.NewReplacer("llama", "qwen2", "Llama", "Qwen2").Replace(llamaJSON) + `,"sliding_window":64,"use_sliding_window":false,"max_window_layers":1`,
			with(func(c *Config) { c.Arch, c.QKVBias = "qwen2", true })},
		"qwen2, window": {strings.NewReplacer("llama", "qwen2", "Llama", "Qwen2").Replace(llamaJSON) + `,"sliding_window":64,"use_sliding_window":true,"max_window_layers":1`,
			with(func(c *Config) { c.Arch, c.QKVBias, c.SlidingWindow, c.FullLayers = "qwen2", true, 64, 1 })},
		"qwen3": {strings.NewReplacer("llama", "qwen3", "Llama", "Qwen3").Replace(llamaJSON) + `,"layer_types":["full_attention","full_attention"]`,
			with(func(c *Config) { c.Arch, c.QKNorm, c.HeadDim = "qwen3", true, 128 })},
		"qwen3, layer types": {strings.NewReplacer("llama", "qwen3", "Llama", "Qwen3").Replace(llamaJSON) +
			`,"layer_types":["full_attention","sliding_attention"],"use_sliding_window":true,"sliding_window":9`,
			with(func(c *Config) { c.Arch, c.QKNorm, c.HeadDim, c.SlidingWindow, c.FullLayers = "qwen3", true, 128, 9, 1 })},
	} {
		got, err := ParseConfig([]byte("{" + test.json + "}"))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", name, got, err, test.want)
		}
	}
}

// badConfigs are members that make a configuration be refused, and a part of what is said.
var badConfigs = []struct {
	json, want string
	kind       error
}{
	{`"model_type":"gpt2"`, `architecture "gpt2"`, ErrUnsupported},
	{`"model_type":""`, `no model_type`, ErrMalformed},
	{`"architectures":["LlamaForSequenceClassification"]`, `model class "LlamaForSequenceClassification"`, ErrUnsupported},
	{`"num_local_experts":8`, `mixture of experts`, ErrUnsupported},
	{`"quantization_config":{"quant_method":"gptq"}`, `quantization_config`, ErrUnsupported},
	{`"hidden_act":"gelu"`, `hidden_act "gelu"`, ErrUnsupported},
	{`"mlp_bias":true`, `mlp_bias`, ErrUnsupported},
	{`"partial_rotary_factor":0.5`, `partial_rotary_factor`, ErrUnsupported},
	{`"rope_scaling":{"rope_type":"yarn","factor":4}`, `rope scaling of type "yarn"`, ErrUnsupported},
	{`"rope_scaling":{"factor":4}`, `no rope_type`, ErrMalformed},
	{`"rope_scaling":{"type":"linear"}`, `factor 0`, ErrMalformed},
	{`"rope_scaling":{"type":"llama3","factor":8}`, `llama3 rope scaling has`, ErrMalformed},
	{`"num_hidden_layers":1000000000`, `number of layers is 1000000000`, ErrMalformed},
	{`"num_hidden_layers":0`, `number of layers is 0`, ErrMalformed},
	{`"hidden_size":-64`, `hidden_size is -64`, ErrMalformed},
	{`"num_attention_heads":0`, `num_attention_heads 0`, ErrMalformed},
	{`"num_key_value_heads":3`, `no multiple of 3`, ErrMalformed},
	{`"head_dim":15`, `head dimension 15 is odd`, ErrMalformed},
	{`"head_dim":16777216`, `heads of width 16777216`, ErrMalformed},
	{`"vocab_size":1e99`, `json`, ErrMalformed},
	{`"rms_norm_eps":-1`, `epsilon`, ErrMalformed},
	{`"rope_theta":0`, `rotary base`, ErrMalformed},
	{`"model_type":"mistral","architectures":null,"sliding_window":-3`, `sliding window of -3`, ErrMalformed},
	{`"model_type":"qwen2","architectures":null,"layer_types":["full_attention"]`, `1 layer_types for 2 layers`, ErrMalformed},
	{`"model_type":"qwen2","architectures":null,"layer_types":["linear_attention","full_attention"]`, `layer type "linear_attention"`, ErrUnsupported},
	{`"model_type":"qwen2","architectures":null,"use_sliding_window":true,"layer_types":["sliding_attention","full_attention"]`, `full attention after`, ErrUnsupported},
	{`"model_type":"qwen2","architectures":null,"layer_types":["full_attention","sliding_attention"]`, `no sliding_window`, ErrMalformed},
	{`"vocab_size":"x"`, `vocab_size`, ErrMalformed},
}

func TestParseConfigBad(t *testing.T) {
	for _, test := range badConfigs {
		// encoding/json takes the last of equal members.
		_, err := ParseConfig([]byte("{" + llamaJSON + "," + test.json + "}"))
		if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.kind) {
			t.Errorf("%s gives %v, want %v with %q", test.json, err, test.kind, test.want)
		}
	}
	if _, err := ParseConfig([]byte("nonsense")); !errors.Is(err, ErrMalformed) {
		t.Errorf("nonsense gives %v", err)
	}
}

// TestParameters counts the weights of published models.
func TestParameters(t *testing.T) {
	for _, test := range []struct {
		name string
		c    Config
		want int64
	}{
		{"SmolLM2-135M", Config{Layers: 30, Hidden: 576, Heads: 9, KVHeads: 3, HeadDim: 64, FFN: 1536, Vocab: 49152, TieEmbeddings: true}, 134_515_008},
		{"Llama-3.1-8B", Config{Layers: 32, Hidden: 4096, Heads: 32, KVHeads: 8, HeadDim: 128, FFN: 14336, Vocab: 128256}, 8_030_261_248},
		{"Qwen2.5-0.5B", Config{Layers: 24, Hidden: 896, Heads: 14, KVHeads: 2, HeadDim: 64, FFN: 4864, Vocab: 151936, TieEmbeddings: true, QKVBias: true}, 494_032_768},
		{"Qwen3-0.6B", Config{Layers: 28, Hidden: 1024, Heads: 16, KVHeads: 8, HeadDim: 128, FFN: 3072, Vocab: 151936, TieEmbeddings: true, QKNorm: true}, 596_049_920},
	} {
		if got := test.c.Parameters(); got != test.want {
			t.Errorf("%s has %d parameters, want %d", test.name, got, test.want)
		}
	}
}

func TestModules(t *testing.T) {
	c := Config{Layers: 2, Hidden: 8, Heads: 4, KVHeads: 2, HeadDim: 6, FFN: 10}
	modules := c.Modules()
	if len(modules) != 14 {
		t.Fatalf("%d modules, want 14", len(modules))
	}
	want := []Module{
		{"model.layers.1.self_attn.q_proj", 1, "q_proj", 24, 8}, {"model.layers.1.self_attn.k_proj", 1, "k_proj", 12, 8},
		{"model.layers.1.self_attn.v_proj", 1, "v_proj", 12, 8}, {"model.layers.1.self_attn.o_proj", 1, "o_proj", 8, 24},
		{"model.layers.1.mlp.gate_proj", 1, "gate_proj", 10, 8}, {"model.layers.1.mlp.up_proj", 1, "up_proj", 10, 8},
		{"model.layers.1.mlp.down_proj", 1, "down_proj", 8, 10},
	}
	if !reflect.DeepEqual(modules[7:], want) {
		t.Errorf("got %v\nwant %v", modules[7:], want)
	}
}

func TestInvFreq(t *testing.T) {
	near := func(got float32, want float64) bool { return math.Abs(float64(got)-want) <= 1e-7*want }
	c := Config{HeadDim: 4, RopeTheta: 10000}
	if f := c.InvFreq(); len(f) != 2 || f[0] != 1 || !near(f[1], 0.01) {
		t.Errorf("plain: %v", f)
	}
	c.RopeScaling = &RopeScaling{Type: "linear", Factor: 4}
	if f := c.InvFreq(); f[0] != 0.25 || !near(f[1], 0.0025) {
		t.Errorf("linear: %v", f)
	}
	c.RopeScaling = &RopeScaling{Type: "factors", Factors: []float32{1, 8}}
	if f := c.InvFreq(); f[0] != 1 || !near(f[1], 0.01/8) {
		t.Errorf("factors: %v", f)
	}
	// Llama 3.1: the first frequencies stay, the last are divided by 8, and those between are blended.
	c = Config{HeadDim: 128, RopeTheta: 5e5, RopeScaling: &RopeScaling{Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 8192}}
	scaled := c.InvFreq()
	c.RopeScaling = nil
	blended := 0
	for i, plain := range c.InvFreq() {
		wavelength := 2 * math.Pi / float64(plain)
		switch {
		case wavelength < 2048:
			if scaled[i] != plain {
				t.Errorf("pair %d: %v, want %v", i, scaled[i], plain)
			}
		case wavelength > 8192:
			if !near(scaled[i], float64(plain)/8) {
				t.Errorf("pair %d: %v, want %v", i, scaled[i], plain/8)
			}
		default:
			blended++
			if scaled[i] >= plain || scaled[i] <= plain/8 || scaled[i] >= scaled[i-1] {
				t.Errorf("pair %d: %v of %v", i, scaled[i], plain)
			}
		}
	}
	if blended == 0 {
		t.Error("no frequency was blended")
	}
}

// FuzzConfig holds that a configuration that is accepted is one that tensors can be listed for.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("{" + llamaJSON + "}"))
	for _, test := range badConfigs {
		f.Add([]byte("{" + llamaJSON + "," + test.json + "}"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		if c.Parameters() <= 0 {
			t.Errorf("%d parameters", c.Parameters())
		}
		for i, x := range c.InvFreq() {
			if math.IsNaN(float64(x)) {
				t.Errorf("frequency %d is NaN", i)
			}
		}
		c.Window(c.Layers - 1)
	})
}
