package engine

import (
	"encoding/json"
	"slices"
	"strings"
)

// configJSON is the part of config.json that decides how a model computes. A pointer tells a
// member that is absent or null from a zero.
type configJSON struct {
	Architectures []string `json:"architectures"`
	ModelType     string   `json:"model_type"`
	HiddenAct     *string  `json:"hidden_act"`

	Layers       int      `json:"num_hidden_layers"`
	Hidden       int      `json:"hidden_size"`
	Heads        int      `json:"num_attention_heads"`
	KVHeads      optional `json:"num_key_value_heads"`
	HeadDim      optional `json:"head_dim"`
	FFN          int      `json:"intermediate_size"`
	Vocab        int      `json:"vocab_size"`
	MaxPositions *int     `json:"max_position_embeddings"`

	NormEps        *float64  `json:"rms_norm_eps"`
	RopeTheta      *float64  `json:"rope_theta"`
	RopeScaling    *ropeJSON `json:"rope_scaling"`
	RopeParameters *ropeJSON `json:"rope_parameters"` // transformers 5: both of the above
	PartialRotary  *float64  `json:"partial_rotary_factor"`

	Tie           bool `json:"tie_word_embeddings"`
	AttentionBias bool `json:"attention_bias"`
	MLPBias       bool `json:"mlp_bias"`

	UseSliding    bool     `json:"use_sliding_window"`
	SlidingWindow optional `json:"sliding_window"`
	WindowLayers  *int     `json:"max_window_layers"`
	LayerTypes    []string `json:"layer_types"`

	Quantization json.RawMessage `json:"quantization_config"`
	Experts      *int            `json:"num_experts"`
	LocalExperts *int            `json:"num_local_experts"`
}

// optional is a number for which absent and null mean different things.
type optional struct {
	value       int
	given, null bool
}

func (o *optional) UnmarshalJSON(b []byte) error {
	o.given, o.null = true, string(b) == "null"
	return json.Unmarshal(b, &o.value)
}

// or is the number, absent where it is not given and null where it is null.
func (o optional) or(absent, null int) int {
	switch {
	case !o.given:
		return absent
	case o.null:
		return null
	}
	return o.value
}

// ropeJSON is rope_scaling in the spellings of transformers 4 (type, later rope_type) or
// rope_parameters of transformers 5.
type ropeJSON struct {
	OldType   string   `json:"type"`
	Type      string   `json:"rope_type"`
	Theta     *float64 `json:"rope_theta"`
	Factor    float64  `json:"factor"`
	Low       float64  `json:"low_freq_factor"`
	High      float64  `json:"high_freq_factor"`
	Positions int      `json:"original_max_position_embeddings"`
	Partial   *float64 `json:"partial_rotary_factor"`
}

// ParseConfig reads a config.json. Members that are absent have the defaults of Hugging Face
// transformers for the model type.
func ParseConfig(data []byte) (Config, error) {
	var j configJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return Config{}, malformed("%v", err)
	}
	if err := j.supported(); err != nil {
		return Config{}, err
	}
	if j.Heads < 1 || j.Hidden < 1 {
		return Config{}, malformed("hidden_size is %d and num_attention_heads %d", j.Hidden, j.Heads)
	}
	c := Config{
		Arch: j.ModelType, Layers: j.Layers, Hidden: j.Hidden, Heads: j.Heads, FFN: j.FFN, Vocab: j.Vocab,
		NormEps: or(j.NormEps, 1e-6), RopeTheta: or(j.RopeTheta, 10000), TieEmbeddings: j.Tie,
	}
	ratio, kvHeads, positions, window := c.Hidden/c.Heads, c.Heads, 2048, 0
	headDim := ratio
	switch c.Arch {
	case "llama":
		c.QKVBias, c.OutBias = j.AttentionBias, j.AttentionBias
	case "mistral":
		kvHeads, positions, window = 8, 4096*32, j.SlidingWindow.or(4096, 0)
	case "qwen2":
		kvHeads, positions = 32, 32768
		c.QKVBias = true
	case "qwen3":
		kvHeads, positions, headDim = 32, 32768, 128
		c.QKVBias, c.OutBias, c.QKNorm = j.AttentionBias, j.AttentionBias, true
	}
	if strings.HasPrefix(c.Arch, "qwen") && j.UseSliding {
		window = j.SlidingWindow.or(4096, 0)
	}
	c.KVHeads, c.HeadDim = j.KVHeads.or(kvHeads, c.Heads), j.HeadDim.or(headDim, ratio)
	c.MaxPositions, c.SlidingWindow = or(j.MaxPositions, positions), window
	if err := j.rope(&c); err != nil {
		return Config{}, err
	}
	if err := c.check(); err != nil {
		return Config{}, err
	}
	return c, j.window(&c)
}

// supported reports what the model asks for and this package does not do.
func (j *configJSON) supported() error {
	classes := map[string]string{
		"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
	}
	class, ok := classes[j.ModelType]
	rotated := 1.0
	if p := j.RopeParameters; p != nil {
		rotated = or(p.Partial, 1)
	}
	switch {
	case j.ModelType == "":
		return malformed("there is no model_type")
	case !ok:
		return unsupported("architecture %q (llama, mistral, qwen2 and qwen3 are supported)", j.ModelType)
	case len(j.Architectures) > 0 && !slices.Contains(j.Architectures, class):
		return unsupported("model class %q (want %s)", j.Architectures[0], class)
	case or(j.Experts, 0) > 0 || or(j.LocalExperts, 0) > 0:
		return unsupported("mixture of experts")
	case or(j.HiddenAct, "silu") != "silu":
		return unsupported("hidden_act %q (want silu)", *j.HiddenAct)
	case j.MLPBias && j.ModelType == "llama":
		return unsupported("mlp_bias")
	case or(j.PartialRotary, 1) != 1 || rotated != 1:
		return unsupported("partial_rotary_factor")
	}
	_, err := parseQuantization(j.Quantization)
	return err
}

// rope takes the base and the scaling of the rotary frequencies into c.
func (j *configJSON) rope(c *Config) error {
	r := j.RopeScaling
	if j.RopeParameters != nil {
		r = j.RopeParameters
	}
	if r == nil {
		return nil
	}
	c.RopeTheta = or(r.Theta, c.RopeTheta)
	kind := r.Type
	if kind == "" {
		kind = r.OldType
	}
	switch kind {
	case "default", "":
		if kind == "" && j.RopeParameters == nil {
			return malformed("rope_scaling has no rope_type")
		}
	case "linear":
		c.RopeScaling = &RopeScaling{Type: kind, Factor: r.Factor}
	case "llama3":
		c.RopeScaling = &RopeScaling{
			Type: kind, Factor: r.Factor, LowFreqFactor: r.Low, HighFreqFactor: r.High, OriginalMaxPositions: r.Positions,
		}
	default:
		return unsupported("rope scaling of type %q (default, linear and llama3 are supported)", kind)
	}
	return nil
}

// window finds the layers that attend in full in spite of a sliding window: those before
// max_window_layers, or those that layer_types says.
func (j *configJSON) window(c *Config) error {
	if strings.HasPrefix(c.Arch, "qwen") && c.SlidingWindow > 0 {
		c.FullLayers = min(max(or(j.WindowLayers, 28), 0), c.Layers)
	}
	if j.LayerTypes == nil || c.Arch == "llama" || c.Arch == "mistral" {
		return nil
	}
	if len(j.LayerTypes) != c.Layers {
		return malformed("%d layer_types for %d layers", len(j.LayerTypes), c.Layers)
	}
	first := slices.Index(j.LayerTypes, "sliding_attention")
	if first < 0 {
		first = c.Layers
	}
	for i, kind := range j.LayerTypes {
		switch {
		case kind != "full_attention" && kind != "sliding_attention":
			return unsupported("layer type %q", kind)
		case kind == "full_attention" && i > first:
			return unsupported("layer_types with full attention after sliding attention")
		}
	}
	if first < c.Layers && c.SlidingWindow == 0 {
		return malformed("layer_types with sliding attention, and no sliding_window")
	}
	if c.SlidingWindow > 0 {
		c.FullLayers = first
	}
	return nil
}

// or is what p points at, or the default.
func or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}
