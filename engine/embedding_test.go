package engine

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
)

// levelOf is a tensor of a tiny model, each weight changed, as a level.
func (t *tiny) levelOf(name string, change func(i int, w float32) float32) Level {
	shape := t.shapes[name]
	data := slices.Clone(t.weights[name])
	for i, w := range data {
		data[i] = change(i, w)
	}
	return Level{Name: "changed", Weights: plain{shape[0], shape[1], data}}
}

// TestEmbeddingLevels holds that a level of the embeddings or of the head scores as a
// model whose files have these weights, alone and among other candidates.
func TestEmbeddingLevels(t *testing.T) {
	half := func(_ int, w float32) float32 { return w / 2 }
	tilt := func(i int, w float32) float32 { return w + float32(i%7)/64 }
	for _, test := range []struct {
		model  string
		levels map[string]func(int, float32) float32
	}{
		{"llama-tied", map[string]func(int, float32) float32{unitEmbedding: tilt}},
		{"llama", map[string]func(int, float32) float32{unitEmbedding: tilt}},
		{"llama", map[string]func(int, float32) float32{unitHead: half}},
		{"llama", map[string]func(int, float32) float32{unitEmbedding: half, unitHead: tilt}},
	} {
		for _, numerics := range []Numerics{Exact, Fast} {
			windows := tinyModels()[test.model].texts(60, 33)
			dense, changed := tinyModels()[test.model], tinyModels()[test.model]
			c := Candidate{}
			for unit, change := range test.levels {
				c[unit] = dense.levelOf(unit+".weight", change)
				changed.weights[unit+".weight"] = c[unit].Weights.(plain).data
			}
			want := score(t, changed.open(t, Options{Threads: 2, Numerics: numerics}), windows, nil, nil)
			m := dense.open(t, Options{Threads: 2, Numerics: numerics, Cache: 1 << 20})
			if got := score(t, m, windows, nil, c); !slices.Equal(got, want) {
				t.Errorf("%s %v %v: %v, want %v", test.model, numerics, unitNames(c), got, want)
			}
			teacher, err := m.Teach(context.Background(), windows, nil)
			if err != nil {
				t.Fatal(err)
			}
			other := Candidate{"model.layers.1.mlp": {Name: "drop"}}
			both := Candidate{"model.layers.1.mlp": {Name: "drop"}}
			for unit, l := range c {
				both[unit] = l
			}
			all := []Candidate{nil, c, other, both, c}
			outcomes, err := m.Score(context.Background(), windows, teacher, all, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, candidate := range all {
				alone := score(t, dense.open(t, Options{Threads: 1, Numerics: numerics}), windows, teacher, candidate)
				if !slices.Equal(outcomes[i].Windows, alone) {
					t.Errorf("%s %v candidate %d: %v among others, %v alone", test.model, numerics, i, outcomes[i].Windows, alone)
				}
			}
			for w, s := range outcomes[1].Windows {
				if s.NLL != want[w].NLL || !(s.KL > 0) || outcomes[0].Windows[w].KL != 0 {
					t.Errorf("%s %v window %d: %+v with a teacher, NLL %v without; the dense model diverges by %v from itself",
						test.model, numerics, w, s, want[w].NLL, outcomes[0].Windows[w].KL)
				}
			}
		}
	}
}

func unitNames(c Candidate) (names []string) {
	for unit := range c {
		names = append(names, unit)
	}
	slices.Sort(names)
	return names
}

// TestEmbeddingLevelsRefused holds what is no level of embeddings or a head, and that a weight that is
// not finite counts against its candidate alone.
func TestEmbeddingLevelsRefused(t *testing.T) {
	tied, free := tinyModels()["llama-tied"], tinyModels()["llama"]
	same := func(_ int, w float32) float32 { return w }
	for name, test := range map[string]struct {
		model *tiny
		c     Candidate
	}{
		"a tied head has no level of its own": {tied, Candidate{unitHead: tied.levelOf("model.embed_tokens.weight", same)}},
		"embeddings are not dropped":          {tied, Candidate{unitEmbedding: {Name: "drop"}}},
		"a head is not dropped":               {free, Candidate{unitHead: {Name: "drop"}}},
		"another shape":                       {free, Candidate{unitHead: {Name: "thin", Weights: plain{free.vocab, 1, make([]float32, free.vocab)}}}},
	} {
		m := test.model.open(t, Options{Threads: 1})
		if _, err := m.Score(context.Background(), test.model.texts(20), nil, []Candidate{test.c}, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	spoilt := func(i int, w float32) float32 {
		if i == 5 {
			return float32(math.Inf(1))
		}
		return w
	}
	m := free.open(t, Options{Threads: 2})
	windows := free.texts(20)
	teacher, err := m.Teach(context.Background(), windows, nil)
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := m.Score(context.Background(), windows, teacher, []Candidate{{unitHead: free.levelOf("lm_head.weight", spoilt)}, nil}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(outcomes[0].Err, ErrNotFinite) || outcomes[0].Windows != nil {
		t.Errorf("a head with an infinity: %+v", outcomes[0])
	}
	if outcomes[1].Err != nil || outcomes[1].Windows[0].KL != 0 {
		t.Errorf("the dense model beside it: %+v", outcomes[1])
	}
}
