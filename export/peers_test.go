package export

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/builtin"
)

// peerCase is a folder that bench/peers/check_hf.py and check_compressed_tensors.py open.
type peerCase struct {
	Folder string  `json:"folder"`
	Dense  string  `json:"dense"` // the same candidate in F32
	Text   string  `json:"text"`
	Tokens []int32 `json:"tokens"` // a window of the text
	NLL    float64 `json:"nll"`    // of the candidate on the window, nats a token
	// Tolerance is how far, relatively, the folder may be: by rounding to 16 bits, and of activations.
	Tolerance float64 `json:"tolerance"`
}

// TestWriteForPeers writes folders and what they are to score, for the scripts of bench/peers.
func TestWriteForPeers(t *testing.T) {
	out := os.Getenv("PARETOPRESS_HF_OUT")
	if out == "" {
		t.Skip("PARETOPRESS_HF_OUT names no folder to write models for bench/peers/check_hf.py into")
	}
	models := map[string]string{"builtin": engine.Builtin}
	if path := os.Getenv("PARETOPRESS_SMOLLM2"); path != "" {
		models["smollm2"] = path
	}
	var cases []peerCase
	for model, ref := range models {
		ck := openModel(t, ref)
		tok, err := ck.Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		text := builtin.Text(7, 2<<10)
		for name, test := range map[string]struct {
			levels  map[string]string
			options HFOptions
		}{
			"dense":     {nil, HFOptions{}},
			"dropped":   {map[string]string{"model.layers.0.self_attn": "drop", "model.layers.2.self_attn": "drop", "model.layers.2.mlp": "drop", "model.layers.7.mlp": "drop", "mlp.up_proj*": "magnitude-0.50", "mlp.gate_proj*": "magnitude-0.30"}, HFOptions{}},
			"4 bits":    {map[string]string{"_proj*": "rtn-4b-g32", "model.layers.4.self_attn": "drop", "model.layers.4.mlp": "drop"}, HFOptions{Format: FormatCompressed, Runtime: RuntimeVLLM}},
			"symmetric": {map[string]string{"_proj*": "rtn-4b-g64-sym"}, HFOptions{Format: FormatCompressed, Runtime: RuntimeVLLM}},
			"8 bits":    {map[string]string{"_proj*": "rtn-8b-gall"}, HFOptions{Format: FormatCompressed}},
			"int8":      {map[string]string{"_proj*": "int8"}, HFOptions{Format: FormatCompressed, Runtime: RuntimeVLLM}},
			"w8a8":      {map[string]string{"_proj*": "int8"}, HFOptions{Format: FormatCompressed, Runtime: RuntimeVLLM, Activations: true}},
			"fp8":       {map[string]string{"_proj*": "fp8"}, HFOptions{Format: FormatCompressed, Runtime: RuntimeVLLM}},
			"mixed": {map[string]string{"self_attn.q_proj*": "rtn-4b-g32-sym", "self_attn.k_proj*": "rtn-4b-gall", "mlp.down_proj*": "fp8", "mlp.up_proj*": "rtn-3b-g64",
				"self_attn.o_proj*": "rtn-8b-g32", "model.layers.1.mlp.gate_proj": "int8", "model.layers.3.self_attn": "drop", "model.layers.3.mlp": "drop"}, HFOptions{Format: FormatCompressed}},
		} {
			if ref != engine.Builtin && (name == "8 bits" || name == "symmetric" || name == "int8") {
				continue // large, and all said
			}
			c := candidate(t, ck, test.levels)
			p := peerCase{Folder: model + " " + name, Dense: model + " " + name + " F32", Text: string(text), Tokens: tok.Encode(text)[:128], NLL: nll(t, ck, c), Tolerance: 1e-4}
			r, err := HuggingFace(filepath.Join(out, p.Folder), ck, c, test.options)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := HuggingFace(filepath.Join(out, p.Dense), ck, c, HFOptions{Dtype: "F32"}); err != nil {
				t.Fatal(err)
			}
			if r.Changed > 0 {
				p.Tolerance = 1e-3
			}
			if test.options.Activations {
				p.Tolerance = 3e-2
			}
			cases = append(cases, p)
		}
	}
	data, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "cases.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}
