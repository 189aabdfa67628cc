package evalworker

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/workflows"
)

func TestSingle(t *testing.T) {
	model := tiny(t)
	dir := t.TempDir()
	text, config := filepath.Join(dir, "text.txt"), filepath.Join(dir, "c.txt")
	writeFile(t, text, prose(10*16+3))
	w := NewWorkbench(Options{Threads: 1})
	defer w.Close()
	in := SingleInput{Model: model, Text: text, SeqLen: 16}
	plain, err := w.Single(context.Background(), in, quiet)
	if err != nil {
		t.Fatal(err)
	}
	weights := tinyConfig(t, model).Parameters()
	if plain.Windows != 10 || plain.Tokens != 150 || plain.KL != nil || plain.Bytes != 2*weights || plain.Bits != 16 || !(plain.NLL.Value > 0 && plain.NLL.Error > 0) {
		t.Errorf("dense: %+v", plain)
	}
	in.Config = config
	writeFile(t, config, []byte("# all dense\n"))
	same, err := w.Single(context.Background(), in, quiet)
	if err != nil || same.NLL != plain.NLL || same.KL == nil || same.KL.Value != 0 {
		t.Errorf("a config that changes nothing: %+v, %v", same, err)
	}
	writeFile(t, config, []byte("model.layers.0.mlp.up_proj: rtn-2b-g16\nmodel.layers.1.self_attn: drop\n"))
	worse, err := w.Single(context.Background(), in, quiet)
	if err != nil || !(worse.KL.Value > 0) || worse.Bytes >= plain.Bytes || worse.Bits >= 16 {
		t.Errorf("compressed: %+v, %v", worse, err)
	}
	writeFile(t, config, []byte("model.layers.0.mlp.up_proj: q4_0\nmodel.layers.1.mlp.down_proj: mxfp4\nmodel.layers.1.self_attn.q_proj: q8_0\n"))
	ggml, err := w.Single(context.Background(), in, quiet)
	saved := int64(2*64*32*2+2*32*32) - 64*32/32*(18+17) - 32*34
	if err != nil || !(ggml.KL.Value > 0) || ggml.Bytes != plain.Bytes-saved {
		t.Errorf("types of ggml: %+v, %v; want %d bytes saved", ggml, err, saved)
	}
	writeFile(t, config, []byte("model.layers.0.mlp.up_proj: rtn-2b-g16\nmodel.layers.1.self_attn: drop\n"))
	small := NewWorkbench(Options{Threads: 1, Cache: -1})
	small.teachers.limit = 1
	defer small.Close()
	again, err := small.Single(context.Background(), in, quiet)
	if err != nil || again.NLL != worse.NLL || *again.KL != *worse.KL {
		t.Errorf("a window at a time: %+v, want %+v, %v", again, worse, err)
	}
	if in.MaxWindows = 4; true {
		if few, err := w.Single(context.Background(), in, quiet); err != nil || few.Windows != 4 {
			t.Errorf("%+v, %v", few, err)
		}
	}
}

func TestSingleErrors(t *testing.T) {
	model := tiny(t)
	folder := newFolder(t, model, func(j *workflows.Job) { j.QuantMethod, j.Bits, j.Target = "gptq", []int{4, 5}, "bpw=6" })
	w, p, _ := prepare(t, folder)
	for _, r := range p.Ranges {
		if _, err := w.BuildLevels(context.Background(), workflows.BuildLevelsInput{Folder: folder, From: r[0], To: r[1]}, quiet); err != nil {
			t.Fatal(err)
		}
	}
	text := filepath.Join(folder, "text.txt")
	config := filepath.Join(folder, "c.txt")
	other := filepath.Join(folder, "other")
	b, err := bank.Create(other, bank.Header{Model: "another"})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	good := SingleInput{Model: model, Text: text, Config: config, Bank: p.BankDir, SeqLen: 16}
	for _, c := range []struct {
		name, config string
		change       func(*SingleInput)
		want         []string
	}{
		{name: "no bank", config: "model.layers.0.mlp.up_proj: gptq-4b-g16", change: func(in *SingleInput) { in.Bank = "" }, want: []string{"gptq-4b-g16", "give one with --bank"}},
		{name: "not in the bank", config: "model.layers.0.mlp.up_proj: gptq-3b-g16", want: []string{p.BankDir, "does not have it"}},
		{name: "other model", config: "", change: func(in *SingleInput) { in.Bank = other }, want: []string{"--bank", other}},
		{name: "seq-len", config: "", change: func(in *SingleInput) { in.SeqLen = 65 }, want: []string{"--seq-len 65", "64 positions"}},
		{name: "no text", config: "", change: func(in *SingleInput) { in.Text = "nowhere.txt" }, want: []string{"nowhere.txt"}},
		{name: "no model", config: "", change: func(in *SingleInput) { in.Model = "nowhere" }, want: []string{"nowhere"}},
		{name: "level", config: "model.layers.0.mlp.up_proj: 3b", want: []string{"c.txt:1", "3b"}},
	} {
		writeFile(t, config, []byte(c.config))
		in := good
		if c.change != nil {
			c.change(&in)
		}
		if _, err := w.Single(context.Background(), in, quiet); err == nil || !containsAll(err.Error(), c.want...) {
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.want)
		}
	}
	// EvoPress's integers, by the bits that the bank declares, are the levels of these names.
	writeFile(t, config, []byte("model.layers.0.mlp.up_proj: 4\nmodel.layers.1.self_attn.k_proj: 5\n"))
	short, err := w.Single(context.Background(), good, quiet)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, config, []byte("model.layers.0.mlp.up_proj: gptq-4b-g16\nmodel.layers.1.self_attn.k_proj: gptq-5b-g16\n"))
	long, err := w.Single(context.Background(), good, quiet)
	if err != nil || short.NLL != long.NLL || *short.KL != *long.KL || math.IsNaN(long.NLL.Value) {
		t.Errorf("integers: %+v, names: %+v, %v", short, long, err)
	}
	if dir, err := BankDir(folder); err != nil || dir != p.BankDir {
		t.Errorf("bank %q, %v", dir, err)
	}
	if _, err := BankDir(t.TempDir()); !errors.Is(err, ErrJob) {
		t.Errorf("of no run: %v", err)
	}
	if _, err := os.Stat(filepath.Join(p.BankDir, "manifest.json")); err != nil {
		t.Error(err)
	}
}
