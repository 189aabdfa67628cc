package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// keep are what is left of a layer of a tiny model: channels of its MLP, query heads, key and value heads. nil: all.
type keep struct{ ffn, heads, kv []int }

// keeps makes every layer of the tiny models different: fewer channels, a group of heads, fewer heads of each group.
var keeps = map[int]keep{
	0: {ffn: []int{1, 2, 3, 5, 8, 13, 21, 34, 55}, heads: []int{3, 4, 5}, kv: []int{1}},
	1: {heads: []int{0, 2, 3, 5}},
	2: {ffn: counted(33, 80)},
}

func counted(from, to int) []int {
	var list []int
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}

// rowsAndCols are what is left of a module.
func (k keep) rowsAndCols(m Module, dim int) (rows, cols []int) {
	whole := func(heads []int) (all []int) {
		for _, h := range heads {
			all = append(all, counted(h*dim, (h+1)*dim)...)
		}
		return all
	}
	switch m.Role {
	case "q_proj":
		return whole(k.heads), nil
	case "k_proj", "v_proj":
		return whole(k.kv), nil
	case "o_proj":
		return nil, whole(k.heads)
	case "gate_proj", "up_proj":
		return k.ffn, nil
	}
	return nil, k.ffn
}

// narrowed is the model with what is left of each layer, and the model of the old shape in which the rest is zero.
func (t *tiny) narrowed(c Config) (small, zeroed *tiny) {
	small, zeroed = t.clone(), t.clone()
	small.shapes = map[string][]int{}
	for name, shape := range t.shapes {
		small.shapes[name] = shape
	}
	for _, m := range c.Modules() {
		rows, cols := keeps[m.Block].rowsAndCols(m, t.dim)
		name := m.Name + ".weight"
		var left []float32
		for r := range m.Rows {
			for c := range m.Cols {
				if (rows == nil || slices.Contains(rows, r)) && (cols == nil || slices.Contains(cols, c)) {
					left = append(left, t.weights[name][r*m.Cols+c])
				} else if m.Role == "o_proj" || m.Role == "down_proj" {
					zeroed.weights[name][r*m.Cols+c] = 0
				}
			}
		}
		shape := []int{m.Rows, m.Cols}
		if rows != nil {
			shape[0] = len(rows)
		}
		if cols != nil {
			shape[1] = len(cols)
		}
		small.weights[name], small.shapes[name] = left, shape
	}
	return small, zeroed
}

// candidate gives every module of a model its weights in another.
func (t *tiny) candidate(c Config) Candidate {
	cand := Candidate{}
	for _, m := range c.Modules() {
		cand[m.Name] = t.level(m.Name)
	}
	return cand
}

// TestNarrowed holds that a candidate of fewer channels and heads, another in each layer, scores what the model of the full shape
// does in which they are zero, bit for bit, alone and among others.
func TestNarrowed(t *testing.T) {
	for _, name := range []string{"llama", "mistral"} {
		full := tinyModels()[name]
		windows := full.texts(testLengths...)
		for _, numerics := range []Numerics{Exact, Fast} {
			m := full.open(t, Options{Threads: 2, Numerics: numerics, Cache: 1 << 20})
			small, zeroed := full.narrowed(m.Config())
			cand, like := small.candidate(m.Config()), zeroed.candidate(m.Config())
			for unit, l := range like {
				l.Name = "zeroed"
				like[unit] = l
			}
			one := Candidate{}
			for _, part := range []string{"gate_proj", "up_proj", "down_proj"} {
				one["model.layers.2.mlp."+part] = cand["model.layers.2.mlp."+part]
			}
			want := score(t, m, windows, nil, like)
			alone := score(t, m, windows, nil, cand)
			outcomes, err := m.Score(context.Background(), windows, nil, []Candidate{nil, like, cand, one, cand}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if numerics == Exact && !slices.Equal(alone, want) {
				t.Errorf("%s: %v, with zeros %v", name, alone, want)
			}
			for i := range want { // a product of bfloat16 may add in another order when parts of it are left out
				if d := alone[i].NLL - want[i].NLL; d > 0.02*want[i].NLL || -d > 0.02*want[i].NLL {
					t.Errorf("%s, fast: NLL %v, with zeros %v", name, alone[i].NLL, want[i].NLL)
				}
			}
			if !slices.Equal(outcomes[2].Windows, alone) || !slices.Equal(outcomes[4].Windows, alone) || !slices.Equal(outcomes[1].Windows, want) {
				t.Errorf("%s, %v: among others it scores something else", name, numerics)
			}
			if slices.Equal(outcomes[3].Windows, outcomes[0].Windows) || slices.Equal(outcomes[3].Windows, alone) {
				t.Errorf("%s, %v: the width of one layer makes no difference", name, numerics)
			}
		}
	}
}

// TestNarrowedConfig is the shape of a candidate, alike in all layers and not.
func TestNarrowedConfig(t *testing.T) {
	full := tinyModels()["llama"]
	c := full.load(t, 1).Config()
	small, _ := full.narrowed(c)
	got, err := c.Narrowed(small.candidate(c))
	want := []Width{{3, 1, 9}, {4, 2, 80}, {6, 2, 47}}
	if err != nil || !slices.Equal(got.Widths, want) || got.Heads != 6 || got.KVHeads != 2 || got.FFN != 80 {
		t.Errorf("%+v, %v", got, err)
	}
	n := int64(0)
	for name := range small.weights {
		n += int64(len(small.weights[name]))
	}
	if got.Parameters() != n || got.check() != nil {
		t.Errorf("%d parameters, want %d; %v", got.Parameters(), n, got.check())
	}
	alike := Candidate{}
	for _, m := range c.Modules() {
		if rows, cols := (keep{ffn: counted(0, 16), heads: []int{3, 4, 5}, kv: []int{1}}).rowsAndCols(m, 8); rows != nil {
			alike[m.Name] = Level{Name: "x", Weights: plain{rows: len(rows), cols: m.Cols}}
		} else {
			alike[m.Name] = Level{Name: "x", Weights: plain{rows: m.Rows, cols: len(cols)}}
		}
	}
	if got, err = c.Narrowed(alike); err != nil || got.Widths != nil || got.Heads != 3 || got.KVHeads != 1 || got.FFN != 16 {
		t.Errorf("%+v, %v", got, err)
	}
	// What is not there has no say in what all have.
	c.Absent = []bool{false, true, true, false, false, false}
	c.SetWidths([]Width{{3, 1, 999}, {99, 98, 40}, {3, 1, 40}})
	if c.Widths != nil || c.Heads != 3 || c.KVHeads != 1 || c.FFN != 40 {
		t.Errorf("%+v", c)
	}
}

// TestNarrowedRefused names the modules that do not go together.
func TestNarrowedRefused(t *testing.T) {
	level := func(rows, cols int) Level {
		return Level{Name: "x", Weights: plain{rows, cols, make([]float32, rows*cols)}}
	}
	const mlp, attn = "model.layers.1.mlp.", "model.layers.1.self_attn."
	for _, test := range []struct {
		model string
		cand  Candidate
		want  []string // nil: it is right
	}{
		{"llama", Candidate{mlp + "gate_proj": level(40, 48)}, []string{"gate_proj has 40 channels", "up_proj 80"}},
		{"llama", Candidate{mlp + "gate_proj": level(40, 48), mlp + "up_proj": level(40, 48)}, []string{"gate_proj has 40 channels", "down_proj 80", "model.layers.1.mlp must"}},
		{"llama", Candidate{mlp + "gate_proj": level(40, 48), mlp + "up_proj": level(40, 48), mlp + "down_proj": level(48, 39)}, []string{"down_proj 39"}},
		{"llama", Candidate{mlp + "gate_proj": level(96, 48)}, []string{"gate_proj is 80x48", "96x48"}},
		{"llama", Candidate{mlp + "gate_proj": level(40, 47)}, []string{"gate_proj is 80x48", "40x47"}},
		{"llama", Candidate{mlp + "down_proj": level(48, 0)}, []string{"down_proj is 48x80", "48x0"}},
		{"llama", Candidate{mlp + "gate_proj": level(40, 48), "model.layers.1.mlp": {Name: "drop"}}, nil},
		{"llama", Candidate{mlp + "gate_proj": level(40, 48), mlp + "up_proj": {Name: "drop"}, mlp + "down_proj": level(48, 40)}, nil},
		{"llama", Candidate{attn + "q_proj": level(24, 48)}, []string{"q_proj has 3 heads", "o_proj 6"}},
		{"llama", Candidate{attn + "k_proj": level(8, 48)}, []string{"k_proj has 1 heads", "v_proj 2"}},
		{"llama", Candidate{attn + "k_proj": level(12, 48)}, []string{"k_proj is 16x48"}},
		{"llama", Candidate{attn + "q_proj": level(24, 48), attn + "o_proj": level(48, 24)}, []string{"self_attn has 3 query heads", "2 key"}},
		{"llama", Candidate{attn + "q_proj": {Name: "drop"}, attn + "o_proj": level(48, 32)}, nil},
		{"qwen2", Candidate{attn + "k_proj": level(8, 48), attn + "v_proj": level(8, 48)}, []string{"k_proj", "bias"}},
		{"qwen2", Candidate{mlp + "gate_proj": level(40, 48), mlp + "up_proj": level(40, 48), mlp + "down_proj": level(48, 40)}, nil},
	} {
		full := tinyModels()[test.model]
		m := full.load(t, 1)
		_, err := m.Score(context.Background(), full.texts(5), nil, []Candidate{test.cand}, nil)
		if test.want == nil && err != nil {
			t.Error(err)
		}
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want it to say %q", err, want)
			}
		}
	}
}

// deciNarrowed is the file of the llama model with what keeps leaves of it.
func deciNarrowed() *ggufFile {
	full := tinyModels()["llama"]
	small, _ := full.narrowed(Config{Layers: 3, Hidden: 48, Heads: 6, KVHeads: 2, HeadDim: 8, FFN: 80})
	return deciOf(small, []int32{3, 4, 6}, []int32{1, 2, 2}, []int32{9, 80, 47})
}

// TestDeciWidths opens a file whose layers differ in heads and channels. It scores what the candidate does that it was made of, and
// calibrates as the model of the full shape does, as far as the channels are there.
func TestDeciWidths(t *testing.T) {
	full := tinyModels()["llama"]
	whole := full.load(t, 2)
	small, zeroed := full.narrowed(whole.Config())
	ck, err := openGGUF(&file{name: "deci.gguf", data: deciNarrowed().bytes()})
	if err != nil {
		t.Fatal(err)
	}
	if c := ck.Config(); !slices.Equal(c.Widths, []Width{{3, 1, 9}, {4, 2, 80}, {6, 2, 47}}) || c.Arch != "llama" || c.Absent != nil || c.HeadDim != 8 {
		t.Errorf("%+v", c)
	}
	windows := full.texts(testLengths...)
	for _, numerics := range []Numerics{Exact, Fast} {
		got, err := Load(ck, Options{Threads: 2, Numerics: numerics})
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		of := full.open(t, Options{Threads: 2, Numerics: numerics})
		if a, b := score(t, got, windows, nil, nil), score(t, of, windows, nil, small.candidate(whole.Config())); !slices.Equal(a, b) {
			t.Errorf("%v: %v, the candidate scores %v", numerics, a, b)
		}
		grams, wide := calibrate(t, got, windows, 0, 4), calibrate(t, zeroed.open(t, Options{Threads: 2, Numerics: numerics}), windows, 0, 4)
		for b := range 3 {
			for i, g := range grams[b] {
				ref, left := wide[b][i], counted(0, g.Cols)
				if _, cols := keeps[b].rowsAndCols(Module{Role: roleOf(g.Modules[0])}, 8); cols != nil {
					left = cols
				}
				if len(left) != g.Cols {
					t.Fatalf("%v: %d columns, want %d", g.Modules, g.Cols, len(left))
				}
				for j, x := range left {
					for k, y := range left {
						a, b := float64(g.Sum[j*g.Cols+k]), float64(ref.Sum[x*ref.Cols+y])
						if d := max(a-b, b-a); numerics == Exact && d != 0 || d > 0.05*float64(ref.Sum[x*ref.Cols+x]+ref.Sum[y*ref.Cols+y]) {
							t.Fatalf("%v, %v: %v at %d, %d, the full model has %v", numerics, g.Modules, a, j, k, b)
						}
					}
				}
			}
		}
		// What the file has can lose more.
		less := Candidate{"model.layers.0.mlp": {Name: "drop"}}
		for _, part := range []string{"gate_proj", "up_proj", "down_proj"} {
			l := small.level("model.layers.2.mlp." + part)
			rows, cols := l.Weights.Shape()
			data := l.Weights.(plain).data
			if part == "down_proj" {
				data = slices.Clone(data)
				for r := range rows {
					copy(data[r*20:], data[r*cols:][:20])
				}
				l.Weights = plain{rows, 20, data[:rows*20]}
			} else {
				l.Weights = plain{20, cols, data[:20*cols]}
			}
			less["model.layers.2.mlp."+part] = l
		}
		if a, b := score(t, got, windows, nil, less), score(t, got, windows, nil, nil); slices.Equal(a, b) {
			t.Error("fewer channels make no difference")
		}
		wider := Candidate{"model.layers.0.mlp.up_proj": {Name: "x", Weights: plain{80, 48, make([]float32, 80*48)}}}
		if _, err := got.Score(context.Background(), windows, nil, []Candidate{wider}, nil); err == nil || !strings.Contains(err.Error(), "up_proj is 9x48") {
			t.Errorf("wider than the model: %v", err)
		}
	}
}

func roleOf(module string) string { return module[strings.LastIndexByte(module, '.')+1:] }

// TestDeciWidthsHostile changes the numbers of a file that is right.
func TestDeciWidthsHostile(t *testing.T) {
	for _, test := range []struct {
		key   string
		value any
		want  string
	}{
		{"attention.head_count", []int32{3, 4, 5}, "5 attention heads are no multiple of 2"},
		{"attention.head_count", []int32{4, 4, 6}, "layers.0.self_attn"},
		{"attention.head_count", []int32{3, 4, 1 << 30}, "number of attention heads"},
		{"attention.head_count_kv", []int32{1, 2, 3}, "layers.2.self_attn.k_proj"},
		{"attention.head_count_kv", []int32{1, 2, 1 << 30}, "number of key-value heads"},
		{"attention.head_count_kv", []int32{1, 2, 0}, "without keys"},
		{"feed_forward_length", []int32{9, 80, 48}, "layers.2.mlp"},
		{"feed_forward_length", []int32{9, 80, 0}, "layer 2 has no feed-forward width"},
		{"feed_forward_length", []int32{9, 80, 1 << 30}, "feed-forward size"},
		{"feed_forward_length", uint32(80), "layers.0.mlp"},
		{"feed_forward_length", []int32{9, 80, 47, 47}, "4 numbers for 3 layers"},
		{"block_count", uint32(1 << 31), "number of layers"},
	} {
		g := deciNarrowed()
		g.set("deci."+test.key, test.value)
		_, err := openGGUF(&file{name: "deci.gguf", data: g.bytes()})
		if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s %v: %v, want it to say %q", test.key, fmt.Sprint(test.value), err, test.want)
		}
	}
	// The width of a head is that of the first layer where the file does not say it, as in llama.cpp.
	g := deciNarrowed()
	for _, key := range []string{"deci.attention.key_length", "deci.attention.value_length", "deci.rope.dimension_count"} {
		g.set(key, nil)
	}
	if _, err := openGGUF(&file{name: "deci.gguf", data: g.bytes()}); err == nil || !strings.Contains(err.Error(), "heads of 16") {
		t.Errorf("heads of 48/3: %v", err)
	}
}

// TestSlice takes rows and columns of a module.
func TestSlice(t *testing.T) {
	full := tinyModels()["llama"]
	ck, err := openGGUF(&file{name: "x.gguf", data: ggufOf(full).bytes()})
	if err != nil {
		t.Fatal(err)
	}
	const module = "model.layers.1.self_attn.q_proj" // whose rows have another order in the file
	rows, cols := []int{40, 3, 7, 8}, []int{0, 5, 47}
	s, err := NewSlice(ck, module, rows, cols)
	if err != nil {
		t.Fatal(err)
	}
	if n, m := s.Shape(); n != 4 || m != 3 {
		t.Errorf("%d x %d", n, m)
	}
	got := make([]float32, 6)
	s.DecodeRows(2, 2, got)
	for i, r := range rows[2:] {
		for j, c := range cols {
			if want := full.weights[module+".weight"][r*48+c]; got[3*i+j] != want {
				t.Errorf("row %d, column %d: %v, want %v", r, c, got[3*i+j], want)
			}
		}
	}
	for _, bad := range []struct {
		module     string
		rows, cols []int
	}{{module, []int{48}, nil}, {module, nil, []int{-1}}, {"model.norm", nil, nil}, {"model.layers.9.mlp.up_proj", nil, nil}} {
		if _, err := NewSlice(ck, bad.module, bad.rows, bad.cols); err == nil || !strings.Contains(err.Error(), bad.module) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
