package export

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
)

// ggufSlice is what some channels of a tiny model's MLP, or some groups of its heads, leave of a module.
func ggufSlice(t testing.TB, ck *engine.Checkpoint, module string, channels, groups []int) engine.Slice {
	t.Helper()
	var rows, cols []int
	heads := func(perGroup int) (index []int) {
		for _, g := range groups {
			for i := range perGroup * tinyDim {
				index = append(index, g*perGroup*tinyDim+i)
			}
		}
		return index
	}
	switch module[strings.LastIndexByte(module, '.')+1:] {
	case "gate_proj", "up_proj":
		rows = channels
	case "down_proj":
		cols = channels
	case "q_proj":
		rows = heads(tinyHeads / tinyKV)
	case "k_proj", "v_proj":
		rows = heads(1)
	case "o_proj":
		cols = heads(tinyHeads / tinyKV)
	}
	s, err := engine.NewSlice(ck, module, rows, cols)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ggufNarrow adds the levels of a narrower sub-block, some of them in a type of ggml.
func ggufNarrow(t testing.TB, rng *rand.Rand, ck *engine.Checkpoint, cand engine.Candidate, unit string, n int, types bool) {
	t.Helper()
	modules, most := hfModules[1], tinyFFN
	if strings.HasSuffix(unit, ".self_attn") {
		modules, most = hfModules[0], tinyKV
	}
	keep := rng.Perm(most)[:n]
	slices.Sort(keep)
	layer, _, _ := strings.Cut(strings.TrimPrefix(unit, "model.layers."), ".")
	for _, m := range modules {
		name := "model.layers." + layer + "." + m
		s := ggufSlice(t, ck, name, keep, keep)
		cand[name] = engine.Level{Name: "width", Weights: s}
		if rows, cols := s.Shape(); types && cols%32 == 0 && rng.IntN(2) == 0 {
			cand[name] = engine.Level{Name: "width+q8_0", Weights: ggufBlocks(t, rng, kernel.Q8_0, rows, cols)}
		}
	}
}

// TestWidths writes models whose layers differ in width, and finds in the file what was evaluated.
func TestWidths(t *testing.T) {
	for _, c := range []struct {
		name, family string
		widths       map[string]int // channels, or groups of heads
		drop         []string
		arch         string
		want         string // heads, heads of keys and values, channels of each layer
	}{
		{"one MLP", "llama", map[string]int{"1.mlp": 96}, nil, "deci", "[{4 2 256} {4 2 96} {4 2 256} {4 2 256}]"},
		{"all MLPs", "tied", map[string]int{"0.mlp": 32, "1.mlp": 64, "2.mlp": 250, "3.mlp": 1}, nil, "deci", "[{4 2 32} {4 2 64} {4 2 250} {4 2 1}]"},
		{"all alike", "llama3", map[string]int{"0.mlp": 128, "1.mlp": 128, "2.mlp": 128, "3.mlp": 128}, nil, "llama", "[{4 2 128} {4 2 128} {4 2 128} {4 2 128}]"},
		{"qwen3 alike", "qwen3", map[string]int{"0.mlp": 128, "1.mlp": 128, "2.mlp": 128, "3.mlp": 128}, nil, "qwen3", "[{4 2 128} {4 2 128} {4 2 128} {4 2 128}]"},
		{"qwen3 alike but one that goes", "qwen3", map[string]int{"0.mlp": 128, "2.mlp": 128, "3.mlp": 128}, []string{"1.self_attn", "1.mlp"}, "qwen3", "[{4 2 128} {4 2 128} {4 2 128}]"},
		{"qwen2", "qwen2", map[string]int{"0.mlp": 32, "3.mlp": 64}, nil, "deci", "[{4 2 32} {4 2 256} {4 2 256} {4 2 64}]"},
		{"heads", "linear", map[string]int{"0.self_attn": 1, "2.self_attn": 1}, nil, "deci", "[{2 1 256} {4 2 256} {2 1 256} {4 2 256}]"},
		{"heads alike", "llama", map[string]int{"0.self_attn": 1, "1.self_attn": 1, "2.self_attn": 1, "3.self_attn": 1}, nil, "llama", "[{2 1 256} {2 1 256} {2 1 256} {2 1 256}]"},
		{"mixed", "llama3", map[string]int{"0.self_attn": 1, "1.mlp": 160, "3.mlp": 64, "3.self_attn": 1}, []string{"2.self_attn", "2.mlp", "1.self_attn"}, "deci", "[{2 1 256} {2 1 160} {2 1 64}]"},
		{"alike where there are any", "tied", map[string]int{"0.mlp": 64, "2.mlp": 64, "3.mlp": 64}, []string{"1.mlp"}, "deci", "[{4 2 64} {4 2 64} {4 2 64} {4 2 64}]"},
	} {
		for _, types := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, types), func(t *testing.T) {
				source := ggufTiny(t, families()[c.family])
				rng := rand.New(rand.NewPCG(1, 5))
				for range 2 { // from the folder, then from the dense file that is made of it
					cand := engine.Candidate{}
					for unit, n := range c.widths {
						ggufNarrow(t, rng, source, cand, "model.layers."+unit, n, types)
					}
					for _, unit := range c.drop {
						cand["model.layers."+unit] = engine.Level{Name: "drop"}
					}
					path, res := ggufWrite(t, source, cand, GGUFOptions{})
					got := ggufOpen(t, path)
					var widths []engine.Width
					for b := range got.Config().Layers {
						widths = append(widths, got.Config().Width(b))
					}
					if res.Architecture != c.arch || fmt.Sprint(widths) != c.want || len(res.Rounded) > 0 {
						t.Errorf("architecture %s, widths %v, rounded %v", res.Architecture, widths, res.Rounded)
					}
					ggufKeep(t, source, path, cand)
					if x, want := ggufNLL(t, got, nil), ggufNLL(t, source, cand); x != want {
						t.Errorf("NLL %v, the candidate's is %v", x, want)
					}
					sizes, err := GGUFBytes(source, cand, GGUFOptions{})
					if err != nil {
						t.Fatal(err)
					}
					sum := sizes.Fixed
					for _, unit := range sizes.Units() {
						sum += sizes.Given(unit)
					}
					if sum != res.Bytes {
						t.Errorf("%d bytes, foretold were %d", res.Bytes, sum)
					}
					again, _ := ggufWrite(t, got, nil, GGUFOptions{})
					if !bytes.Equal(ggufRead(t, again), ggufRead(t, path)) {
						t.Error("a file that nothing is changed of comes out as another")
					}
					// What is left of it can lose more, and widths are those of the blocks that are left.
					less := engine.Candidate{"model.layers.0.self_attn": {Name: "drop"}, "model.layers.0.mlp": {Name: "drop"}}
					third, _ := ggufWrite(t, got, less, GGUFOptions{})
					if x, y := ggufNLL(t, ggufOpen(t, third), nil), ggufNLL(t, got, less); x != y {
						t.Errorf("NLL %v of a file with less, the candidate's is %v", x, y)
					}
					dense, _ := ggufWrite(t, source, nil, GGUFOptions{})
					source = ggufOpen(t, dense)
				}
			})
		}
	}
}

// TestWidthsKeepBlocks holds that the rows of a quantized file that stay are its bytes, and that columns are 16 bits.
func TestWidthsKeepBlocks(t *testing.T) {
	folder := ggufTiny(t, families()["llama"])
	rng := rand.New(rand.NewPCG(9, 9))
	cand := engine.Candidate{}
	for _, m := range folder.Config().Modules() {
		cand[m.Name] = engine.Level{Name: "q4_0", Weights: ggufBlocks(t, rng, kernel.Q4_0, m.Rows, m.Cols)}
	}
	path, _ := ggufWrite(t, folder, cand, GGUFOptions{})
	source := ggufOpen(t, path)
	cand = engine.Candidate{}
	ggufNarrow(t, rng, source, cand, "model.layers.2.mlp", 64, false)
	ggufNarrow(t, rng, source, cand, "model.layers.1.self_attn", 1, false)
	path, res := ggufWrite(t, source, cand, GGUFOptions{})
	got := ggufOpen(t, path)
	for unit, l := range cand {
		s := l.Weights.(engine.Slice)
		x, err := got.Tensor(unit + ".weight")
		if err != nil {
			t.Fatal(err)
		}
		if s.Cols != nil {
			if x.Type != "F16" || !slices.Contains(res.Rounded, unit) {
				t.Errorf("%s is of type %s; rounded are %v", unit, x.Type, res.Rounded)
			}
			continue
		}
		for i, r := range s.Rows {
			if x.Type != "Q4_0" || !bytes.Equal(x.Row(i), s.Tensor.Row(r)) {
				t.Fatalf("%s, row %d of type %s is not row %d of the source", unit, i, x.Type, r)
			}
		}
	}
	if x, want := ggufNLL(t, got, nil), ggufNLL(t, source, cand); x < 0.999*want || x > 1.001*want {
		t.Errorf("NLL %v, the candidate's is %v", x, want)
	}
}

// TestWidthsRefused names what no llama.cpp loads.
func TestWidthsRefused(t *testing.T) {
	for _, c := range []struct {
		family string
		widths map[string]int
		change func(engine.Candidate)
		want   []string
	}{
		{"qwen3", map[string]int{"2.mlp": 64}, nil, []string{"layers.2.mlp has 64 channels and others 256", "architecture qwen3", "the same"}},
		{"qwen3", map[string]int{"1.self_attn": 1}, nil, []string{"layers.1.self_attn has 2 heads with 1", "others 4 with 2", "qwen3"}},
		{"qwen2", map[string]int{"1.self_attn": 1}, nil, []string{"layers.1.self_attn", "bias"}},
		{"llama", map[string]int{"1.mlp": 64}, func(c engine.Candidate) { delete(c, "model.layers.1.mlp.up_proj") }, []string{"gate_proj has 64 channels", "up_proj 256"}},
		{"llama", map[string]int{"1.mlp": 64}, func(c engine.Candidate) {
			w := kernel.Layout{Bits: 3, Group: 64, Symmetric: true}
			g, err := kernel.PackGrouped(tinyHidden, 64, w, make([]uint8, tinyHidden*64), make([]uint16, tinyHidden), nil)
			if err != nil {
				t.Fatal(err)
			}
			c["model.layers.1.mlp.down_proj"] = engine.Level{Name: "width-64+rtn-3b-g64-sym", Weights: g}
		}, []string{"layers.1.mlp.down_proj", "width-64+rtn-3b-g64-sym", "nearest"}},
	} {
		source := ggufTiny(t, families()[c.family])
		cand := engine.Candidate{}
		for unit, n := range c.widths {
			ggufNarrow(t, rand.New(rand.NewPCG(1, 1)), source, cand, "model.layers."+unit, n, false)
		}
		if c.change != nil {
			c.change(cand)
		}
		_, err := GGUF(filepath.Join(t.TempDir(), "x.gguf"), source, cand, GGUFOptions{})
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v: want it to say %q", err, want)
			}
		}
	}
}
