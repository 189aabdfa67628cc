package builtin

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/paretopress/paretopress/internal/safetensors"
)

func TestFS(t *testing.T) {
	if err := fstest.TestFS(FS(), "config.json", "model.safetensors", "tokenizer.json"); err != nil {
		t.Fatal(err)
	}
}

// The tensors that config.json calls for are in model.safetensors, each once, in BF16, of the right shape, and nothing else is.
func TestModelMatchesConfig(t *testing.T) {
	var c struct {
		Hidden  int  `json:"hidden_size"`
		FFN     int  `json:"intermediate_size"`
		Layers  int  `json:"num_hidden_layers"`
		Heads   int  `json:"num_attention_heads"`
		KVHeads int  `json:"num_key_value_heads"`
		HeadDim int  `json:"head_dim"`
		Vocab   int  `json:"vocab_size"`
		Tied    bool `json:"tie_word_embeddings"`
	}
	if err := json.Unmarshal(read(t, "config.json"), &c); err != nil {
		t.Fatal(err)
	}
	if c.Layers < 6 || c.KVHeads >= c.Heads || c.Vocab < 512 || !c.Tied {
		t.Errorf("config %+v: want at least 6 layers, grouped heads, a vocabulary of at least 512 and a tied head", c)
	}
	want := map[string]string{
		"model.embed_tokens.weight": fmt.Sprint([]int{c.Vocab, c.Hidden}),
		"model.norm.weight":         fmt.Sprint([]int{c.Hidden}),
	}
	for l := range c.Layers {
		for name, shape := range map[string][]int{
			"self_attn.q_proj":         {c.Heads * c.HeadDim, c.Hidden},
			"self_attn.k_proj":         {c.KVHeads * c.HeadDim, c.Hidden},
			"self_attn.v_proj":         {c.KVHeads * c.HeadDim, c.Hidden},
			"self_attn.o_proj":         {c.Hidden, c.Heads * c.HeadDim},
			"mlp.gate_proj":            {c.FFN, c.Hidden},
			"mlp.up_proj":              {c.FFN, c.Hidden},
			"mlp.down_proj":            {c.Hidden, c.FFN},
			"input_layernorm":          {c.Hidden},
			"post_attention_layernorm": {c.Hidden},
		} {
			want[fmt.Sprintf("model.layers.%d.%s.weight", l, name)] = fmt.Sprint(shape)
		}
	}

	_, tensors, err := safetensors.Parse(read(t, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range tensors {
		if x.Type != "BF16" || fmt.Sprint(x.Shape) != want[x.Name] {
			t.Errorf("%s is %s %v, want BF16 %v", x.Name, x.Type, x.Shape, want[x.Name])
		}
		delete(want, x.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// The tokenizer is byte-level BPE of the configured size, whose merges make its tokens.
func TestTokenizer(t *testing.T) {
	var f struct {
		PreTokenizer struct{ Type string } `json:"pre_tokenizer"`
		Model        struct {
			Type   string
			Vocab  map[string]int
			Merges [][2]string
		}
	}
	if err := json.Unmarshal(read(t, "tokenizer.json"), &f); err != nil {
		t.Fatal(err)
	}
	var c struct {
		Vocab int `json:"vocab_size"`
	}
	if err := json.Unmarshal(read(t, "config.json"), &c); err != nil {
		t.Fatal(err)
	}
	if f.PreTokenizer.Type != "ByteLevel" || f.Model.Type != "BPE" || len(f.Model.Vocab) != c.Vocab || len(f.Model.Merges) != c.Vocab-256 {
		t.Errorf("%s %s with %d tokens and %d merges, want ByteLevel BPE with %d and %d",
			f.PreTokenizer.Type, f.Model.Type, len(f.Model.Vocab), len(f.Model.Merges), c.Vocab, c.Vocab-256)
	}
	for _, m := range f.Model.Merges {
		if _, ok := f.Model.Vocab[m[0]+m[1]]; !ok {
			t.Errorf("merge %q makes no token", m)
		}
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := fs.ReadFile(FS(), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
