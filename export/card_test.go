package export

import (
	"strings"
	"testing"
)

// TestCard looks for what a card must say.
func TestCard(t *testing.T) {
	seed := uint64(7)
	units := GGUFResult{Tensors: []Tensor{
		{Name: "blk.0.attn_norm.weight", Type: "f32", Bytes: 4},
		{Name: "blk.0.attn_q.weight", Unit: "model.layers.0.self_attn.q_proj", Level: "q4_K", Type: "q4_K", Bytes: 144},
		{Name: "blk.0.attn_k.weight", Unit: "model.layers.0.self_attn.k_proj", Level: "gptq-3b-g64", Type: "f16", Bytes: 512},
		{Name: "output.weight", Unit: "lm_head", Level: "q4_K", Type: "q4_K", Bytes: 288},
	}}.Units()
	card := string(Card{
		Title: "x.gguf", Format: "GGUF", Bytes: 1000, Base: "models/a|b", Digest: "abcd", Command: "paretopress export", Text: "t.txt", TextDigest: "ef01",
		Seed: &seed, SeqLen: 512, Scores: []CardScore{{Name: "dense", Bytes: 9, NLL: 1.5, NLLErr: 0.25, Windows: 3, ScoredWith: "exact"}},
		Check: "equal", Units: units, Dropped: []string{"model.layers.1.mlp"}, Notes: []string{"A note."},
	}.Markdown())
	for _, want := range []string{
		"# x.gguf\n", "| base | `models/a\\|b` |", "| SHA-256 of the base | `abcd` |", "| bytes | 1000 |", "| made by | `paretopress export` |",
		"| seed of the search | 7 |", "`ef01`", "| read back | equal |", "\nA note.\n", "windows of 512 tokens, `paretopress` with exact numerics",
		"| dense | 9 | 3 | 0.00000 ± 0.00000 | 1.50000 ± 0.25000 |", "| f16 | 1 | 512 |\n| q4_K | 2 | 432 |", "Dropped: `model.layers.1.mlp`.",
		"| model.layers.0.self_attn.k_proj | gptq-3b-g64 | f16 | 512 |",
	} {
		if !strings.Contains(card, want) {
			t.Errorf("no %q in\n%s", want, card)
		}
	}
}
