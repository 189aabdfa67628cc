package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/engine"
)

// companions are the files of a folder that go over as they are.
var companions = []string{
	"generation_config.json",
	"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
	"chat_template.jinja", "chat_template.json",
	"LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt", "USE_POLICY.md",
}

// torchNames are the names of types in config.json.
var torchNames = map[string]string{"BF16": "bfloat16", "F16": "float16", "F32": "float32"}

// files are the files of the folder that hold no weights.
func (e *hfExport) files() (map[string][]byte, error) {
	files := map[string][]byte{}
	config, err := e.ck.Companion("config.json")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if config, err = e.fromGGUF(files); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		if err := e.copyCompanions(files); err != nil {
			return nil, err
		}
	}
	o, err := parseObject(config)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if err := e.editConfig(&o); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if files["config.json"], err = o.file(); err != nil {
		return nil, err
	}
	for name, data := range e.options.Files {
		files[name] = data
	}
	return files, nil
}

// copyCompanions reads what goes over byte for byte.
func (e *hfExport) copyCompanions(files map[string][]byte) error {
	for _, name := range companions {
		data, err := e.ck.Companion(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		default:
			files[name] = data
		}
	}
	return nil
}

// editConfig changes in a config.json what the candidate changes.
func (e *hfExport) editConfig(o *object) error {
	dtype := "torch_dtype"
	if o.get("dtype") != nil {
		dtype = "dtype" // transformers 5
	}
	o.set(dtype, torchNames[e.options.Dtype])
	o.remove("quantization_config")
	o.remove("compression_config") // its old name
	if q := e.quantizationConfig(); q != nil {
		o.set("quantization_config", q)
	}
	if e.untied {
		o.set("tie_word_embeddings", false)
	}
	if e.ffn != e.config.FFN {
		o.set("intermediate_size", e.ffn)
	}
	if len(e.layers) == e.config.Layers {
		return nil
	}
	o.set("num_hidden_layers", len(e.layers))
	return e.shortenLists(o)
}

// shortenLists takes the layers that are gone out of every list that has an entry a layer, and out of the
// number of first layers that see everything.
func (e *hfExport) shortenLists(o *object) error {
	for _, m := range slices.Clone(*o) {
		if m.key == "max_window_layers" {
			var first int
			if json.Unmarshal(m.value, &first) == nil {
				kept := 0
				for _, l := range e.layers {
					if l.from < first {
						kept++
					}
				}
				o.set(m.key, kept)
			}
			continue
		}
		var list []json.RawMessage
		if len(m.value) == 0 || m.value[0] != '[' || json.Unmarshal(m.value, &list) != nil {
			continue
		}
		perLayer := strings.Contains(m.key, "layer") || strings.Contains(m.key, "window") || m.key == "block_configs"
		switch {
		case perLayer && len(list) != e.config.Layers:
			return fmt.Errorf("%s has %d entries for %d layers: what they are without the layers that are taken out is not known", m.key, len(list), e.config.Layers)
		case perLayer:
			short := make([]json.RawMessage, len(e.layers))
			for i, l := range e.layers {
				short[i] = list[l.from]
			}
			o.set(m.key, short)
		case len(list) == e.config.Layers && len(list) > 3:
			e.note("config.json: %s has as many entries as there were layers and stays as it is", m.key)
		}
	}
	return nil
}

// fromGGUF makes the config.json of a model that came as GGUF, and adds its tokenizer to files.
func (e *hfExport) fromGGUF(files map[string][]byte) ([]byte, error) {
	o, err := configObject(e.config)
	if err != nil {
		return nil, err
	}
	if err := e.ggufTokenizer(&o, files); err != nil {
		return nil, err
	}
	return o.file()
}

// configObject is the config.json of a configuration, in the members of transformers 4, which 5 reads too.
func configObject(c engine.Config) (object, error) {
	arch := c.Arch
	switch { // what GGUF has under one name
	case arch == "llama" && c.SlidingWindow > 0:
		arch = "mistral"
	case arch == "llama" && c.QKVBias && !c.OutBias && !c.QKNorm:
		arch = "qwen2"
	}
	class, ok := map[string]string{"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}[arch]
	if !ok {
		return nil, fmt.Errorf("there is no class of transformers for architecture %q", arch)
	}
	var o object
	o.set("architectures", []string{class + "ForCausalLM"})
	o.set("model_type", arch)
	o.set("hidden_act", "silu")
	o.set("hidden_size", c.Hidden)
	o.set("intermediate_size", c.FFN)
	o.set("num_hidden_layers", c.Layers)
	o.set("num_attention_heads", c.Heads)
	o.set("num_key_value_heads", c.KVHeads)
	o.set("head_dim", c.HeadDim)
	o.set("vocab_size", c.Vocab)
	o.set("max_position_embeddings", c.MaxPositions)
	o.set("rms_norm_eps", c.NormEps)
	o.set("rope_theta", c.RopeTheta)
	scaling, err := ropeObject(c)
	if err != nil {
		return nil, err
	}
	o.set("rope_scaling", scaling)
	o.set("tie_word_embeddings", c.TieEmbeddings)
	switch arch {
	case "llama":
		if c.QKVBias != c.OutBias {
			return nil, fmt.Errorf("attention with a bias on some of its projections: no class of transformers with the rest of architecture llama has that")
		}
		o.set("attention_bias", c.QKVBias)
		o.set("mlp_bias", false)
	case "mistral":
		o.set("sliding_window", nil)
		if c.SlidingWindow > 0 {
			o.set("sliding_window", c.SlidingWindow)
		}
	default:
		if arch == "qwen3" {
			o.set("attention_bias", c.OutBias)
		}
		o.set("use_sliding_window", c.SlidingWindow > 0)
		if c.SlidingWindow > 0 {
			o.set("sliding_window", c.SlidingWindow)
			o.set("max_window_layers", c.FullLayers)
		}
	}
	return o, nil
}

// ropeObject is rope_scaling. GGUF files hold the scaling of Llama 3 as factors, one a frequency: the
// parameters that give these are looked for among those that models have.
func ropeObject(c engine.Config) (any, error) {
	s := c.RopeScaling
	if s == nil {
		return nil, nil
	}
	var o object
	llama3 := func(s *engine.RopeScaling) object {
		o.set("rope_type", "llama3")
		o.set("factor", s.Factor)
		o.set("low_freq_factor", s.LowFreqFactor)
		o.set("high_freq_factor", s.HighFreqFactor)
		o.set("original_max_position_embeddings", s.OriginalMaxPositions)
		return o
	}
	switch s.Type {
	case "linear":
		o.set("rope_type", "linear")
		o.set("factor", s.Factor)
		return o, nil
	case "llama3":
		return llama3(s), nil
	}
	want := c.InvFreq()
	for _, original := range []int{8192, 4096, 2048, 16384, 32768, 65536, 131072} {
		try := c
		try.RopeScaling = &engine.RopeScaling{Type: "llama3", Factor: float64(slices.Max(s.Factors)), LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: original}
		if slices.EqualFunc(want, try.InvFreq(), func(a, b float32) bool { return a-b <= 1e-5*b && b-a <= 1e-5*b }) {
			return llama3(try.RopeScaling), nil
		}
	}
	return nil, fmt.Errorf("the factors of tensor rope_freqs.weight are no rope_scaling that transformers has")
}
