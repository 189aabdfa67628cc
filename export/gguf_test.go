package export

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/kernel"
)

// TestMixtures holds that a mixture of types is read back bit for bit and scores as the candidate did, for every family and
// from both kinds of sources; and that what is written anew of such a file is the same file.
func TestMixtures(t *testing.T) {
	for name, f := range families() {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(len(name))))
			source := ggufTiny(t, f)
			for range 2 { // from the folder, then from the file that was made of it
				cand := ggufMixture(t, rng, source.Config())
				path, res := ggufWrite(t, source, cand, GGUFOptions{Name: "tiny"})
				got := ggufOpen(t, path)
				ggufSame(t, got, source, cand)
				ggufKeep(t, source, path, cand)
				if len(res.Rounded) > 0 {
					t.Errorf("rounded: %v", res.Rounded)
				}
				if windowed := strings.Contains(strings.Join(res.Notes, ""), "window of 9"); windowed != (name == "mistral") {
					t.Errorf("notes: %q", res.Notes)
				}
				again, _ := ggufWrite(t, got, nil, GGUFOptions{})
				if !bytes.Equal(ggufRead(t, again), ggufRead(t, path)) {
					t.Error("a file that nothing is changed of comes out as another")
				}
				source = got
			}
		})
	}
}

// ggufSame checks a file against the candidate it was made of.
func ggufSame(t *testing.T, got, source *engine.Checkpoint, cand engine.Candidate) {
	t.Helper()
	a, b := got.Config(), source.Config()
	if b.Arch == "mistral" {
		b.Arch = "llama"
	}
	a.RopeScaling, b.RopeScaling = nil, nil // compared by what they do
	a.NormEps, a.RopeTheta = float64(float32(a.NormEps)), float64(float32(a.RopeTheta))
	b.NormEps, b.RopeTheta = float64(float32(b.NormEps)), float64(float32(b.RopeTheta))
	if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) {
		t.Errorf("configuration %+v\nwant %+v", a, b)
	}
	if !slices.Equal(got.Config().InvFreq(), source.Config().InvFreq()) {
		t.Errorf("frequencies %v\nwant %v", got.Config().InvFreq(), source.Config().InvFreq())
	}
	for _, want := range source.Config().Tensors() {
		x, err := got.Tensor(want.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		y, err := source.Tensor(want.Name)
		if err != nil {
			t.Fatal(err)
		}
		have, due := make([]float32, x.Rows()*x.Cols()), make([]float32, y.Rows()*y.Cols())
		x.DecodeRows(0, x.Rows(), have)
		y.DecodeRows(0, y.Rows(), due)
		if l, ok := cand[strings.TrimSuffix(want.Name, ".weight")]; ok {
			due = ggufDecoded(l.Weights)
			if !strings.EqualFold(x.Type, l.Name) {
				t.Errorf("%s is of type %s, want %s", want.Name, x.Type, l.Name)
			}
		}
		if !slices.Equal(have, due) {
			t.Errorf("%s differs", want.Name)
		}
	}
	if x, y := ggufNLL(t, got, nil), ggufNLL(t, source, cand); x != y {
		t.Errorf("NLL %v, the candidate's is %v", x, y)
	}
	tokenizer, err := got.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if ids := tokenizer.Encode([]byte("a few words")); len(ids) != 11 {
		t.Errorf("tokens %v", ids)
	}
}

// TestTokenizers holds that a tokenizer of a folder is the same in the file that is made of it.
func TestTokenizers(t *testing.T) {
	for _, name := range []string{"gpt2", "llama3", "qwen2", "smollm", "tekken", "spm"} {
		tokenizer := ggufRead(t, filepath.Join("..", "engine", "testdata", "tokenizers", name+".json"))
		f := family{"model_type": "llama", "vocab_size": 2000, "tie_word_embeddings": true}
		dir := ggufFolder(t, f, tokenizer)
		settings := `{"chat_template": "{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}", "add_bos_token": true}`
		if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(settings), 0o644); err != nil {
			t.Fatal(err)
		}
		source := ggufOpen(t, dir)
		path, _ := ggufWrite(t, source, nil, GGUFOptions{})
		got := ggufOpen(t, path)
		v, err := got.Vocabulary()
		want, err2 := source.Vocabulary()
		if err != nil || err2 != nil {
			t.Errorf("%s: %v, %v", name, err, err2)
			continue
		}
		if !reflect.DeepEqual(v, want) || v.ChatTemplate == "" || len(v.Tokens) != 2000 {
			t.Errorf("%s: a vocabulary of %d tokens, template %q, of %d, template %q", name, len(v.Tokens), v.ChatTemplate, len(want.Tokens), want.ChatTemplate)
		}
		a, err := got.Tokenizer()
		b, err2 := source.Tokenizer()
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		for _, text := range []string{"it's 1234  words\n\n", " naïve Å 😀 数据模型 candidate", "<|im_start|>user<s>x</s>"} {
			if x, y := a.Encode([]byte(text)), b.Encode([]byte(text)); !slices.Equal(x, y) {
				t.Errorf("%s: %q gives %v, want %v", name, text, x, y)
			}
		}
	}
}

// TestDrops leaves out whole blocks and single sub-blocks, the first and the last among them.
func TestDrops(t *testing.T) {
	for _, c := range []struct {
		name, family string
		drop         []string
		arch         string
		layers       int
	}{
		{"block", "llama", []string{"1.self_attn", "1.mlp"}, "llama", 3},
		{"first and last block", "tied", []string{"0.self_attn", "0.mlp", "3.self_attn", "3.mlp"}, "llama", 2},
		{"qwen3 block", "qwen3", []string{"2.self_attn", "2.mlp"}, "qwen3", 3},
		{"attention", "llama", []string{"1.self_attn"}, "deci", 4},
		{"first attention", "llama3", []string{"0.self_attn"}, "deci", 4},
		{"MLPs", "linear", []string{"0.mlp", "3.mlp"}, "deci", 4},
		{"last attention", "tied", []string{"3.self_attn"}, "deci", 4},
		{"mixed", "llama", []string{"0.self_attn", "0.mlp", "1.self_attn", "2.mlp"}, "deci", 3},
		{"qwen2", "qwen2", []string{"0.self_attn", "2.mlp", "3.self_attn"}, "deci", 4},
		{"by a module", "llama", []string{"1.mlp.up_proj", "2.self_attn.o_proj"}, "deci", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := ggufTiny(t, families()[c.family])
			cand := ggufMixture(t, rand.New(rand.NewPCG(1, 5)), source.Config())
			for _, unit := range c.drop {
				cand["model.layers."+unit] = engine.Level{Name: "drop"}
			}
			path, res := ggufWrite(t, source, cand, GGUFOptions{})
			got := ggufOpen(t, path)
			if res.Architecture != c.arch || got.Config().Layers != c.layers {
				t.Errorf("architecture %s, %d layers", res.Architecture, got.Config().Layers)
			}
			want := ggufNLL(t, source, cand)
			ggufKeep(t, source, path, cand)
			if x := ggufNLL(t, got, nil); x != want {
				t.Errorf("NLL %v, the candidate's is %v", x, want)
			}
			again, _ := ggufWrite(t, got, nil, GGUFOptions{})
			if x := ggufNLL(t, ggufOpen(t, again), nil); x != want {
				t.Errorf("NLL %v of a file of the file, the candidate's is %v", x, want)
			}
			// What is left of it can lose more: numbers of each block are renumbered too.
			less := engine.Candidate{"model.layers.1.self_attn": {Name: "drop"}, "model.layers.1.mlp": {Name: "drop"}}
			if got.Config().Absent != nil && !got.Config().Has(1, 0) {
				delete(less, "model.layers.1.self_attn")
			}
			if got.Config().Absent != nil && !got.Config().Has(1, 1) {
				delete(less, "model.layers.1.mlp")
			}
			third, _ := ggufWrite(t, got, less, GGUFOptions{})
			if x, y := ggufNLL(t, ggufOpen(t, third), nil), ggufNLL(t, got, less); x != y || ggufOpen(t, third).Config().Layers != c.layers-1 {
				t.Errorf("NLL %v of a file with less, the candidate's is %v", x, y)
			}
		})
	}
}

// TestSizes holds that the fixed part and the units are the file, for random mixtures.
func TestSizes(t *testing.T) {
	for name, f := range families() {
		source := ggufTiny(t, f)
		rng := rand.New(rand.NewPCG(2, uint64(len(name))))
		file, _ := ggufWrite(t, source, ggufMixture(t, rng, source.Config()), GGUFOptions{})
		for _, ck := range []*engine.Checkpoint{source, ggufOpen(t, file)} {
			for round := range 4 {
				cand := ggufMixture(t, rng, ck.Config())
				var o GGUFOptions
				if round == 1 {
					cand["model.layers.1.mlp"], cand["model.layers.1.self_attn"] = engine.Level{Name: "drop"}, engine.Level{Name: "drop"}
				}
				if round == 2 && name != "qwen3" {
					cand["model.layers.0.self_attn"], cand["model.layers.2.mlp"] = engine.Level{Name: "drop"}, engine.Level{Name: "drop"}
				}
				if round == 3 && ck.Config().TieEmbeddings {
					o.Untied = true
				}
				drops := engine.Candidate{}
				for unit, l := range cand {
					if l.Weights == nil {
						drops[unit] = l
					}
				}
				// By the types, for a search; and as it is.
				sizes, err := GGUFBytes(ck, drops, o)
				if err != nil {
					t.Fatal(err)
				}
				same, err := GGUFBytes(ck, cand, o)
				if err != nil {
					t.Fatal(err)
				}
				sum, given := sizes.Fixed, same.Fixed
				for _, unit := range sizes.Units() {
					n := sizes.Given(unit)
					if g, ok := cand[unit].Weights.(*kernel.GGML); ok {
						if n, err = sizes.Unit(unit, g.Type()); err != nil {
							t.Fatal(err)
						}
					}
					sum += n
					given += same.Given(unit)
				}
				_, res := ggufWrite(t, ck, cand, o)
				if sum != res.Bytes || given != res.Bytes {
					t.Errorf("%s, mixture %d: fixed part and units are %d bytes, and %d as given; the file has %d", name, round, sum, given, res.Bytes)
				}
			}
		}
	}
	sizes, err := GGUFBytes(ggufTiny(t, families()["llama"]), nil, GGUFOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sizes.Unit("model.layers.0.mlp.up_proj", kernel.Q4K); err == nil || !strings.Contains(err.Error(), "q4_K") {
		t.Errorf("blocks of 256 in rows of 64: %v", err)
	}
	if _, err := sizes.Unit("model.layers.0.mlp", kernel.Q4_0); err == nil {
		t.Error("a sub-block has a size")
	}
}

// TestRefused names what no llama.cpp loads, and what would be.
func TestRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	grouped := func(bits, rows, cols int) *kernel.Grouped {
		l := kernel.Layout{Bits: bits, Group: 64, Symmetric: true}
		w, err := kernel.PackGrouped(rows, cols, l, make([]uint8, rows*cols), make([]uint16, rows*l.Groups(cols)), nil)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	drop := engine.Level{Name: "drop"}
	all := engine.Candidate{}
	for b := range tinyLayers {
		all[subBlock(b, 0)], all[subBlock(b, 1)] = drop, drop
	}
	for _, c := range []struct {
		family string
		cand   engine.Candidate
		o      GGUFOptions
		want   []string
	}{
		{"llama", engine.Candidate{"model.layers.0.mlp.down_proj": {Name: "rtn-3b-g64", Weights: grouped(3, tinyHidden, tinyFFN)}}, GGUFOptions{}, []string{"layers.0.mlp.down_proj", "rtn-3b-g64", "q3_K"}},
		{"llama", engine.Candidate{"model.layers.0.mlp.up_proj": {Name: "gptq-3b-g64 1234", Weights: grouped(3, tinyFFN, tinyHidden)}}, GGUFOptions{}, []string{"level gptq-3b-g64,", "q4_0"}},
		{"llama", engine.Candidate{"model.layers.0.mlp.up_proj": {Name: "rtn-8b-g64", Weights: grouped(8, tinyFFN, tinyHidden)}}, GGUFOptions{}, []string{"q8_0"}},
		{"llama", engine.Candidate{"model.layers.0.self_attn.q_proj": drop}, GGUFOptions{}, []string{"self_attn.q_proj", "drop model.layers.0.self_attn"}},
		{"qwen2", engine.Candidate{"model.layers.0.self_attn.v_proj": drop}, GGUFOptions{}, []string{"self_attn.v_proj"}},
		{"qwen3", engine.Candidate{"model.layers.2.mlp": drop}, GGUFOptions{}, []string{"layers.2.mlp", "qwen3", "all of block 2"}},
		{"llama", all, GGUFOptions{}, []string{"every block"}},
		{"llama", engine.Candidate{"lm_head": drop}, GGUFOptions{}, []string{"lm_head"}},
		{"llama", engine.Candidate{"model.layers.9.mlp": drop}, GGUFOptions{}, []string{"layers.9.mlp"}},
		{"llama", engine.Candidate{"model.layers.1.mlp": {Name: "q4_0", Weights: ggufBlocks(t, rng, kernel.Q4_0, 32, 32)}}, GGUFOptions{}, []string{"layers.1.mlp", "only be dropped"}},
		{"llama", engine.Candidate{"model.layers.1.mlp.up_proj": {Name: "q4_0", Weights: ggufBlocks(t, rng, kernel.Q4_0, 32, 32)}}, GGUFOptions{}, []string{"256x64", "32x32"}},
		{"llama", nil, GGUFOptions{Dense: "f8"}, []string{"f8"}},
	} {
		path := filepath.Join(t.TempDir(), "x.gguf")
		_, err := GGUF(path, ggufTiny(t, families()[c.family]), c.cand, c.o)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v: want it to say %q", err, want)
			}
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: a file came into being", c.want)
		}
	}
	// A window that only some blocks have.
	half := family{"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 9, "max_window_layers": 2}
	if _, err := GGUF(filepath.Join(t.TempDir(), "x.gguf"), ggufTiny(t, half), nil, GGUFOptions{}); err == nil || !strings.Contains(err.Error(), "sliding window") {
		t.Errorf("%v, want it to say sliding window", err)
	}
}

// TestSimulated writes what no type stores as numbers of 16 bits.
func TestSimulated(t *testing.T) {
	source := ggufTiny(t, families()["llama"])
	rng := rand.New(rand.NewPCG(1, 1))
	l := kernel.Layout{Bits: 3, Group: 64}
	codes, half, offsets := make([]uint8, tinyFFN*tinyHidden), make([]uint16, tinyFFN), make([]uint8, tinyFFN)
	for i := range codes {
		codes[i] = uint8(rng.UintN(8))
	}
	for i := range half {
		half[i], offsets[i] = kernel.EncodeF16(float32(0.01*rng.Float64())), uint8(rng.UintN(8))
	}
	w, err := kernel.PackGrouped(tinyFFN, tinyHidden, l, codes, half, offsets)
	if err != nil {
		t.Fatal(err)
	}
	cand := engine.Candidate{"model.layers.2.mlp.up_proj": {Name: "rtn-3b-g64", Weights: w}}
	for dense, kind := range map[string]string{"": "F16", "f16": "F16", "bf16": "BF16"} {
		path, res := ggufWrite(t, source, cand, GGUFOptions{Simulated: true, Dense: dense})
		got := ggufOpen(t, path)
		x, err := got.Tensor("model.layers.2.mlp.up_proj.weight")
		if err != nil {
			t.Fatal(err)
		}
		if x.Type != kind || !slices.Contains(res.Rounded, "model.layers.2.mlp.up_proj") {
			t.Errorf("dense %q: type %s, rounded %v", dense, x.Type, res.Rounded)
		}
		if a, b := ggufNLL(t, got, nil), ggufNLL(t, source, cand); math.Abs(a-b) > 2e-3*b {
			t.Errorf("dense %q: NLL %v, the candidate's is %v", dense, a, b)
		}
	}
}

// TestUntied gives the head a level of its own.
func TestUntied(t *testing.T) {
	source := ggufTiny(t, families()["tied"])
	rng := rand.New(rand.NewPCG(1, 1))
	level := engine.Level{Name: "q4_0", Weights: ggufBlocks(t, rng, kernel.Q4_0, tinyVocab, tinyHidden)}
	other := engine.Level{Name: "q8_0", Weights: ggufBlocks(t, rng, kernel.Q8_0, tinyVocab, tinyHidden)}
	for _, c := range []struct {
		cand       engine.Candidate
		tied       bool
		embed, out engine.Weights
	}{
		{engine.Candidate{embeddingUnit: level}, true, level.Weights, nil},
		{engine.Candidate{embeddingUnit: level, headUnit: level}, true, level.Weights, nil},
		{engine.Candidate{embeddingUnit: level, headUnit: other}, false, level.Weights, other.Weights},
		{engine.Candidate{headUnit: other}, false, nil, other.Weights},
	} {
		path, _ := ggufWrite(t, source, c.cand, GGUFOptions{})
		got := ggufOpen(t, path)
		if got.Config().TieEmbeddings != c.tied {
			t.Errorf("%v: tied is %v", c.cand, !c.tied)
		}
		for name, want := range map[string]engine.Weights{embeddingUnit: c.embed, headUnit: c.out} {
			if want == nil {
				continue
			}
			w, err := engine.Dense(got, name)
			if err != nil || !slices.Equal(ggufDecoded(w), ggufDecoded(want)) {
				t.Errorf("%s differs, %v", name, err)
			}
		}
	}
}

// TestWholeOrAbsent holds that nothing is replaced, and that what fails leaves nothing behind.
func TestWholeOrAbsent(t *testing.T) {
	source := ggufTiny(t, families()["llama"])
	dir := t.TempDir()
	path := filepath.Join(dir, "x.gguf")
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := GGUF(path, source, nil, GGUFOptions{}); err == nil || !strings.Contains(err.Error(), "x.gguf exists already") {
		t.Errorf("onto a file: %v", err)
	}
	if got := ggufRead(t, path); string(got) != "mine" {
		t.Errorf("the file is now %q", got)
	}
	os.Remove(path)
	late := func(done, _ int64) error { return os.WriteFile(path, []byte("theirs"), 0o644) }
	if _, err := GGUF(path, source, nil, GGUFOptions{Progress: late}); err == nil || string(ggufRead(t, path)) != "theirs" {
		t.Errorf("onto a file that came later: %v", err)
	}
	os.Remove(path)
	defer func() { durable.Fault = nil }()
	for _, at := range []string{"create", "write", "sync", "link"} {
		durable.Fault = func(step, _ string) error {
			if step == at {
				return syscall.ENOSPC
			}
			return nil
		}
		if _, err := GGUF(path, source, nil, GGUFOptions{}); !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") {
			t.Errorf("no room at %s: %v", at, err)
		}
	}
	durable.Fault = nil
	full := func(done, total int64) error { return fmt.Errorf("at %d of %d: %w", done, total, syscall.ENOSPC) }
	if _, err := GGUF(path, source, nil, GGUFOptions{Progress: full}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("stopped: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestFullDisk writes to a device that is always full, where there is one.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full")
	}
	defer full.Close()
	f, err := plan(ggufTiny(t, families()["llama"]), nil, GGUFOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.write(full, nil); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
}

func ggufRead(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
