package engine

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestDropIsZeroOutput(t *testing.T) {
	for sub, last := range map[string]string{"model.layers.1.self_attn": "o_proj", "model.layers.0.mlp": "down_proj"} {
		for _, numerics := range []Numerics{Exact, Fast} {
			tiny := tinyModels()["qwen2"]
			m := tiny.open(t, Options{Threads: 2, Numerics: numerics})
			windows := tiny.texts(testLengths...)
			dropped := score(t, m, windows, nil, Candidate{sub: {Name: "drop"}})
			if slices.Equal(dropped, score(t, m, windows, nil, nil)) {
				t.Errorf("%s: dropping changes nothing", sub)
			}
			zero := tiny.clone()
			clear(zero.weights[sub+"."+last+".weight"])
			for what, l := range map[string]Level{"zero weights": zero.level(sub + "." + last), "dropping": {Name: "drop"}} {
				if !slices.Equal(score(t, m, windows, nil, Candidate{sub + "." + last: l}), dropped) {
					t.Errorf("%s, %v: %s of %s is not the same as a drop", sub, numerics, what, last)
				}
			}
			// What the modules of a dropped sub-block are cannot matter.
			if !slices.Equal(score(t, m, windows, nil, Candidate{sub: {Name: "drop"}, sub + "." + last: zero.level(sub + "." + last)}), dropped) {
				t.Errorf("%s: a module of a dropped sub-block matters", sub)
			}
		}
	}
}

func TestCandidate(t *testing.T) {
	tiny := tinyModels()["llama"]
	m := tiny.open(t, Options{Threads: 2, Cache: 1 << 20})
	windows := tiny.texts(33)
	dense := score(t, m, windows, nil, nil)
	other := tiny.clone()
	for _, module := range m.Config().Modules() {
		same := tiny.level(module.Name)
		same.Name = "same"
		if !slices.Equal(score(t, m, windows, nil, Candidate{module.Name: same}), dense) {
			t.Fatalf("%s: the dense weights as a level give another score", module.Name)
		}
		w := other.weights[module.Name+".weight"]
		for i := range w {
			w[i] /= 2
		}
		if slices.Equal(score(t, m, windows, nil, Candidate{module.Name: other.level(module.Name)}), dense) {
			t.Fatalf("%s: other weights give the same score", module.Name)
		}
	}
	if !slices.Equal(score(t, m, windows, nil, nil), dense) {
		t.Error("a candidate changed the model")
	}
}

func TestCandidateRejects(t *testing.T) {
	tiny := tinyModels()["llama"]
	m := tiny.open(t, Options{Threads: 2})
	w := plain{80, 48, tiny.weights["model.layers.1.mlp.up_proj.weight"]}
	for _, test := range []struct {
		unit string
		w    Weights
		want string
	}{
		{"model.layers.3.mlp.up_proj", w, `no linear module or sub-block "model.layers.3.mlp.up_proj"`},
		{"model.layers.1", nil, `no linear module or sub-block "model.layers.1"`},
		{"lm_head", nil, "lm_head cannot be dropped"},
		{"model.layers.1.mlp", w, "level x of model.layers.1.mlp has weights"},
		{"model.layers.1.mlp.down_proj", w, "model.layers.1.mlp.down_proj is 48x80; the weights for it are 80x48"},
	} {
		_, err := m.Score(context.Background(), tiny.texts(9), nil, []Candidate{nil, {test.unit: {Name: "x", Weights: test.w}}}, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want one with %q", err, test.want)
		}
	}
}

// TestNotFiniteCandidate holds that a candidate with weights of no use fails alone.
func TestNotFiniteCandidate(t *testing.T) {
	for _, numerics := range []Numerics{Exact, Fast} {
		tiny := tinyModels()["llama"]
		m := tiny.open(t, Options{Threads: 2, Numerics: numerics, Cache: 1 << 20})
		windows := tiny.texts(40, 150)
		with := func(module string, change func(w []float32)) Candidate {
			other := tiny.clone()
			change(other.weights[module+".weight"])
			return Candidate{module: other.level(module)}
		}
		const up, k = "model.layers.1.mlp.up_proj", "model.layers.0.self_attn.k_proj"
		candidates := []Candidate{
			nil,
			with(up, func(w []float32) { w[48*79+47] = float32(math.NaN()) }),
			with(up, func(w []float32) { w[48*33] = float32(math.Inf(-1)) }),
			with(k, func(w []float32) { w[0] = math.MaxFloat32; w[1] = -math.MaxFloat32 }),
			{"model.layers.2.mlp": {Name: "drop"}},
		}
		for i, l := range []string{"a", "b", "c"} { // levels of one unit with other weights have other names
			for unit, level := range candidates[1+i] {
				level.Name = l
				candidates[1+i][unit] = level
			}
		}
		outcomes, err := m.Score(context.Background(), windows, nil, candidates, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"", up + ": row 79 holds", up + ": row 33 holds", "window 0: the model's output", ""} {
			got := outcomes[i].Err
			if want == "" {
				if got != nil || !slices.Equal(outcomes[i].Windows, score(t, m, windows, nil, candidates[i])) {
					t.Errorf("%v: candidate %d suffers from the others: error %v", numerics, i, got)
				}
			} else if !errors.Is(got, ErrNotFinite) || !strings.Contains(got.Error(), want) || outcomes[i].Windows != nil {
				t.Errorf("%v: candidate %d: error %v, want one with %q", numerics, i, got, want)
			}
		}
	}
}

func TestBadTensorIsNamed(t *testing.T) {
	for _, name := range []string{"model.layers.1.self_attn.k_proj.weight", "model.layers.2.post_attention_layernorm.weight", "lm_head.weight"} {
		tiny := tinyModels()["llama"].clone()
		tiny.weights[name][5] = float32(math.NaN())
		dir := t.TempDir()
		tiny.write(t, dir)
		ck, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer ck.Close()
		m, err := Load(ck, Options{Threads: 2})
		if err == nil {
			_, err = m.Teach(context.Background(), tiny.texts(5), nil)
			m.Close()
		}
		if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), strings.TrimSuffix(name, ".weight")) {
			t.Errorf("error %v, want one that names %s", err, name)
		}
	}
}
