package engine

import (
	"context"
	"testing"

	"github.com/paretopress/paretopress/internal/builtin"
)

func TestBuiltinMatchesTransformers(t *testing.T) {
	ck, err := Open(Builtin)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	matchTransformers(t, ck, builtin.Text(20, 16384), "builtin_scores.json")
}

// TestBuiltinBits holds the scores of exact numerics to the last bit on every architecture: `make arm64` runs it on another than that on
// which these were written down.
func TestBuiltinBits(t *testing.T) {
	ck, err := Open(Builtin)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	m, err := Load(ck, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	windows := windowsOf(t, ck, builtin.Text(20, 2048), 33, 1, 4)
	teacher, err := m.Teach(context.Background(), windows, nil)
	if err != nil {
		t.Fatal(err)
	}
	drop := Candidate{"model.layers.1.self_attn": {Name: "drop"}, "model.layers.5.mlp": {Name: "drop"}}
	for _, c := range []struct {
		name      string
		candidate Candidate
		want      [2]WindowScore
	}{
		{"dense", nil, [2]WindowScore{{32, 0x1.742a5c56faceep+05, 0}, {32, 0x1.01fce44f3d5f6p+05, 0}}},
		{"dropped", drop, [2]WindowScore{{32, 0x1.dfcbae4cfa06ap+05, 0x1.a13a4ddaf35e2p+03}, {32, 0x1.11fffa786f918p+05, 0x1.e6841275db23ep+01}}},
	} {
		for i, got := range score(t, m, windows, teacher, c.candidate) {
			if want := c.want[i]; got != want {
				t.Errorf("%s, window %d: {%d, %x, %x}, want {%d, %x, %x}", c.name, i, got.Tokens, got.NLL, got.KL, want.Tokens, want.NLL, want.KL)
			}
		}
	}
}
