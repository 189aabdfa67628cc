package engine

import (
	"fmt"
	"strconv"
	"strings"
)

// openGGUF opens the model in a GGUF file, which becomes the checkpoint's to release.
func openGGUF(f *file) (*Checkpoint, error) {
	g, err := parseGGUF(f.data)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{ref: f.name, tensors: map[string]Tensor{}, files: []*file{f}, weights: int64(len(f.data)), single: true, meta: g.keys}
	byName := map[string]Tensor{}
	for _, t := range g.tensors {
		byName[t.Name] = t
	}
	if c.config, err = g.config(byName); err != nil {
		return nil, err
	}
	for _, t := range g.tensors {
		name := hfName(t.Name)
		if name == "" {
			continue
		}
		t.Name = name
		if c.config.Arch == "llama" && (strings.Contains(name, ".q_proj.") || strings.Contains(name, ".k_proj.")) {
			if len(t.Shape) == 0 || t.Shape[0]%c.config.HeadDim != 0 {
				return nil, malformed("tensor %s has shape %v and the model heads of %d", name, t.Shape, c.config.HeadDim)
			}
			t.pairs = c.config.HeadDim
		}
		c.tensors[name] = t
	}
	return c, c.finish(func() (*Tokenizer, error) {
		v, err := g.vocabulary()
		if err != nil {
			return nil, err
		}
		return v.tokenizer()
	}, func() (*Vocabulary, error) {
		v, err := g.vocabulary()
		if err != nil {
			return nil, err
		}
		return v, v.complete(c.config.Vocab)
	})
}

// ggufNames maps the names of ggml to those of Hugging Face; those of blocks without their prefix.
var ggufNames = map[string]string{
	"token_embd":  "model.embed_tokens",
	"output_norm": "model.norm",
	"output":      "lm_head",

	"attn_norm":   "input_layernorm",
	"attn_q":      "self_attn.q_proj",
	"attn_k":      "self_attn.k_proj",
	"attn_v":      "self_attn.v_proj",
	"attn_output": "self_attn.o_proj",
	"attn_q_norm": "self_attn.q_norm",
	"attn_k_norm": "self_attn.k_norm",
	"ffn_norm":    "post_attention_layernorm",
	"ffn_gate":    "mlp.gate_proj",
	"ffn_up":      "mlp.up_proj",
	"ffn_down":    "mlp.down_proj",
}

// hfName is the Hugging Face name of a tensor of a GGUF file, empty where there is none.
func hfName(name string) string {
	prefix := ""
	if rest, ok := strings.CutPrefix(name, "blk."); ok {
		number, part, _ := strings.Cut(rest, ".")
		b, err := strconv.Atoi(number)
		if err != nil || strconv.Itoa(b) != number || b < 0 {
			return ""
		}
		prefix, name = "model.layers."+number+".", part
	}
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 || name[dot:] != ".weight" && name[dot:] != ".bias" {
		return ""
	}
	to, ok := ggufNames[name[:dot]]
	if !ok || strings.HasPrefix(to, "model.") && prefix != "" {
		return ""
	}
	return prefix + to + name[dot:]
}

// config reads the configuration from the metadata and from which tensors there are.
func (g *gguf) config(tensors map[string]Tensor) (Config, error) {
	arch, err := g.text("general.architecture", "")
	if err != nil {
		return Config{}, err
	}
	switch arch {
	case "llama", "deci", "qwen2", "qwen3":
	case "":
		return Config{}, malformed("there is no general.architecture")
	default:
		return Config{}, unsupported("architecture %q (llama, deci, qwen2 and qwen3 are supported in GGUF)", arch)
	}
	has := func(name string) bool { _, ok := tensors[name]; return ok }
	c := Config{
		Arch:          arch,
		TieEmbeddings: !has("output.weight"),
		QKNorm:        arch == "qwen3",
	}
	m := ggufMeta{g: g, prefix: arch + "."}
	c.Layers = m.uint("block_count", -1)
	c.Hidden = m.uint("embedding_length", -1)
	heads := 0
	if arch == "deci" {
		c.Arch = "llama"
		heads = m.layers(&c, tensors)
	} else {
		c.FFN = m.uint("feed_forward_length", -1)
		c.Heads = m.uint("attention.head_count", -1)
		c.KVHeads = m.uint("attention.head_count_kv", c.Heads)
		heads = c.Heads
	}
	first := 0 // layer that has attention
	for c.Absent != nil && first < c.Layers-1 && c.Absent[2*first] {
		first++
	}
	c.QKVBias = arch == "qwen2" || has(fmt.Sprintf("blk.%d.attn_q.bias", first))
	c.OutBias = has(fmt.Sprintf("blk.%d.attn_output.bias", first))
	c.MaxPositions = m.uint("context_length", -1)
	c.NormEps = m.float("attention.layer_norm_rms_epsilon", 0)
	c.RopeTheta = m.float("rope.freq_base", 10000)
	c.SlidingWindow = m.uint("attention.sliding_window", 0)
	ratio := 0
	if heads > 0 {
		ratio = c.Hidden / heads
	}
	c.HeadDim = m.uint("attention.key_length", ratio)
	values, rotated := m.uint("attention.value_length", c.HeadDim), m.uint("rope.dimension_count", c.HeadDim)
	experts := m.uint("expert_count", 0)
	scaling, factor := m.text("rope.scaling.type", "none"), m.float("rope.scaling.factor", 0)
	factor = m.float("rope.scale_linear", factor) // its old name
	if !g.has(arch + ".attention.layer_norm_rms_epsilon") {
		m.keep(malformed("metadata key %s.attention.layer_norm_rms_epsilon is missing", arch))
	}
	if m.err != nil {
		return Config{}, m.err
	}
	if embedding, ok := tensors["token_embd.weight"]; ok {
		c.Vocab = embedding.Rows()
	} else {
		return Config{}, malformed("tensor token_embd.weight is missing")
	}
	switch {
	case experts > 0:
		return Config{}, unsupported("mixture of experts")
	case values != c.HeadDim:
		return Config{}, unsupported("value heads of %d beside key heads of %d", values, c.HeadDim)
	case rotated != c.HeadDim:
		return Config{}, unsupported("rotary positions in %d of the %d dimensions of a head", rotated, c.HeadDim)
	}
	if c.RopeScaling, err = ggufScaling(scaling, factor, tensors); err != nil {
		return Config{}, err
	}
	return c, c.check()
}

// ggufScaling is the scaling of the rotary frequencies: linear by metadata, others by the factors
// in tensor rope_freqs.weight.
func ggufScaling(kind string, factor float64, tensors map[string]Tensor) (*RopeScaling, error) {
	freqs, ok := tensors["rope_freqs.weight"]
	for name := range tensors {
		if strings.HasPrefix(name, "rope_factors_") {
			return nil, unsupported("rope scaling by tensor %s", name)
		}
	}
	switch {
	case kind != "none" && kind != "linear":
		return nil, unsupported("rope scaling of type %q (linear is supported, and tensor rope_freqs.weight)", kind)
	case kind == "linear" && ok:
		return nil, unsupported("linear rope scaling together with tensor rope_freqs.weight")
	case kind == "linear" || factor > 0 && factor != 1:
		return &RopeScaling{Type: "linear", Factor: factor}, nil
	case ok && freqs.Type != "F32":
		return nil, malformed("tensor rope_freqs.weight is of type %s, want F32", freqs.Type)
	case ok && (len(freqs.Shape) != 1 || freqs.Cols() > maxWidth):
		return nil, malformed("tensor rope_freqs.weight has shape %v", freqs.Shape)
	case ok:
		s := &RopeScaling{Type: "factors", Factors: make([]float32, freqs.Cols())}
		freqs.DecodeRows(0, 1, s.Factors)
		return s, nil
	}
	return nil, nil
}

// ggufMeta reads values of an architecture and keeps the first error. A default below zero means
// that the key must be there.
type ggufMeta struct {
	g      *gguf
	prefix string
	err    error
}

func (m *ggufMeta) uint(key string, def int) int {
	n, err := m.g.uint(m.prefix+key, def)
	if err == nil && n < 0 {
		err = malformed("metadata key %s is missing", m.prefix+key)
	}
	m.keep(err)
	return n
}

func (m *ggufMeta) float(key string, def float64) float64 {
	x, err := m.g.float(m.prefix+key, def)
	m.keep(err)
	return x
}

func (m *ggufMeta) text(key, def string) string {
	s, err := m.g.text(m.prefix+key, def)
	m.keep(err)
	return s
}

func (m *ggufMeta) keep(err error) {
	if m.err == nil {
		m.err = err
	}
}
