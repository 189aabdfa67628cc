package export

import (
	"maps"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/engine"
)

// keys makes the metadata of the file: those of a GGUF checkpoint as they are but for what changed, or else those that
// llama.cpp's converter writes for a configuration and a tokenizer.
func (f *file) keys(ck *engine.Checkpoint, name string) error {
	if stored := ck.Metadata(); stored != nil {
		f.carry(stored)
	} else if err := f.convert(ck, name); err != nil {
		return err
	}
	f.meta.set("general.architecture", stringValue(f.arch))
	f.meta.set("general.quantization_version", uint32Value(2))
	f.meta.set("general.file_type", uint32Value(fileTypes[f.mostly()]))
	if f.arch == "deci" {
		heads, kvHeads, ffn := f.perLayer()
		f.meta.set("deci.attention.head_count", int32sValue(heads))
		f.meta.set("deci.attention.head_count_kv", int32sValue(kvHeads))
		f.meta.set("deci.feed_forward_length", int32sValue(ffn))
		for _, key := range []string{"attention.key_length", "attention.value_length", "rope.dimension_count"} {
			f.meta.set("deci."+key, uint32Value(f.config.HeadDim))
		}
	}
	return nil
}

// carry takes over the keys of a GGUF file. Those of its architecture follow the file's: blocks that are gone are gone
// from the numbers of each block too.
func (f *file) carry(stored []engine.Metadata) {
	m := metadata{stored}
	arch, _ := stringOf(m.get("general.architecture"))
	for _, k := range stored {
		if k.Key == "general.alignment" || strings.HasPrefix(k.Key, "split.") {
			continue // of the file that this was
		}
		if part, ok := strings.CutPrefix(k.Key, arch+"."); ok {
			k.Key = f.arch + "." + part
			if v, ok := pick(k.Value, f.source.Layers, f.blocks); ok && len(f.blocks) < f.source.Layers {
				k.Value = v
			}
		}
		f.meta.keys = append(f.meta.keys, k)
	}
	if len(f.blocks) < f.source.Layers {
		f.meta.set(f.arch+".block_count", uint32Value(f.config.Layers))
	}
	f.widths()
}

// widths sets the numbers that are those of all blocks where these became narrower. The width of a head is no longer the quotient of two of them.
func (f *file) widths() {
	c, was := f.config, f.source
	set := func(key string, n int) { f.meta.set(f.arch+"."+key, uint32Value(n)) }
	if c.FFN != was.FFN {
		set("feed_forward_length", c.FFN)
	}
	if c.Heads == was.Heads && c.KVHeads == was.KVHeads {
		return
	}
	set("attention.head_count", c.Heads)
	set("attention.head_count_kv", c.KVHeads)
	set("attention.key_length", c.HeadDim)
	set("attention.value_length", c.HeadDim)
	set("rope.dimension_count", c.HeadDim)
}

// convert makes the keys of a model that comes from a Hugging Face folder.
func (f *file) convert(ck *engine.Checkpoint, name string) error {
	c := f.config
	set := func(key string, value []byte) { f.meta.set(f.arch+"."+key, value) }
	f.meta.set("general.architecture", stringValue(f.arch))
	f.meta.set("general.type", stringValue("model"))
	if name != "" {
		f.meta.set("general.name", stringValue(name))
	}
	set("block_count", uint32Value(c.Layers))
	set("context_length", uint32Value(c.MaxPositions))
	set("embedding_length", uint32Value(c.Hidden))
	set("feed_forward_length", uint32Value(c.FFN))
	set("attention.head_count", uint32Value(c.Heads))
	set("attention.head_count_kv", uint32Value(c.KVHeads))
	set("attention.key_length", uint32Value(c.HeadDim))
	set("attention.value_length", uint32Value(c.HeadDim))
	set("attention.layer_norm_rms_epsilon", float32Value(c.NormEps))
	set("rope.dimension_count", uint32Value(c.HeadDim))
	set("rope.freq_base", float32Value(c.RopeTheta))
	set("vocab_size", uint32Value(c.Vocab))
	if c.SlidingWindow > 0 {
		set("attention.sliding_window", uint32Value(c.SlidingWindow))
	}
	if s := c.RopeScaling; s != nil && s.Type == "linear" {
		set("rope.scaling.type", stringValue("linear"))
		set("rope.scaling.factor", float32Value(s.Factor))
	}
	v, err := ck.Vocabulary()
	if err != nil {
		return err
	}
	f.vocabulary(v)
	return nil
}

// vocabulary makes the keys of a tokenizer.
func (f *file) vocabulary(v *engine.Vocabulary) {
	tokens, kinds, scores := make([]string, len(v.Tokens)), make([]int, len(v.Tokens)), make([]float32, len(v.Tokens))
	for i, t := range v.Tokens {
		tokens[i], kinds[i], scores[i] = t.Text, int(t.Type), t.Score
	}
	set := func(key string, value []byte) { f.meta.set("tokenizer."+key, value) }
	spm := v.Kind == engine.VocabularySPM
	if spm {
		set("ggml.model", stringValue("llama"))
	} else {
		set("ggml.model", stringValue("gpt2"))
	}
	set("ggml.pre", stringValue(v.Pre))
	set("ggml.tokens", stringsValue(tokens))
	set("ggml.token_type", int32sValue(kinds))
	if spm {
		set("ggml.scores", float32sValue(scores))
	} else {
		set("ggml.merges", stringsValue(v.Merges))
	}
	for _, id := range []struct {
		key string
		id  int
	}{{"bos", v.BOS}, {"eos", v.EOS}, {"unknown", v.Unknown}, {"padding", v.Pad}} {
		if id.id >= 0 {
			set("ggml."+id.key+"_token_id", uint32Value(id.id))
		}
	}
	set("ggml.add_bos_token", boolValue(v.AddBOS))
	set("ggml.add_eos_token", boolValue(v.AddEOS))
	if spm {
		set("ggml.add_space_prefix", boolValue(v.AddSpacePrefix))
	}
	if v.ChatTemplate != "" {
		set("chat_template", stringValue(v.ChatTemplate))
	}
	names := slices.Sorted(maps.Keys(v.ChatTemplates))
	if len(names) > 0 {
		set("chat_templates", stringsValue(names))
	}
	for _, name := range names {
		set("chat_template."+name, stringValue(v.ChatTemplates[name]))
	}
}

// ropeFactors are what the rotary frequencies are divided by one by one, nil where they are as they are or all scaled
// alike. The quotient of two float32 numbers need not give the divisor back: of the numbers next to it the one is taken
// that does, if there is one.
func ropeFactors(c engine.Config) []float32 {
	s := c.RopeScaling
	switch {
	case s == nil || s.Type == "linear":
		return nil
	case s.Type == "factors":
		return s.Factors
	}
	scaled := c.InvFreq()
	c.RopeScaling = nil
	factors := make([]float32, len(scaled))
	for i, f := range c.InvFreq() {
		q := f / scaled[i]
		near := []float32{q, next(q, 1), next(q, -1)}
		at := max(0, slices.IndexFunc(near, func(x float32) bool { return f/x == scaled[i] }))
		factors[i] = near[at]
	}
	return factors
}
