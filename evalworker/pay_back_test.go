package evalworker

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/workflows"
)

// levelsFile is a file that gives the MLP of block 0 a level.
func levelsFile(t *testing.T, level string) string {
	t.Helper()
	var b strings.Builder
	for _, m := range []string{"gate_proj", "up_proj", "down_proj"} {
		fmt.Fprintf(&b, "model.layers.0.mlp.%s: %s\n", m, level)
	}
	name := filepath.Join(t.TempDir(), "levels")
	writeFile(t, name, []byte(b.String()))
	return name
}

// TestPayBack prunes a model beyond a size and trains it with that size to spend: weights that were pruned come back, the model is better than
// without, and its bytes are within the size, in the result, in what eval counts and in what is merged.
func TestPayBack(t *testing.T) {
	source, err := readSource("", "")
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "text")
	writeFile(t, text, source.data[:4<<10])
	model := tiny(t)
	for _, c := range []struct{ model, method string }{
		{workflows.Builtin, "spiel-ag"}, {model, "spiel-ma"}, {model, "static-grad"}, {model, "static-random"},
	} {
		name := filepath.Base(c.model) + ", " + c.method
		change := func(j *workflows.FinetuneJob) {
			j.Model, j.Method, j.Config = c.model, c.method, levelsFile(t, "magnitude-0.90")
			if c.model == workflows.Builtin {
				j.Text, j.SeqLen = text, 32
			}
		}
		before := single(t, mustJob(t, newTraining(t, change)), "").Bytes
		may := single(t, mustJob(t, newTraining(t, func(j *workflows.FinetuneJob) { change(j); j.Config = levelsFile(t, "magnitude-0.80") })), "").Bytes
		free := func(j *workflows.FinetuneJob) {
			change(j)
			j.Support, j.Size = workflows.SupportFree, fmt.Sprint(may)
		}
		folder := newTraining(t, free)
		job := mustJob(t, folder)
		plan, err := PlanFinetune(t.Context(), job, nil)
		if err != nil || plan.Bytes != before || plan.Bytes+weightBytes*plan.Regrow > may || plan.Beside != 0 {
			t.Errorf("%s: the plan is %+v, %v", name, plan, err)
		}
		out := finetune(t, folder, 1)
		if out.Bytes > may || out.Bytes != before+out.Regrown || out.Regrown > weightBytes*plan.Regrow || out.Beside != 0 || !(out.After.KL < out.Before.KL) {
			t.Errorf("%s: %d bytes before, %d may be, the plan is %+v, out comes %+v", name, before, may, plan, out)
		}
		if room := may - before; out.Regrown < room/8 || single(t, job, out.Delta).Bytes != out.Bytes {
			t.Errorf("%s: %d bytes of %d came back, the model has %d", name, out.Regrown, room, out.Bytes)
		}
		w := NewWorkbench(Options{})
		if came, more := comeBack(t, w, folder, out.Delta); int64(came)*weightBytes != out.Regrown || more != out.Regrown {
			t.Errorf("%s: %d weights are outside the masks and the modules take %d bytes more, the training says %d", name, came, more, out.Regrown)
		}
		in := ExportInput{Model: job.Model, Config: job.Config, Delta: out.Delta, Format: FormatHuggingFace, Out: filepath.Join(t.TempDir(), "m"), Text: job.Text, SeqLen: job.SeqLen, MaxWindows: 2}
		if _, err := w.Export(t.Context(), in, quietly); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		w.Close()
		again := newTraining(t, func(j *workflows.FinetuneJob) { free(j); j.Text = job.Text })
		finetune(t, again, 2, 1, 3, 7)
		if !bytes.Equal(readFile(t, out.Delta), readFile(t, filepath.Join(again, deltaFile))) {
			t.Errorf("%s: an interrupted training comes to another delta", name)
		}
	}
}

// comeBack counts the weights of a training's merged modules that were pruned before, and the bytes that these modules take more.
func comeBack(t *testing.T, w *Workbench, folder, file string) (came int, more int64) {
	t.Helper()
	tr, err := w.training(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	delta, err := readDelta(file, tr.slot)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := delta.apply(tr.slot, tr.base)
	if err != nil {
		t.Fatal(err)
	}
	for name, level := range tr.base {
		before, after := level.Weights.(*kernel.Bitmask), c[name].Weights.(*kernel.Bitmask)
		kept := map[int]bool{}
		before.Kept(func(i int) { kept[i] = true })
		after.Kept(func(i int) {
			if !kept[i] {
				came++
			}
			delete(kept, i)
		})
		if len(kept) > 0 {
			t.Errorf("%s has lost %d weights", name, len(kept))
		}
		more += after.Bytes() - before.Bytes()
	}
	return came, more
}
