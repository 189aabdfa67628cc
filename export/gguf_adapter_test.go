package export

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
)

// ggufFactors are random factors of all linear modules, of ranks 1 and 2 and of one α.
func ggufFactors(rng *rand.Rand, c engine.Config) (all []engine.Factors) {
	numbers := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(0.2 * rng.NormFloat64())
		}
		return x
	}
	for i, m := range c.Modules() {
		r := 1 + i%2
		all = append(all, engine.Factors{Module: m.Name, Rows: m.Rows, Cols: m.Cols, Rank: r, Scale: 3 / float64(r), A: numbers(r * m.Cols), B: numbers(m.Rows * r)})
	}
	return all
}

// added are a module's weights with the product of factors.
func added(w engine.Weights, f engine.Factors) factor {
	rows, cols := w.Shape()
	out := factor{rows, cols, ggufDecoded(w)}
	for i := range rows {
		for j := range cols {
			sum := 0.0
			for q := range f.Rank {
				sum += float64(f.B[i*f.Rank+q]) * float64(f.A[q*cols+j])
			}
			out.data[i*cols+j] += float32(f.Scale * sum)
		}
	}
	return out
}

// TestAdapters holds that what is read of an adapter beside a file is what was written, for the modules that are left under the names that they have
// there; and that model and adapter are, for llama.cpp too (bench/peers/check_gguf.py), the model into which the products are merged.
func TestAdapters(t *testing.T) {
	for _, c := range []struct {
		family string
		drop   []string
	}{
		{"llama", nil}, {"tied", []string{"0.self_attn", "0.mlp"}}, {"qwen2", []string{"2.self_attn", "2.mlp"}}, {"qwen3", nil}, {"mistral", nil},
		{"llama3", []string{"0.self_attn", "2.mlp", "3.self_attn", "3.mlp"}},
	} {
		t.Run(c.family, func(t *testing.T) {
			source := ggufTiny(t, families()[c.family])
			rng := rand.New(rand.NewPCG(5, uint64(len(c.family))))
			cand := ggufMixture(t, rng, source.Config())
			factors := ggufFactors(rng, source.Config())
			merged := engine.Candidate{}
			for _, f := range factors {
				w, err := engine.Dense(source, f.Module)
				if err != nil {
					t.Fatal(err)
				}
				if l, ok := cand[f.Module]; ok {
					w = l.Weights
				}
				merged[f.Module] = engine.Level{Name: "merged", Weights: added(w, f)}
			}
			for _, unit := range c.drop {
				cand["model.layers."+unit], merged["model.layers."+unit] = engine.Level{Name: "drop"}, engine.Level{Name: "drop"}
			}
			path, model := ggufWrite(t, source, cand, GGUFOptions{Name: "tiny"})
			ggufKeep(t, source, path, merged)
			beside := strings.TrimSuffix(path, ".gguf") + "-lora.gguf"
			res, err := GGUFAdapter(beside, source, cand, factors, GGUFOptions{Name: "tiny"})
			if err != nil {
				t.Fatal(err)
			}
			planned, err := GGUFAdapterBytes(source, cand, factors, GGUFOptions{Name: "tiny"})
			if n := int64(len(ggufRead(t, beside))); n != res.Bytes || n != planned || err != nil || res.Architecture != model.Architecture {
				t.Errorf("%d bytes, said to be %d, planned %d, %v; %s", n, res.Bytes, planned, err, res.Architecture)
			}
			got := ggufOpen(t, path)
			read, err := got.Adapter(beside)
			if err != nil {
				t.Fatal(err)
			}
			units, with := map[string]string{}, engine.Candidate{}
			for _, x := range model.Tensors {
				units[x.Module] = x.Unit
			}
			for _, f := range read {
				at := slices.IndexFunc(factors, func(x engine.Factors) bool { return x.Module == units[f.Module] })
				if at < 0 || fmt.Sprint(f.Rows, f.Cols, f.Rank, f.Scale) != fmt.Sprint(factors[at].Rows, factors[at].Cols, factors[at].Rank, factors[at].Scale) ||
					!slices.Equal(f.A, factors[at].A) || !slices.Equal(f.B, factors[at].B) {
					t.Fatalf("%s, which is %s: %d x %d, rank %d, scale %v", f.Module, units[f.Module], f.Rows, f.Cols, f.Rank, f.Scale)
				}
				w, err := engine.Dense(got, f.Module)
				if err != nil {
					t.Fatal(err)
				}
				with[f.Module] = engine.Level{Name: "with", Weights: added(w, f)}
			}
			if n := len(got.Config().Modules()); len(read) != n || len(res.Tensors) != 2*n {
				t.Errorf("%d factors, %d tensors, the file has %d modules", len(read), len(res.Tensors), n)
			}
			if x, y := ggufNLL(t, got, with), ggufNLL(t, source, merged); x != y {
				t.Errorf("NLL %v, that of the merged model is %v", x, y)
			}
		})
	}
}

// TestAdapterRows multiplies what lies in the files: the rows of the model plus those of B times A are the rows of the merged model, in the order in
// which llama.cpp finds them.
func TestAdapterRows(t *testing.T) {
	source := ggufTiny(t, families()["llama"])
	rng := rand.New(rand.NewPCG(1, 6))
	const module, rank = "model.layers.0.self_attn.q_proj", 2
	integers := func(rows, cols int) factor {
		x := factor{rows, cols, make([]float32, rows*cols)}
		for i := range x.data {
			x.data[i] = float32(rng.IntN(9) - 4)
		}
		return x
	}
	w, a, b := integers(tinyHeads*tinyDim, tinyHidden), integers(rank, tinyHidden), integers(tinyHeads*tinyDim, rank)
	f := engine.Factors{Module: module, Rows: w.rows, Cols: w.cols, Rank: rank, Scale: 1, A: a.data, B: b.data}
	raw := func(path string, tensors []Tensor, name string) []byte {
		data := ggufRead(t, path)
		at := int64(len(data))
		for _, x := range slices.Backward(tensors) {
			if at -= padded(x.Bytes); x.Name == name {
				return data[at:][:x.Bytes]
			}
		}
		t.Fatalf("no tensor %s", name)
		return nil
	}
	const name = "blk.0.attn_q.weight"
	half := func(weights engine.Weights) []float32 {
		path, res := ggufWrite(t, source, engine.Candidate{module: {Name: "x", Weights: Merged{weights}}}, GGUFOptions{Dense: "f16"})
		x := make([]float32, w.rows*w.cols)
		for i, bytes := 0, raw(path, res.Tensors, name); i < len(x); i++ {
			x[i] = kernel.DecodeF16(le.Uint16(bytes[2*i:]))
		}
		return x
	}
	path := filepath.Join(t.TempDir(), "lora.gguf")
	res, err := GGUFAdapter(path, source, nil, []engine.Factors{f}, GGUFOptions{})
	if err != nil {
		t.Fatal(err)
	}
	single := func(name string) []float32 {
		data := raw(path, res.Tensors, name)
		x := make([]float32, len(data)/4)
		for i := range x {
			x[i] = math.Float32frombits(le.Uint32(data[4*i:]))
		}
		return x
	}
	inFile := engine.Factors{Rank: rank, Scale: 1, A: single(name + ".lora_a"), B: single(name + ".lora_b")}
	base := half(w)
	if slices.Equal(base, w.data) {
		t.Error("the rows of the model are not permuted")
	}
	if got := added(factor{w.rows, w.cols, base}, inFile); !slices.Equal(got.data, half(added(w, f))) {
		t.Error("rows of the model and of the adapter are in different orders")
	}
}

// TestAdapterRefused names what an adapter cannot hold, and writes nothing then.
func TestAdapterRefused(t *testing.T) {
	source := ggufTiny(t, families()["llama"])
	factors := ggufFactors(rand.New(rand.NewPCG(1, 7)), source.Config())
	drop := engine.Candidate{"model.layers.1.self_attn": {Name: "drop"}, "model.layers.1.mlp": {Name: "drop"}}
	of := func(change func(f []engine.Factors)) []engine.Factors {
		f := slices.Clone(factors)
		change(f)
		return f
	}
	path := filepath.Join(t.TempDir(), "x-lora.gguf")
	for _, c := range []struct {
		cand    engine.Candidate
		factors []engine.Factors
		want    string
	}{
		{nil, of(func(f []engine.Factors) { f[3].Scale *= 2 }), "layers.0.self_attn.o_proj have rank 2 and scale 3"},
		{nil, of(func(f []engine.Factors) { f[3].Scale = 0 }), "layers.0.self_attn.o_proj are scaled by 0"},
		{nil, of(func(f []engine.Factors) { f[3].Module = "model.layers.9.mlp.up_proj" }), "model.layers.9.mlp.up_proj"},
		{nil, of(func(f []engine.Factors) { f[3].Module = f[2].Module }), "layers.0.self_attn.v_proj"},
		{nil, of(func(f []engine.Factors) { f[3].B = f[3].B[1:] }), "127 numbers"},
		{nil, of(func(f []engine.Factors) { f[3].Cols /= 2 }), "64x32"},
		{drop, factors[7:14], "none of the 7 modules"},
		{nil, nil, "none of the 0 modules"},
	} {
		_, err := GGUFAdapter(path, source, c.cand, c.factors, GGUFOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Fatalf("%s: refused, and there is a file", c.want)
		}
	}
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := GGUFAdapter(path, source, nil, factors, GGUFOptions{}); err == nil || string(ggufRead(t, path)) != "mine" {
		t.Errorf("onto a file: %v", err)
	}
}

// TestAdapterOfAnother reads adapters that are none, are of another model, or are damaged.
func TestAdapterOfAnother(t *testing.T) {
	source := ggufTiny(t, families()["llama"])
	path, _ := ggufWrite(t, source, nil, GGUFOptions{})
	model := ggufOpen(t, path)
	factors := ggufFactors(rand.New(rand.NewPCG(1, 8)), source.Config())[2:4]
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if _, err := GGUFAdapter(good, source, nil, factors, GGUFOptions{}); err != nil {
		t.Fatal(err)
	}
	data := string(ggufRead(t, good))
	name := filepath.Join(dir, "changed")
	read := func(data string) error {
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := model.Adapter(name)
		return err
	}
	if err := read(data); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"adapter", "ADAPTER", `general.type is "ADAPTER"`},
		{"lora", "LORA", "adapter.type"},
		{"llama", "qwen3", `general.architecture is "qwen3"`},
		{"lora_a", "lora_c", "lora_c"},
		{"blk.0.attn_v.weight.lora_a", "blk.0.attn_w.weight.lora_a", "one factor of two"},
		{"blk.0.attn_v", "blk.9.attn_v", "blk.9.attn_v"},
		{"blk.0.attn_v", "blk.0.attn_k", ""}, // of the same shape
		{"blk.0.attn_v", "blk.0.ffn_up", "have shapes"},
		{"\x00\x00\x40\x40", "\x00\x00\xc0\x7f", "alpha is NaN"},
		{data[len(data)-4:], "\x00\x00\x80\x7f", "infinite"},
		{data[len(data)-100:], "", "truncated"},
	} {
		changed := strings.ReplaceAll(data, c.from, c.to)
		if c.from == "adapter" || c.from == "lora" { // the values, which a length is before, and not the keys
			changed = strings.ReplaceAll(data, string(stringValue(c.from)), string(stringValue(c.to)))
		}
		err := read(changed)
		if (c.want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q for %q: error %v, want one with %q", c.to, c.from, err, c.want)
		}
		if err != nil && !errors.Is(err, engine.ErrMalformed) && !errors.Is(err, engine.ErrUnsupported) && !errors.Is(err, engine.ErrNotFinite) {
			t.Errorf("%v is of no kind", err)
		}
	}
	for at := range len(data) - 3*len(factors)*tinyHidden*4 { // no panic, whatever it says
		b := []byte(data)
		b[at] ^= byte(1 << (at % 8))
		read(string(b))
	}
}
