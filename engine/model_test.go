package engine

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
)

// score is Score without a teacher.
func score(t *testing.T, m *Model, windows [][]int32) []WindowScore {
	t.Helper()
	scores, err := m.Score(context.Background(), windows, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return scores
}

func TestDropIsZeroOutput(t *testing.T) {
	for sub, last := range map[string]string{"model.layers.1.self_attn": "o_proj", "model.layers.0.mlp": "down_proj"} {
		tiny := tinyModels()["qwen2"]
		m := tiny.load(t, 2)
		windows := tiny.texts(testLengths...)
		dense := score(t, m, windows)
		if err := m.Drop(sub); err != nil {
			t.Fatal(err)
		}
		dropped := score(t, m, windows)
		if slices.Equal(dropped, dense) {
			t.Errorf("%s: dropping changes nothing", sub)
		}
		if err := m.Restore(sub); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(score(t, m, windows), dense) {
			t.Errorf("%s: restored model is not dense", sub)
		}
		zero := tiny.clone()
		clear(zero.weights[sub+"."+last+".weight"])
		set(t, m, zero, sub+"."+last)
		if !slices.Equal(score(t, m, windows), dropped) {
			t.Errorf("%s: zero weights of %s are not the same as a drop", sub, last)
		}
	}
}

func TestSetAndRestore(t *testing.T) {
	tiny := tinyModels()["llama"]
	m := tiny.load(t, 2)
	windows := tiny.texts(testLengths...)
	dense := score(t, m, windows)
	other := tiny.clone()
	for _, module := range m.Config().Modules() {
		set(t, m, tiny, module.Name)
		if !slices.Equal(score(t, m, windows[2:3]), dense[2:3]) {
			t.Fatalf("%s: the dense weights, set, give another score", module.Name)
		}
		w := other.weights[module.Name+".weight"]
		for i := range w {
			w[i] /= 2
		}
		set(t, m, other, module.Name)
		if slices.Equal(score(t, m, windows[2:3]), dense[2:3]) {
			t.Fatalf("%s: other weights give the same score", module.Name)
		}
		if err := m.Restore(module.Name); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(score(t, m, windows), dense) {
		t.Error("restored model is not dense")
	}
	// A sub-block is restored with its modules.
	set(t, m, other, "model.layers.1.mlp.up_proj")
	if err := m.Drop("model.layers.1.mlp"); err != nil {
		t.Fatal(err)
	}
	if err := m.Restore("model.layers.1.mlp"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(score(t, m, windows), dense) {
		t.Error("restored sub-block is not dense")
	}
}

// TestSetFailure holds that a Set that fails leaves the model alone.
func TestSetFailure(t *testing.T) {
	tiny := tinyModels()["llama"]
	m := tiny.load(t, 2)
	windows := tiny.texts(40)
	dense := score(t, m, windows)
	with := func(at int, v float64) plain {
		data := slices.Clone(tiny.weights["model.layers.1.mlp.up_proj.weight"])
		data[at] = float32(v)
		return plain{80, 48, data}
	}
	for _, test := range []struct {
		module string
		w      Weights
		want   string
	}{
		{"model.layers.3.mlp.up_proj", with(0, 0), `no linear module "model.layers.3.mlp.up_proj"`},
		{"model.layers.1.mlp", with(0, 0), `no linear module "model.layers.1.mlp"`},
		{"model.layers.1.mlp.down_proj", with(0, 0), "model.layers.1.mlp.down_proj is 48x80; the weights for it are 80x48"},
		{"model.layers.1.mlp.up_proj", with(48*79+47, math.NaN()), "model.layers.1.mlp.up_proj: row 79"},
		{"model.layers.1.mlp.up_proj", with(48*33, math.Inf(-1)), "model.layers.1.mlp.up_proj: row 33"},
	} {
		if err := m.Set(test.module, test.w); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want one with %q", err, test.want)
		}
	}
	for _, name := range []string{"model.layers.3.mlp", "model.layers.1", "lm_head"} {
		if m.Drop(name) == nil {
			t.Errorf("Drop(%q) succeeds", name)
		}
		if m.Restore(name) == nil {
			t.Errorf("Restore(%q) succeeds", name)
		}
	}
	if !slices.Equal(score(t, m, windows), dense) {
		t.Error("a failed Set changed the model")
	}
}

func TestLoadNamesBadTensor(t *testing.T) {
	for _, name := range []string{"model.layers.1.self_attn.k_proj.weight", "model.layers.2.post_attention_layernorm.weight", "lm_head.weight"} {
		tiny := tinyModels()["llama"].clone()
		tiny.weights[name][5] = float32(math.NaN())
		dir := t.TempDir()
		tiny.write(t, dir)
		ck, err := Open(dir)
		if err == nil {
			_, err = Load(ck, Options{Threads: 2})
			ck.Close()
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one that names %s", err, name)
		}
	}
}
