package engine

import (
	"slices"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
)

// pruned is a module's weights without some rows and columns, stored sparsely.
func (t *tiny) pruned(tb testing.TB, module string, dead func(row, col int) bool) Level {
	tb.Helper()
	shape := t.shapes[module+".weight"]
	keep := make([]bool, shape[0]*shape[1])
	for i := range keep {
		keep[i] = !dead(i/shape[1], i%shape[1])
	}
	w, err := kernel.PackBitmask(shape[0], shape[1], t.weights[module+".weight"], keep, false)
	if err != nil {
		tb.Fatal(err)
	}
	return Level{Name: "pruned", Weights: w}
}

// whole is the same level in a form that does not say what is stored.
func whole(l Level) Level {
	rows, cols := l.Weights.Shape()
	w := plain{rows, cols, make([]float32, rows*cols)}
	l.Weights.DecodeRows(0, rows, w.data)
	return Level{Name: "whole", Weights: w}
}

func TestDeadPartsAreSkipped(t *testing.T) {
	tiny := tinyModels()["llama"] // 6 heads of 8 on 2 key-value heads, 80 channels
	windows := tiny.texts(150, 33)
	const attn, mlp = "model.layers.1.self_attn.", "model.layers.2.mlp."
	for name, test := range map[string]struct {
		module          string
		dead            func(row, col int) bool
		heads, channels int
	}{
		"channels of gate":     {mlp + "gate_proj", func(row, _ int) bool { return row%3 == 0 }, 6, 53},
		"channels of up":       {mlp + "up_proj", func(row, _ int) bool { return row < 40 }, 6, 40},
		"channels of down":     {mlp + "down_proj", func(_, col int) bool { return col != 7 }, 6, 1},
		"too few channels":     {mlp + "gate_proj", func(row, _ int) bool { return row < 4 }, 6, 80},
		"all channels":         {mlp + "up_proj", func(_, _ int) bool { return true }, 6, 80},
		"spread over a matrix": {mlp + "up_proj", func(row, col int) bool { return (row+col)%2 == 0 }, 6, 80},
		"heads of o":           {attn + "o_proj", func(_, col int) bool { return col/8 == 1 || col/8 == 4 }, 4, 80},
		"heads of v":           {attn + "v_proj", func(row, _ int) bool { return row < 8 }, 3, 80},
		"part of a head":       {attn + "o_proj", func(_, col int) bool { return col < 7 }, 6, 80},
		"no head":              {attn + "o_proj", func(_, _ int) bool { return true }, 6, 80},
	} {
		t.Run(name, func(t *testing.T) {
			for _, numerics := range []Numerics{Exact, Fast} {
				m := tiny.open(t, Options{Threads: 2, Numerics: numerics, Cache: 1 << 20})
				pruned := tiny.pruned(t, test.module, test.dead)
				c := Candidate{test.module: pruned}
				p, err := m.plan(c)
				if err != nil {
					t.Fatal(err)
				}
				if heads, _ := m.liveHeads(1, p.steps[2].width, p.steps[2].choices); len(heads.list) != test.heads {
					t.Errorf("heads %v, want %d", heads.list, test.heads)
				}
				if channels, _ := m.liveChannels(80, p.steps[5].choices); channels != test.channels {
					t.Errorf("%d channels, want %d", channels, test.channels)
				}
				got := score(t, m, windows, nil, c)
				want := score(t, m, windows, nil, Candidate{test.module: whole(pruned)})
				if numerics == Exact && !slices.Equal(got, want) {
					t.Errorf("%v, want %v", got, want)
				}
				for i := range got { // a product of bfloat16 may add in another order when parts of it are left out
					if d := got[i].NLL - want[i].NLL; d > 0.02*want[i].NLL || -d > 0.02*want[i].NLL {
						t.Errorf("fast: NLL %v, want %v", got[i].NLL, want[i].NLL)
					}
				}
			}
		})
	}
}
