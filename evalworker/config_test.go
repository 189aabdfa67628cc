package evalworker

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
)

// shape is a small model, of which only the shape matters.
var shape = engine.Config{Arch: "llama", Layers: 3, Hidden: 64, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 128, Vocab: 300, TieEmbeddings: true}

// bits are the aliases of a bank that declares bits.
func bits(_ string, n int) (string, bool) {
	level, ok := map[int]string{3: "gptq-3b-g64", 4: "gptq-4b-g64"}[n]
	return level, ok
}

func TestParseConfig(t *testing.T) {
	for _, c := range []struct {
		name, text string
		aliases    Aliases
		want       []Assignment
	}{
		{name: "empty"},
		{name: "levels", text: "# comment\n\nmodel.layers.0.mlp.down_proj: gptq-3b-g64 # why\n  model.layers.2.self_attn.q_proj :sparsegpt-0.5\r\nmodel.layers.1.self_attn: drop\n",
			want: []Assignment{{"model.layers.0.mlp.down_proj", "gptq-3b-g64"}, {"model.layers.2.self_attn.q_proj", "sparsegpt-0.50"}, {"model.layers.1.self_attn", "drop"}}},
		{name: "ggml's types", text: "model.layers.0.mlp.down_proj: q4_0\nmodel.layers.1.mlp.up_proj: imatrix-iq4_nl\nmodel.layers.1.mlp.gate_proj: gptq-mxfp4",
			want: []Assignment{{"model.layers.0.mlp.down_proj", "q4_0"}, {"model.layers.1.mlp.up_proj", "imatrix-iq4_nl"}, {"model.layers.1.mlp.gate_proj", "gptq-mxfp4"}}},
		{name: "widths", text: "model.layers.1.mlp.down_proj: q8_0\nmodel.layers.1.mlp: width-96\nmodel.layers.0.mlp: width-128\nmodel.layers.1.mlp.up_proj: drop",
			want: []Assignment{{"model.layers.1.mlp.down_proj", "q8_0"}, {"model.layers.1.mlp", "width-96"}, {"model.layers.0.mlp", "width-128"}, {"model.layers.1.mlp.up_proj", "drop"}}},
		{name: "embeddings", text: "model.embed_tokens: q8_0\n", want: []Assignment{{"model.embed_tokens", "q8_0"}}},
		{name: "integers", text: "model.layers.0.self_attn.v_proj: 3\nmodel.layers.1.mlp.up_proj: 4", aliases: bits,
			want: []Assignment{{"model.layers.0.self_attn.v_proj", "gptq-3b-g64"}, {"model.layers.1.mlp.up_proj", "gptq-4b-g64"}}},
		{name: "drop file", text: "none\nattn+mlp\nmlp\n",
			want: []Assignment{{"model.layers.1.self_attn", "drop"}, {"model.layers.1.mlp", "drop"}, {"model.layers.2.mlp", "drop"}}},
		{name: "byte order mark", text: "\ufeffmodel.layers.1.mlp: dense", want: []Assignment{{"model.layers.1.mlp", "dense"}}},
	} {
		got, err := ParseConfig("c.txt", []byte(c.text), shape, c.aliases)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
		again, err := ParseConfig("c.txt", FormatConfig(got), shape, nil)
		if err != nil || !slices.Equal(again, got) {
			t.Errorf("%s: written and read: %v, %v", c.name, again, err)
		}
	}
}

func TestParseConfigErrors(t *testing.T) {
	for _, c := range []struct {
		text    string
		aliases Aliases
		want    []string
	}{
		{text: "model.layers.3.mlp: drop", want: []string{"c.txt:1:", "model.layers.3.mlp"}},
		{text: "\nlm_head: rtn-4b-g64", want: []string{"c.txt:2:", "lm_head"}},
		{text: "model.layers.0.mlp: drop\nmodel.layers.0.mlp: dense", want: []string{"c.txt:2:", "on line 1"}},
		{text: "model.layers.0.mlp: rtn-4b-g64", want: []string{"c.txt:1:", "dense or drop"}},
		{text: "model.layers.0.mlp.up_proj: rtn-40b-g64", want: []string{"c.txt:1:", "40"}},
		{text: "model.layers.0.mlp.up_proj: random-0.5", want: []string{"c.txt:1:", `unknown level "random-0.5"`}},
		{text: "model.layers.0.mlp.up_proj: q4_k", want: []string{"c.txt:1:", `unknown level "q4_k"`, "q4_K, q5_K", "iq4_nl"}},
		{text: "model.layers.0.mlp.up_proj: q4_K-sym", want: []string{"c.txt:1:", `unknown level "q4_K-sym"`}},
		{text: "model.layers.0.mlp.up_proj: imatrix-4b", want: []string{"c.txt:1:", `level "imatrix-4b"`}},
		{text: "\nmodel.layers.2.mlp.up_proj: imatrix-q4_K",
			want: []string{"c.txt:2:", "model.layers.2.mlp.up_proj: quant: imatrix-q4_K needs rows of a multiple of 256 weights, not 64"}},
		{text: "\nmodel.layers.0.mlp: width-129", want: []string{"c.txt:2:", "model.layers.0.mlp", "128 channels", "width-129"}},
		{text: "model.layers.0.mlp: width-0", want: []string{"c.txt:1:", "width-0"}},
		{text: "model.layers.0.mlp: width-64+q8_0", want: []string{"c.txt:1:", "dense or drop", "width-1024"}},
		{text: "model.layers.0.self_attn: width-64", want: []string{"c.txt:1:", "self_attn can be dense or drop, not width-64"}},
		{text: "model.layers.0.mlp.up_proj: width-64", want: []string{"c.txt:1:", "level of an MLP"}},
		{text: "model.layers.0.mlp.up_proj: width-64+q8_0", want: []string{"c.txt:1:", "level of an MLP"}},
		{text: "model.layers.0.mlp.up_proj: width-64+drop", want: []string{"c.txt:1:", "not drop"}},
		{text: "model.layers.0.mlp.up_proj: width-64+width-32", want: []string{"c.txt:1:", "not width-32"}},
		{text: "model.embed_tokens: width-64", want: []string{"c.txt:1:", "level of an MLP"}},
		{text: "model.layers.0.mlp: width-72\nmodel.layers.0.mlp.down_proj: q8_0", want: []string{"c.txt:2:", "model.layers.0.mlp.down_proj", "multiple of 32 weights, not 72"}},
		{text: "model.layers.0.mlp.down_proj: q8_0\nmodel.layers.0.mlp: width-72", want: []string{"c.txt:1:", "multiple of 32 weights, not 72"}},
		{text: "model.layers.0.mlp: width-64\nmodel.layers.0.mlp.up_proj: gptq-3b-g64", want: []string{"c.txt:2:", "model.layers.0.mlp.up_proj", "width-64+gptq-3b-g64", "calibrat"}},
		{text: "model.embed_tokens: drop", want: []string{"c.txt:1:", "model.embed_tokens cannot be dropped"}},
		{text: "model.layers.0.mlp.up_proj: magnitude-0.5+rtn-4b-g64", want: []string{"c.txt:1:", "not supported"}},
		{text: "model.layers.0.mlp.up_proj: 3", want: []string{"c.txt:1:", "--bank"}},
		{text: "model.layers.0.mlp.up_proj: 7", aliases: bits, want: []string{"c.txt:1:", "no level 7"}},
		{text: "none\nattn\n", want: []string{"c.txt:", "2 lines", "3 blocks"}},
		{text: "none\nmodel.layers.0.mlp: drop\nmlp", want: []string{"c.txt:2:"}},
		{text: "model.layers.0.mlp: drop\nnone", want: []string{"c.txt:2:", `"none"`}},
		{text: "all", want: []string{"c.txt:1:", `"all"`}},
		{text: strings.Repeat("x", 1<<17), want: []string{"c.txt"}},
	} {
		_, err := ParseConfig("c.txt", []byte(c.text), shape, c.aliases)
		if err == nil || !containsAll(err.Error(), c.want...) || !errors.Is(err, ErrJob) {
			t.Errorf("%.60q: %v; want it to say %q", c.text, err, c.want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("model.layers.0.mlp.down_proj: gptq-3b-g64 # why\n")
	f.Add("none\nattn+mlp\nmlp\n")
	f.Add("model.layers.0.mlp.up_proj: 4")
	f.Add("model.layers.0.mlp: width-64\nmodel.layers.0.mlp.up_proj: q8_0")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseConfig("c.txt", []byte(text), shape, bits)
		if err != nil {
			return
		}
		again, err := ParseConfig("c.txt", FormatConfig(got), shape, nil)
		if err != nil || !slices.Equal(again, got) {
			t.Errorf("%q: %v comes back as %v, %v", text, got, again, err)
		}
	})
}
