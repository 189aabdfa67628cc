package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// deciOf is a GGUF file of architecture deci of a tiny model, whose numbers of each layer are as given.
func deciOf(m *tiny, heads, kvHeads, ffn []int32) *ggufFile {
	g := ggufOf(m)
	for i := range g.keys {
		g.keys[i].name = strings.Replace(g.keys[i].name, m.arch+".", "deci.", 1)
	}
	g.set("general.architecture", "deci")
	g.set("deci.attention.head_count", heads)
	g.set("deci.attention.head_count_kv", kvHeads)
	g.set("deci.feed_forward_length", ffn)
	return g
}

// without takes tensors of a block away whose names begin so.
func (g *ggufFile) without(block int, part string) {
	g.tensors = slices.DeleteFunc(g.tensors, func(t ggufTensor) bool {
		return strings.HasPrefix(t.name, fmt.Sprintf("blk.%d.%s", block, part))
	})
}

// zero makes a tensor of a block zeros, cut to rows or columns.
func (g *ggufFile) zero(block int, name string, dims ...uint64) {
	t := g.tensor(fmt.Sprintf("blk.%d.%s.weight", block, name))
	t.dims, t.data = dims, make([]byte, 4*dims[0]*dims[1])
}

// TestDeci opens a file whose layers lack attention, the first by one head of zeros, and an MLP, by a narrow one of zeros. It computes
// what the model does with these dropped.
func TestDeci(t *testing.T) {
	m := tinyModels()["llama"]
	g := deciOf(m, []int32{1, 6, 0}, []int32{1, 2, 0}, []int32{80, 32, 80})
	for _, name := range []string{"attn_q", "attn_k", "attn_v"} {
		g.zero(0, name, 48, 8)
	}
	g.zero(0, "attn_output", 8, 48)
	g.zero(1, "ffn_gate", 48, 32)
	g.zero(1, "ffn_up", 48, 32)
	g.zero(1, "ffn_down", 32, 48)
	g.without(2, "attn_")
	ck, err := openGGUF(&file{name: "deci.gguf", data: g.bytes()})
	if err != nil {
		t.Fatal(err)
	}
	c := ck.Config()
	if c.Arch != "llama" || c.Heads != 6 || c.KVHeads != 2 || c.FFN != 80 || !slices.Equal(c.Absent, []bool{true, false, false, true, true, false}) {
		t.Errorf("%+v", c)
	}
	if n := len(c.Modules()); n != 4+3*2 {
		t.Errorf("%d modules", n)
	}
	got, err := Load(ck, Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	whole := m.load(t, 2)
	drops := Candidate{"model.layers.0.self_attn": {Name: "drop"}, "model.layers.1.mlp": {Name: "drop"}, "model.layers.2.self_attn": {Name: "drop"}}
	window := [][]int32{{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5}}
	a, err := got.Score(context.Background(), window, nil, []Candidate{nil, {"model.layers.1.self_attn": {Name: "drop"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := whole.Score(context.Background(), window, nil, []Candidate{drops}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if x, y := a[0].Windows[0].NLL, b[0].Windows[0].NLL; x != y {
		t.Errorf("NLL %v, with the sub-blocks dropped it is %v", x, y)
	}
	if a[1].Windows[0].NLL == a[0].Windows[0].NLL {
		t.Error("a sub-block that is there cannot be dropped")
	}
	if _, err := got.Score(context.Background(), window, nil, []Candidate{{"model.layers.0.self_attn": {Name: "drop"}}}, nil); err == nil || !strings.Contains(err.Error(), "layers.0.self_attn") {
		t.Errorf("a sub-block that is not there is dropped: %v", err)
	}
	var modules []string
	err = got.Calibrate(context.Background(), window, 0, 3, func(_ int, grams []Gram) error {
		for _, g := range grams {
			modules = append(modules, g.Modules...)
			if slices.Max(g.Sum) <= 0 {
				t.Errorf("no inputs of %v", g.Modules)
			}
		}
		return nil
	})
	var want []string
	for _, m := range c.Modules() {
		want = append(want, m.Name)
	}
	if err != nil || !slices.Equal(modules, want) {
		t.Errorf("calibrated %v, %v, want %v", modules, err, want)
	}
}

// TestDeciRefused has what llama.cpp computes otherwise, and what is no number of each layer.
func TestDeciRefused(t *testing.T) {
	m := tinyModels()["llama"]
	all := func(n int32) []int32 { return []int32{n, n, n} }
	for _, c := range []struct {
		heads, kvHeads, ffn []int32
		want                string
	}{
		{all(6), []int32{2, 0, 2}, all(80), "attention of layer 1 without keys"},
		{all(6), []int32{2, 1, 2}, all(80), "model.layers.1.self_attn.k_proj.weight has shape [16 48], want [8 48]"},
		{all(6), all(2), []int32{80, 80, 0}, "layer 2 has no feed-forward width"},
		{all(6), all(2), []int32{80, 32, 80}, "model.layers.1.mlp.gate_proj.weight has shape [80 48], want [32 48]"},
		{[]int32{6, 6}, all(2), all(80), "2 numbers for 3 layers"},
		{nil, all(2), all(80), "0 numbers for 3 layers"},
		{[]int32{6, -1, 6}, all(2), all(80), "below 0"},
		{all(0), all(0), all(80), "attention heads"},
	} {
		if _, err := openGGUF(&file{name: "deci.gguf", data: deciOf(m, c.heads, c.kvHeads, c.ffn).bytes()}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want it to say %q", err, c.want)
		}
	}
	g := deciOf(m, all(6), all(2), all(80))
	g.set("deci.attention.head_count", nil)
	if _, err := openGGUF(&file{name: "deci.gguf", data: g.bytes()}); err == nil || !strings.Contains(err.Error(), "deci.attention.head_count is missing") {
		t.Errorf("%v", err)
	}
}

// TestStored reads metadata, names and rows as they lie in a file.
func TestStored(t *testing.T) {
	m := tinyModels()["llama"]
	g := ggufOf(m)
	ck, err := openGGUF(&file{name: "x.gguf", data: g.bytes()})
	if err != nil {
		t.Fatal(err)
	}
	meta := ck.Metadata()
	if len(meta) != len(g.keys) {
		t.Fatalf("%d keys, want %d", len(meta), len(g.keys))
	}
	for i, k := range g.keys {
		if want := appendValue(nil, k.value); meta[i].Key != k.name || string(meta[i].Value) != string(want) {
			t.Errorf("key %d is %s, %x, want %s, %x", i, meta[i].Key, meta[i].Value, k.name, want)
		}
	}
	for _, name := range ck.Names() {
		stored := g.tensor(GGUFName(name)) // panics if there is none
		x, err := ck.Tensor(name)
		if err != nil || len(x.Shape) != 2 {
			continue
		}
		row := make([]float32, x.Cols())
		for r := range x.Rows() {
			x.DecodeRows(r, 1, row)
			var again [512]float32
			decodeF32(x.Row(r), again[:x.Cols()])
			if !slices.Equal(again[:x.Cols()], row) {
				t.Fatalf("row %d of %s differs", r, name)
			}
		}
		if x.Bytes() != int64(len(stored.data)) {
			t.Errorf("%s has %d bytes", name, x.Bytes())
		}
	}
	for _, name := range []string{"model.layers.0.mlp.router.weight", "x", ""} {
		if got := GGUFName(name); got != "" {
			t.Errorf("%q is called %q", name, got)
		}
	}
}
