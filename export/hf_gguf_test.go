package export

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/builtin"
)

// TestHuggingFaceFromGGUF: a GGUF file becomes a folder with the same tokens and, but for 16 bits, the same
// weights.
func TestHuggingFaceFromGGUF(t *testing.T) {
	path := os.Getenv("PARETOPRESS_SMOLLM2")
	if path == "" {
		t.Skip("PARETOPRESS_SMOLLM2 does not name the GGUF file of SmolLM2-135M-Instruct")
	}
	ck := openModel(t, path)
	c := candidate(t, ck, map[string]string{"model.layers.3.self_attn": "drop", "model.layers.3.mlp": "drop", "model.layers.0.mlp.down_proj": "rtn-4b-g64"})
	dir := filepath.Join(t.TempDir(), "model")
	r, err := HuggingFace(dir, ck, c, HFOptions{Format: FormatCompressed, Runtime: RuntimeVLLM})
	if err != nil {
		t.Fatal(err)
	}
	if r.Dtype != "F16" || r.Format != formatPacked || r.Layers != 29 || r.MaxError > 0x1p-11 {
		t.Errorf("%s %s, %d layers, changes up to %v", r.Dtype, r.Format, r.Layers, r.MaxError)
	}
	got := openModel(t, dir)
	a, err := ck.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	b, err := got.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(builtin.Text(3, 1<<12)), "<|im_start|>user\nnaïve 1234 数据 😀\t\r\n  x<|im_end|>"} {
		if !slices.Equal(a.Encode([]byte(text)), b.Encode([]byte(text))) {
			t.Errorf("other tokens for %.30q", text)
		}
	}
	if x, y := nll(t, got, nil), nll(t, ck, c); math.Abs(x-y) > 1e-4*y {
		t.Errorf("NLL %v, want %v within 1e-4", x, y)
	}
	if config := configOf(t, got); config["bos_token_id"] != 1.0 || config["eos_token_id"] != 2.0 || config["vocab_size"] != 49152.0 {
		t.Errorf("config.json %v", config)
	}
}

// TestHuggingFaceFromDeci: sub-blocks that a GGUF file lacks are in the folder of it with an output of zeros, as dropped ones are.
func TestHuggingFaceFromDeci(t *testing.T) {
	for _, family := range []string{"llama", "qwen2"} {
		drops := engine.Candidate{"model.layers.0.mlp": {Name: "drop"}, "model.layers.1.self_attn": {Name: "drop"}, "model.layers.3.mlp": {Name: "drop"}}
		file, made := ggufWrite(t, ggufTiny(t, families()[family]), drops, GGUFOptions{})
		if made.Architecture != "deci" {
			t.Fatalf("architecture %s", made.Architecture)
		}
		source := ggufOpen(t, file)
		dir := filepath.Join(t.TempDir(), "model")
		r, err := HuggingFace(dir, source, engine.Candidate{"model.layers.2.self_attn": {Name: "drop"}, "model.layers.2.mlp": {Name: "drop"}}, HFOptions{Dtype: "F32"})
		if err != nil {
			t.Fatal(err)
		}
		if r.Layers != 3 || len(r.Rounded) > 0 {
			t.Errorf("%d layers, rounded %v", r.Layers, r.Rounded)
		}
		got, want := ggufNLL(t, ggufOpen(t, dir), nil), ggufNLL(t, source, engine.Candidate{"model.layers.2.self_attn": {Name: "drop"}, "model.layers.2.mlp": {Name: "drop"}})
		if math.Abs(got-want) > 1e-6*want {
			t.Errorf("%s: NLL %v, the candidate's is %v", family, got, want)
		}
	}
}
