package evalworker

import (
	"bytes"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/sparseft"
	"github.com/paretopress/paretopress/workflows"
)

// single scores what a training began with, with a delta or without.
func single(t *testing.T, j workflows.FinetuneJob, delta string) SingleResult {
	t.Helper()
	w := NewWorkbench(Options{})
	defer w.Close()
	res, err := w.Single(t.Context(), SingleInput{Model: j.Model, Text: j.Text, Config: j.Config, SeqLen: j.SeqLen, Delta: delta}, quietly)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestDeltaIsWhatWasMeasured: a model with its delta has, on the whole text, a lower KL divergence than without, and takes the bytes that the training says.
func TestDeltaIsWhatWasMeasured(t *testing.T) {
	for _, config := range []bool{true, false} {
		folder := newTraining(t, func(j *workflows.FinetuneJob) {
			if !config {
				j.Config = ""
			}
		})
		out, j := finetune(t, folder, 1), mustJob(t, folder)
		before, after := single(t, j, ""), single(t, j, out.Delta)
		if after.Bytes != out.Bytes || before.Bytes > after.Bytes || config == (before.Bytes == after.Bytes) {
			t.Errorf("%d bytes with the delta, %d without, the training says %d", after.Bytes, before.Bytes, out.Bytes)
		}
		if after.KL == nil || config && !(after.KL.Value < before.KL.Value) || !config && !(after.NLL.Value < before.NLL.Value) {
			t.Errorf("with the delta %+v, without %+v", after, before)
		}
	}
}

// TestDeltaExports writes models with deltas merged, and refuses what would need the delta beside a level.
func TestDeltaExports(t *testing.T) {
	levels := func(pruned bool) func(*workflows.FinetuneJob) {
		return func(j *workflows.FinetuneJob) {
			j.Config = ""
			if pruned {
				j.Config = filepath.Join(t.TempDir(), "levels")
				writeFile(t, j.Config, []byte("model.layers.0.mlp.up_proj: magnitude-0.50\nmodel.layers.1.mlp.up_proj: magnitude-0.50\n"))
			}
		}
	}
	for _, c := range []struct {
		name      string
		change    func(*workflows.FinetuneJob)
		format    string
		simulated bool
		refused   string
	}{
		{"dense", levels(false), FormatGGUF, false, ""},
		{"dense", levels(false), FormatHuggingFace, false, ""},
		{"pruned", levels(true), FormatHuggingFace, false, ""},
		{"pruned", levels(true), FormatGGUF, false, "no type of llama.cpp stores"},
		{"pruned", levels(true), FormatGGUF, true, ""},
		{"quantized", nil, FormatHuggingFace, false, "no runtime loads the delta beside it"},
		{"quantized", nil, FormatHuggingFace, true, ""},
		{"listed", nil, FormatRecipe, false, "has no place for the delta"},
	} {
		folder := newTraining(t, func(j *workflows.FinetuneJob) {
			if c.change != nil {
				c.change(j)
			}
		})
		out, j := finetune(t, folder, 1), mustJob(t, folder)
		w := NewWorkbench(Options{})
		res, err := w.Export(t.Context(), ExportInput{Model: j.Model, Config: j.Config, Delta: out.Delta, Format: c.format, Out: filepath.Join(t.TempDir(), "made"),
			Simulated: c.simulated, Text: j.Text, SeqLen: j.SeqLen, MaxWindows: 2}, quietly)
		w.Close()
		switch {
		case c.refused != "":
			if err == nil || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s, %s: error %v, want one with %q", c.name, c.format, err, c.refused)
			}
		case err != nil:
			t.Errorf("%s, %s: %v", c.name, c.format, err)
		case !bytes.Contains(readFile(t, res.Card), []byte("spiel-ag, 12 steps")):
			t.Errorf("%s, %s: the card does not name the delta", c.name, c.format)
		default:
			plain := single(t, j, "").NLL.Value
			if math.Abs(res.NLLCheck.Exported-plain) < 1e-4 {
				t.Errorf("%s, %s: nothing is merged: %+v, without the delta %v", c.name, c.format, res.NLLCheck, plain)
			}
		}
	}
}

// TestDeltaRefused: a delta of another model, of other levels, or that is none.
func TestDeltaRefused(t *testing.T) {
	folder := newTraining(t, nil)
	out, j := finetune(t, folder, 1), mustJob(t, folder)
	junk, drop := filepath.Join(t.TempDir(), "junk"), filepath.Join(t.TempDir(), "drop")
	writeFile(t, junk, []byte("delta"))
	writeFile(t, drop, append(readFile(t, j.Config), []byte("model.layers.0.mlp: drop\n")...))
	d, err := sparseft.ReadDelta(readFile(t, out.Delta))
	if err != nil {
		t.Fatal(err)
	}
	write := func(change func()) string {
		change()
		var b bytes.Buffer
		if err := d.Write(&b); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "delta")
		writeFile(t, name, b.Bytes())
		return name
	}
	unknown := write(func() { d.Tensors[3].Name = "model.layers.9.mlp.up_proj" })
	other := write(func() { d.Base = strings.Repeat("0", 64) })
	w := NewWorkbench(Options{})
	defer w.Close()
	for _, c := range []struct{ delta, config, want string }{
		{out.Delta, "", "for another base"},
		{out.Delta, drop, "is dropped"},
		{other, j.Config, "for the model 000000000000"},
		{unknown, j.Config, `no linear module "model.layers.9.mlp.up_proj"`},
		{junk, j.Config, "delta"},
		{junk + "none", j.Config, "--delta"},
	} {
		_, err := w.Single(t.Context(), SingleInput{Model: j.Model, Text: j.Text, Config: c.config, SeqLen: j.SeqLen, Delta: c.delta}, quietly)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one with %q", filepath.Base(c.delta), err, c.want)
		}
	}
}
