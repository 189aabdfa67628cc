package evalworker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/prune"
)

// TestExpand gives the modules of an MLP its width.
func TestExpand(t *testing.T) {
	const mlp = "model.layers.0.mlp"
	in := map[string]string{mlp: "width-32", mlp + ".down_proj": "q8_0", mlp + ".up_proj": "drop", "model.layers.1.mlp": "width-16",
		"model.layers.2.mlp": "drop", "model.layers.1.self_attn.q_proj": "q4_0", "model.layers.1.mlp.up_proj": "dense"}
	before := maps.Clone(in)
	want := map[string]string{mlp + ".gate_proj": "width-32", mlp + ".up_proj": "drop", mlp + ".down_proj": "width-32+q8_0",
		"model.layers.1.mlp.gate_proj": "width-16", "model.layers.1.mlp.up_proj": "width-16", "model.layers.1.mlp.down_proj": "width-16",
		"model.layers.2.mlp": "drop", "model.layers.1.self_attn.q_proj": "q4_0"}
	if got := expand(in); !maps.Equal(got, want) || !maps.Equal(expand(got), want) || !maps.Equal(in, before) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestWidth evaluates narrower MLPs, whose bytes are what is left.
func TestWidth(t *testing.T) {
	model, dir := tiny(t), t.TempDir()
	in := SingleInput{Model: model, Text: filepath.Join(dir, "text.txt"), Config: filepath.Join(dir, "c.txt"), SeqLen: 16}
	writeFile(t, in.Text, prose(10*16))
	w := NewWorkbench(Options{Threads: 1})
	defer w.Close()
	const dense, mlp = 32 * 64, "model.layers.0.mlp" // weights of a module
	last := 0.0
	for _, test := range []struct {
		config string
		saved  int64
		worse  bool
	}{
		{mlp + ": width-64", 0, false},
		{mlp + ": width-48", 2 * 3 * 32 * 16, true},
		{mlp + ": width-32", 2 * 3 * 32 * 32, true},
		{mlp + ": width-32\n" + mlp + ".down_proj: q8_0\n", 2*3*dense - 2*2*32*32 - 32*34, false},
		{mlp + ": width-8\n" + mlp + ".up_proj: magnitude-0.5\nmodel.layers.1.mlp: width-1", 2*6*dense - 2*2*32*8 - (32 + 2*128) - 2*3*32, true},
		{mlp + ": width-32\n" + mlp + ".up_proj: drop\n", 2*3*dense - 2*2*32*32, false},
	} {
		writeFile(t, in.Config, []byte(test.config))
		got, err := w.Single(context.Background(), in, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if test.saved > 0 != (got.KL.Value > 0) || test.worse && got.KL.Value <= last || got.Bytes != 2*tinyConfig(t, model).Parameters()-test.saved {
			t.Errorf("%q: KL %v after %v, %d bytes saved, want %d", test.config, got.KL.Value, last, 2*tinyConfig(t, model).Parameters()-got.Bytes, test.saved)
		}
		last = got.KL.Value
	}
}

// TestWidthKeepsImportant holds that a width has the channels of the largest importance, in their order.
func TestWidthKeepsImportant(t *testing.T) {
	w := NewWorkbench(Options{Threads: 1})
	defer w.Close()
	s, err := w.models.acquire(context.Background(), modelKey{ref: tiny(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer w.models.release(s)
	cands, err := s.candidates([]map[string]string{{"model.layers.1.mlp": "width-20", "model.layers.1.mlp.down_proj": "rtn-8b-g20"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var of [3]engine.Weights
	for i, role := range mlpModules {
		if of[i], err = engine.Dense(s.checkpoint.Checkpoint, "model.layers.1.mlp."+role); err != nil {
			t.Fatal(err)
		}
	}
	importance, err := prune.Importance(of[0], of[1])
	if err != nil {
		t.Fatal(err)
	}
	up := cands[0]["model.layers.1.mlp.up_proj"].Weights.(engine.Slice)
	sorted := slices.Sorted(slices.Values(importance))
	for i, x := range importance {
		if kept := slices.Contains(up.Rows, i); kept != (x >= sorted[len(sorted)-20]) {
			t.Errorf("channel %d of importance %v is kept: %v", i, x, kept)
		}
	}
	if !slices.IsSorted(up.Rows) || len(up.Rows) != 20 {
		t.Errorf("channels %v", up.Rows)
	}
	down, rows, cols := decode(cands[0]["model.layers.1.mlp.down_proj"].Weights)
	whole, _, all := decode(of[2])
	for r := range rows {
		for j, at := range up.Rows {
			if d := down[r*cols+j] - whole[r*all+at]; d > 0.02 || d < -0.02 {
				t.Fatalf("down at %d, %d is %v, of channel %d %v", r, j, down[r*cols+j], at, whole[r*all+at])
			}
		}
	}
	for _, bad := range []map[string]string{
		{"model.layers.1.mlp": "width-65"},
		{"model.layers.1.mlp": "width-32", "model.layers.1.mlp.up_proj": "gptq-3b-g16"},
		{"model.layers.1.mlp.up_proj": "width-x"},
	} {
		if _, err := s.candidates([]map[string]string{bad}, nil); err == nil || !errors.Is(err, ErrJob) && !errors.Is(err, ErrCandidate) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	// A width of one module alone is found where the candidate is scored.
	cands, err = s.candidates([]map[string]string{{"model.layers.1.mlp.up_proj": "width-32"}}, nil)
	if err == nil {
		_, err = s.model.Score(context.Background(), [][]int32{{1, 2, 3}}, nil, cands, nil)
	}
	if err == nil || !containsAll(err.Error(), "up_proj 32", "gate_proj has 64") {
		t.Errorf("%v", err)
	}
}

// TestWidthExport writes narrower models in every form, and refuses what has none.
func TestWidthExport(t *testing.T) {
	model, dir := tiny(t), t.TempDir()
	text := filepath.Join(dir, "text.txt")
	writeFile(t, text, prose(40*16))
	w := NewWorkbench(Options{Threads: 1})
	defer w.Close()
	alike := "model.layers.0.mlp: width-32\nmodel.layers.1.mlp: width-32\n"
	for i, test := range []struct {
		format, config string
		widths         []int    // of the file
		want           []string // on the card, or of the error
	}{
		{FormatGGUF, "model.layers.0.mlp: width-32\n", []int{32, 64}, []string{"architecture deci", "| model.layers.0.mlp.up_proj | width-32 | f16 | 2048 |"}},
		{FormatGGUF, "model.layers.0.mlp: width-32\nmodel.layers.0.mlp.down_proj: q8_0\nmodel.layers.1.mlp: width-37\nmodel.layers.1.mlp.gate_proj: q5_1",
			[]int{32, 37}, []string{"architecture deci", "| model.layers.0.mlp.down_proj | width-32+q8_0 | q8_0 | 1088 |", "| model.layers.1.mlp.gate_proj | width-37+q5_1 | q5_1 |"}},
		{FormatGGUF, alike + "model.layers.1.mlp.up_proj: q4_0\n", []int{32, 32}, []string{"architecture llama", "width-32+q4_0"}},
		{FormatHuggingFace, alike, []int{32, 32}, []string{"width-32"}},
		{FormatHuggingFace, alike + "model.layers.1.mlp.up_proj: rtn-4b-g32-sym\n", []int{32, 32}, []string{"4b-g32-sym"}},
		{FormatHuggingFace, "model.layers.0.mlp: width-32\n", nil, []string{"layer", "32", "64", "--format gguf"}},
		{FormatGGUF, "model.layers.0.mlp: width-32\nmodel.layers.0.mlp.up_proj: rtn-4b-g32\n", nil, []string{"model.layers.0.mlp.up_proj", "width-32+rtn-4b-g32", "nearest", "q4_0"}},
		{FormatRecipe, alike, nil, []string{"width-32", "llm-compressor"}},
		{FormatEvoPress, alike, nil, []string{"no number"}},
	} {
		config, out := filepath.Join(dir, fmt.Sprint(i, ".txt")), filepath.Join(dir, fmt.Sprint("out", i))
		writeFile(t, config, []byte(test.config))
		in := ExportInput{Model: model, Config: config, Text: text, Format: test.format, Out: out, SeqLen: 16, MaxWindows: 2}
		res, err := w.Export(context.Background(), in, quiet)
		if test.widths == nil {
			if err == nil || !containsAll(err.Error(), test.want...) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s of %q: %v, want it to say %q", test.format, test.config, err, test.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Errorf("%s of %q: refused, and there is a file", test.format, test.config)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s of %q: %v", test.format, test.config, err)
			continue
		}
		if card := string(readFile(t, res.Card)); !containsAll(card, test.want...) {
			t.Errorf("%s of %q: the card does not say %q:\n%s", test.format, test.config, test.want, card)
		}
		for b, n := range test.widths {
			if got := tinyConfig(t, out).Width(b).FFN; got != n {
				t.Errorf("%s of %q: layer %d is %d wide, want %d", test.format, test.config, b, got, n)
			}
		}
		if test.format == FormatHuggingFace && !strings.Contains(string(readFile(t, filepath.Join(out, "config.json"))), `"intermediate_size": 32`) {
			t.Errorf("%q: config.json has another intermediate_size", test.config)
		}
	}
}

// TestWidthSize foretells the size of files, from a folder and from a quantized file.
func TestWidthSize(t *testing.T) {
	dir := t.TempDir()
	in := ExportInput{Model: tiny(t), Config: filepath.Join(dir, "c.txt"), Text: filepath.Join(dir, "text.txt"), Format: FormatGGUF, SeqLen: 16, MaxWindows: 1}
	writeFile(t, in.Text, prose(40*16))
	w := NewWorkbench(Options{Threads: 1})
	defer w.Close()
	for i, config := range []string{
		allModules("q4_0"), // the source of those below
		"model.layers.0.mlp: width-32\n",
		"model.layers.0.mlp: width-64\nmodel.layers.1.mlp: width-40\nmodel.layers.1.mlp.up_proj: q8_0\n",
		"model.layers.0.mlp: width-32\nmodel.layers.0.mlp.down_proj: q8_0\nmodel.layers.1.self_attn: drop\nmodel.layers.1.mlp: width-3\n",
	} {
		writeFile(t, in.Config, []byte(config))
		in.Out = filepath.Join(dir, fmt.Sprint(i, ".gguf"))
		x, err := w.subject(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		size, err := in.size(x)
		x.close()
		if err != nil {
			t.Fatal(err)
		}
		res, err := w.Export(context.Background(), in, quiet)
		if err != nil || res.Bytes != size {
			t.Errorf("%q: %d bytes, foretold were %d; %v", config, res.Bytes, size, err)
		}
		if i == 0 {
			in.Model = in.Out
		}
	}
}
