package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
)

const tinyConfig = `{"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_act":"silu","hidden_size":16,"intermediate_size":24,
	"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"max_position_embeddings":257,"rms_norm_eps":1e-5,
	"initializer_range":0.05,"tie_word_embeddings":true,"vocab_size":1024}`

// tiny are options of a training of a few steps, whose windows change length, and change text before that.
func tiny(t *testing.T, threads int) options {
	t.Helper()
	tokenizer, err := given("", "tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return options{
		Config: []byte(tinyConfig), Tokenizer: tokenizer, Out: filepath.Join(dir, "model"), Checkpoint: filepath.Join(dir, "run.safetensors"),
		Steps: 12, Lengths: []stretch{{0, 32}, {10, 64}}, Batch: 128, Rate: 0.02, Warmup: 2, Decay: 0.5, Every: 4,
		Text: 2000, Threads: threads, Log: io.Discard,
	}
}

// files are what a training wrote.
func files(t *testing.T, o options) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, path := range []string{o.Checkpoint, filepath.Join(o.Out, "model.safetensors"), filepath.Join(o.Out, "config.json"), filepath.Join(o.Out, "tokenizer.json")} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(path)] = data
	}
	return out
}

// stopper ends a training after the line of a step, and keeps the log.
type stopper struct {
	strings.Builder
	after string
	stop  func()
}

func (s *stopper) Write(line []byte) (int, error) {
	if s.after != "" && strings.HasPrefix(string(line), s.after) {
		s.stop()
	}
	return s.Builder.Write(line)
}

// TestTrain: the loss falls, and neither the number of threads nor stops change a byte.
func TestTrain(t *testing.T) {
	one := tiny(t, 1)
	var log strings.Builder
	one.Log = &log
	if err := train(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	var losses []float64
	for line := range strings.Lines(log.String()) {
		var step, tokens int
		var loss, heldOut float64
		if _, err := fmt.Sscanf(line, "step %d tokens %d loss %f held-out %f", &step, &tokens, &loss, &heldOut); err != nil || tokens != step*one.Batch {
			t.Fatalf("%q: %v", line, err)
		}
		losses = append(losses, heldOut)
	}
	if len(losses) != 3 || losses[0] > math.Log(1024) || losses[2] > losses[0]-0.2 {
		t.Errorf("held-out losses %v, want three that fall", losses)
	}

	two := tiny(t, 2)
	for _, after := range []string{"step 4 ", "step 8 ", ""} {
		ctx, cancel := context.WithCancel(t.Context())
		two.Log = &stopper{after: after, stop: cancel}
		if err := train(ctx, two); (after == "") != (err == nil) || err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("a training to %q ends with %v", after, err)
		}
		cancel()
	}
	want := files(t, one)
	for name, data := range files(t, two) {
		if !bytes.Equal(data, want[name]) {
			t.Errorf("%s of two threads and two stops differs", name)
		}
	}

	ck, err := engine.Open(one.Out)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	for _, name := range ck.Names() {
		if x, err := ck.Tensor(name); err != nil || x.Type != "BF16" {
			t.Errorf("%s is of type %s, %v", name, x.Type, err)
		}
	}
}

// TestUpdate holds a step of AdamW to what PyTorch 2.15 makes of it: clip_grad_norm_ to 1, then AdamW with these constants.
func TestUpdate(t *testing.T) {
	p := &parameter{decay: true, weights: []float32{1, -2}, m: make([]float32, 2), v: make([]float32, 2), gradient: []float32{3, -4}}
	free := &parameter{weights: []float32{0.5}, m: []float32{0}, v: []float32{0}, gradient: []float32{12}}
	m := &model{parameters: []*parameter{p, free}}
	m.update(1, 0.01)
	p.gradient[0], p.gradient[1], free.gradient[0] = 0.1, 0.2, -0.1
	m.update(2, 0.01)
	got := append(slices.Clone(p.weights), free.weights...)
	for i, want := range []float32{0.9788240790, -1.9844437838, 0.4840669632} {
		if d := got[i] - want; d > 1e-6 || d < -1e-6 {
			t.Errorf("weight %d is %v, want %v", i, got[i], want)
		}
	}
}

func TestRefused(t *testing.T) {
	change := func(f func(o *options)) options {
		o := tiny(t, 1)
		f(&o)
		return o
	}
	other := tiny(t, 1)
	other.Steps = 1
	if err := train(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	written := files(t, other)["run.safetensors"]
	checkpoint := func(data []byte) options {
		o := tiny(t, 1)
		if err := os.WriteFile(o.Checkpoint, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return o
	}
	edit := func(old, new string) []byte { return bytes.Replace(written, []byte(old), []byte(new), 1) }
	for want, o := range map[string]options{
		"windows of 258 tokens":          change(func(o *options) { o.Lengths[1].Length, o.Batch = 258, 300 }),
		"windows of 64 tokens":           change(func(o *options) { o.Batch = 63 }),
		"rate NaN":                       change(func(o *options) { o.Rate = math.NaN() }),
		"config.json: initializer_range": change(func(o *options) { o.Config = bytes.Replace(o.Config, []byte("0.05"), []byte("-1"), 1) }),
		"model with 1000 tokens":         change(func(o *options) { o.Config = bytes.Replace(o.Config, []byte("1024"), []byte("1000"), 1) }),
		"has 1 windows of 64":            change(func(o *options) { o.Lengths[0].Length, o.Text = 64, 300 }),
		"run.safetensors: tensor":        checkpoint(written[:len(written)-1]),
		"it is of another model":         checkpoint(edit("[16,24]", "[24,16]")),
		"progress":                       checkpoint(edit(`\"step\":1`, `\"step\":0`)),
		"9 windows are used of a text":   checkpoint(edit(`\"length\":32,\"used\":4`, `\"length\":99,\"used\":9`)),
	} {
		if err := train(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestLengths(t *testing.T) {
	got, err := parseLengths("0:256,2000:512")
	if want := []stretch{{0, 256}, {2000, 512}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	o := options{Lengths: got}
	if a, b, c := o.length(0), o.length(1999), o.length(2000); a != 256 || b != 256 || c != 512 {
		t.Errorf("lengths %d, %d, %d", a, b, c)
	}
	for _, s := range []string{"", "1:256", "0:256,0:512", "0", "0:256,x:3"} {
		if _, err := parseLengths(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// BenchmarkStep is a step of the embedded model's training on one thread.
func BenchmarkStep(b *testing.B) {
	o := options{Lengths: []stretch{{0, 256}}, Batch: 2048, Steps: 1 << 20, Rate: 1e-3, Warmup: 100, Every: 1, Text: 1 << 16, Threads: 1}
	var err error
	if o.Config, err = given("", "config.json"); err != nil {
		b.Fatal(err)
	}
	if o.Tokenizer, err = given("", "tokenizer.json"); err != nil {
		b.Fatal(err)
	}
	t, err := newTraining(o)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := t.step(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*o.Batch)/b.Elapsed().Seconds(), "tokens/s")
}
