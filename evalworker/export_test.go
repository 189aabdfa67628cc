package evalworker

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/workflows"
)

// TestExport writes a configuration of the builtin model, and finds in the file what it should hold.
func TestExport(t *testing.T) {
	dir := t.TempDir()
	config, out, types := filepath.Join(dir, "c.txt"), filepath.Join(dir, "new", "m.gguf"), filepath.Join(dir, "types.txt")
	writeFile(t, config, []byte("model.layers.0.mlp.up_proj: q8_0\nmodel.layers.1.mlp.down_proj: q4_0\nmodel.layers.2.self_attn: drop\nmodel.layers.3.self_attn: drop\nmodel.layers.3.mlp: drop\n"))
	w := NewWorkbench(Options{Threads: 1})
	defer w.Close()
	in := ExportInput{Model: workflows.Builtin, Config: config, Format: FormatGGUF, Out: out, TensorTypes: types, SeqLen: 64, MaxWindows: 2, Command: "paretopress export -x"}
	res, err := w.Export(context.Background(), in, quiet)
	if err != nil {
		t.Fatal(err)
	}
	c := res.NLLCheck
	if info, err := os.Stat(out); err != nil || info.Size() != res.Bytes || res.Path != out {
		t.Errorf("%+v, %v", res, err)
	}
	if c.Tokens != 2*63 || c.Windows[0]%4 != 3 || c.Tolerance != sameTolerance || !(c.Evaluated > 0) || math.Abs(c.Exported-c.Evaluated) > 1e-6*c.Evaluated {
		t.Errorf("%+v", c)
	}
	ck, err := engine.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	base, err := engine.Open(workflows.Builtin)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	got := ck.Config()
	if got.Layers != base.Config().Layers-1 || got.Has(2, 0) || !got.Has(2, 1) || !got.Has(1, 0) {
		t.Errorf("%+v", got)
	}
	if x, err := ck.Tensor("model.layers.1.mlp.down_proj.weight"); err != nil || x.Type != "Q4_0" {
		t.Errorf("%s, %v", x.Type, err)
	}
	card := string(readFile(t, res.Card))
	digest, err := base.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{digest, "architecture deci", "paretopress export -x", "Dropped: `model.layers.2.self_attn`, `model.layers.3.self_attn`, `model.layers.3.mlp`.", "| model.layers.0.mlp.up_proj | q8_0 | q8_0 |"} {
		if !strings.Contains(card, want) {
			t.Errorf("the card does not say %q:\n%s", want, card)
		}
	}
	if list := string(readFile(t, types)); !strings.Contains(list, "^blk\\.0\\.ffn_up\\.weight$=q8_0\n") {
		t.Errorf("types %s", list)
	}
	left, err := os.ReadDir(filepath.Dir(out))
	if err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}

	// The file is a model as any other; what is there already stays unless it is to go.
	in = ExportInput{Model: out, Format: FormatGGUF, Out: out, SeqLen: 64, MaxWindows: 1}
	if _, err := w.Export(context.Background(), in, quiet); err == nil || !containsAll(err.Error(), out, "--force") {
		t.Errorf("onto the file: %v", err)
	}
	in.Out = filepath.Join(dir, "again.gguf")
	again, err := w.Export(context.Background(), in, quiet)
	if err != nil || string(readFile(t, in.Out)) != string(readFile(t, out)) {
		t.Errorf("again: %+v, %v", again, err)
	}
	writeFile(t, in.Out, []byte("old"))
	in.Force = true
	if _, err := w.Export(context.Background(), in, quiet); err != nil || string(readFile(t, in.Out)) != string(readFile(t, out)) {
		t.Errorf("replaced: %v", err)
	}
}

// TestExportRun writes points of a run, and refuses what no type stores.
func TestExportRun(t *testing.T) {
	folder := newFolder(t, tiny(t), nil)
	runLocal(t, folder, Options{Threads: 1})
	front := decodeFront(t, folder)
	w := NewWorkbench(Options{Threads: 1})
	defer w.Close()
	dir := t.TempDir()
	in := ExportInput{Folder: folder, Point: "best", Format: FormatGGUF, Out: filepath.Join(dir, "m.gguf"), MaxWindows: 3}
	if _, err := w.Export(context.Background(), in, quiet); err == nil || !containsAll(err.Error(), "-g16", "nearest") {
		t.Errorf("groups: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	in.Simulated = true
	res, err := w.Export(context.Background(), in, quiet)
	if err != nil {
		t.Fatal(err)
	}
	point, err := front.Find("best")
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Rounded) == 0 || res.NLLCheck.Tolerance != roundedTolerance || len(res.NLLCheck.Windows) != 3 {
		t.Errorf("%+v", res)
	}
	card := string(readFile(t, res.Card))
	for _, want := range []string{front.Model, front.HeldOutText, "| seed of the search | 3 |", "this point, " + point.ID, "| dense |"} {
		if !strings.Contains(card, want) {
			t.Errorf("the card does not say %q:\n%s", want, card)
		}
	}
	in.Point, in.Out = "zzz", filepath.Join(dir, "n.gguf")
	if _, err := w.Export(context.Background(), in, quiet); err == nil || !containsAll(err.Error(), "zzz") {
		t.Errorf("no point: %v", err)
	}
	in.Point, in.Format = point.ID[:6], FormatHuggingFace
	res, err = w.Export(context.Background(), in, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ck, err := engine.Open(res.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	if card := string(readFile(t, filepath.Join(res.Path, "README.md"))); !strings.Contains(card, point.ID) || res.NLLCheck.Relative > res.NLLCheck.Tolerance {
		t.Errorf("%+v\n%s", res, card)
	}
	in.Runtime, in.Out = "abacus", filepath.Join(dir, "other")
	if _, err := w.Export(context.Background(), in, quiet); err == nil || !containsAll(err.Error(), "abacus") {
		t.Errorf("unknown runtime: %v", err)
	}
}

// TestFind names points of a front.
func TestFind(t *testing.T) {
	at := func(id string, kl float64) Compressed {
		return Compressed{ID: id, Config: id, HeldOut: &Measured{KL: Mean{Value: kl}}}
	}
	f := Front{
		Points:    []Point{{Compressed: at("abc1", 3), Answer: true}, {Compressed: at("abd2", 2), Answer: true}, {Compressed: at("f003", 1)}},
		Baselines: []Baseline{{Compressed: at("f003", 1)}, {Compressed: at("e123", 5)}},
	}
	for id, want := range map[string]string{"best": "abd2", "abc1": "abc1", "abc": "abc1", "e": "e123", "f": "f003"} {
		if got, err := f.Find(id); err != nil || got.ID != want {
			t.Errorf("%s is %s, %v, want %s", id, got.ID, err, want)
		}
	}
	for id, want := range map[string]string{"ab": "2 points", "x": `"x"`, "": `""`} {
		if _, err := f.Find(id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want it to say %s", id, err, want)
		}
	}
	if _, err := (Front{}).Find("best"); err == nil {
		t.Error("an empty front has a best point")
	}
}

// TestExportSmolLM2 writes a mixture of a real model, whose other tensors and metadata stay as they are.
func TestExportSmolLM2(t *testing.T) {
	model := os.Getenv("PARETOPRESS_SMOLLM2")
	if model == "" {
		t.Skip("PARETOPRESS_SMOLLM2 does not name the .gguf file")
	}
	dir := os.Getenv("PARETOPRESS_GGUF_OUT") // see export's tests
	if dir == "" {
		dir = t.TempDir()
	}
	w := NewWorkbench(Options{})
	defer w.Close()
	for name, test := range map[string]struct {
		config   string
		relative float64 // by which the file's NLL may differ
		bytes    int64   // that it has at most
	}{
		"smollm2.gguf": {"model.layers.0.mlp.up_proj: q8_0\nmodel.layers.1.mlp.down_proj: q3_K\nmodel.layers.2.self_attn.q_proj: iq4_nl\n" +
			"model.layers.3.self_attn: drop\nmodel.layers.0.self_attn: drop\nmodel.layers.29.mlp: drop\nmodel.layers.20.self_attn: drop\nmodel.layers.20.mlp: drop\n", 1e-9, 100e6},
		// Columns that stay are 16 bits of what they were, those of a type are what was evaluated.
		"smollm2-widths.gguf": {"model.layers.5.mlp: width-1280\nmodel.layers.7.mlp: width-1024\nmodel.layers.7.mlp.down_proj: q6_K\nmodel.layers.12.mlp: width-800\n" +
			"model.layers.12.mlp.down_proj: q8_0\nmodel.layers.12.mlp.up_proj: q5_0\nmodel.layers.21.mlp: width-1500\nmodel.layers.3.self_attn: drop\nmodel.layers.1.self_attn.v_proj: q8_0\n", roundedTolerance, 99e6},
	} {
		in := ExportInput{Model: model, Config: filepath.Join(t.TempDir(), "c.txt"), Format: FormatGGUF, Out: filepath.Join(dir, name), SeqLen: 64, MaxWindows: 1}
		writeFile(t, in.Config, []byte(test.config))
		res, err := w.Export(context.Background(), in, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if res.NLLCheck.Relative > test.relative || res.Bytes > test.bytes || res.Format != FormatGGUF {
			t.Errorf("%+v", res)
		}
		t.Logf("%s: %d bytes, NLL %v, of the candidate %v", name, res.Bytes, res.NLLCheck.Exported, res.NLLCheck.Evaluated)
		carried(t, model, in.Out)
	}
}

// carried holds that a file of architecture deci has the metadata of the Llama model that it is of, but for what differs.
func carried(t *testing.T, model, file string) {
	t.Helper()
	got, err := engine.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	base, err := engine.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	have := map[string]string{}
	for _, k := range got.Metadata() {
		have[k.Key] = string(k.Value)
	}
	for _, k := range base.Metadata() {
		key, own := strings.CutPrefix(k.Key, "llama.")
		if own {
			key = "deci." + key
		}
		switch key {
		case "general.architecture", "general.file_type", "deci.block_count", "deci.attention.head_count", "deci.attention.head_count_kv", "deci.feed_forward_length":
			continue
		}
		if !own {
			key = k.Key
		}
		if have[key] != string(k.Value) {
			t.Errorf("%s is not what it was", k.Key)
		}
	}
}

// TestExportLists writes levels for other programs, and finds there what they read.
func TestExportLists(t *testing.T) {
	dir, model := t.TempDir(), tiny(t)
	w := NewWorkbench(Options{Threads: 1})
	defer w.Close()
	text := filepath.Join(dir, "text")
	writeFile(t, text, prose(40*16))
	for name, test := range map[string]struct {
		format, config string
		want           []string // in the file, or in the error where refused
		refused        bool
	}{
		"recipe":          {FormatRecipe, "model.layers.0.mlp.up_proj: rtn-4b-g32", []string{"QuantizationModifier", "num_bits: 4"}, false},
		"recipe of ggml":  {FormatRecipe, "model.layers.0.mlp.up_proj: q8_0", []string{"model.layers.0.mlp.up_proj"}, true},
		"evopress levels": {FormatEvoPress, allModules("rtn-4b-g32"), []string{"model.layers.1.self_attn.o_proj: 4\n"}, false},
		"evopress drops":  {FormatEvoPress, "model.layers.0.self_attn: drop", []string{"attn\nnone\n"}, false},
		"both":            {FormatEvoPress, "model.layers.0.self_attn: drop\nmodel.layers.1.mlp.up_proj: rtn-4b-g32", []string{"model.layers.1.mlp.up_proj"}, true},
	} {
		config, out := filepath.Join(dir, name+".config"), filepath.Join(dir, name+".out")
		writeFile(t, config, []byte(test.config))
		in := ExportInput{Model: model, Config: config, Text: text, Format: test.format, Out: out, SeqLen: 16, MaxWindows: 1}
		res, err := w.Export(context.Background(), in, quiet)
		if test.refused {
			if err == nil || !containsAll(err.Error(), test.want...) {
				t.Errorf("%s: error %v, want one with %q", name, err, test.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Errorf("%s: refused, and there is a file", name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := string(readFile(t, out)); !containsAll(got, test.want...) || res.Bytes != int64(len(got)) || res.NLLCheck != nil {
			t.Errorf("%s: %+v\n%s", name, res, got)
		}
		if _, err := w.Export(context.Background(), in, quiet); err == nil || !containsAll(err.Error(), "--force") {
			t.Errorf("%s, onto the file: %v", name, err)
		}
	}
}

// allModules is a config that gives every module of the tiny model a level.
func allModules(level string) string {
	var b strings.Builder
	for l := range 2 {
		for _, m := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
			fmt.Fprintf(&b, "model.layers.%d.%s: %s\n", l, m, level)
		}
	}
	return b.String()
}
