package evalworker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/sparseft"
	"github.com/paretopress/paretopress/workflows"
)

// newTraining makes a training folder for a job on the tiny model with half of its weights pruned, which change may adapt.
func newTraining(t testing.TB, change func(*workflows.FinetuneJob)) string {
	t.Helper()
	folder := t.TempDir()
	text, config := filepath.Join(folder, "text.txt"), filepath.Join(folder, "levels")
	writeFile(t, text, prose(40*16))
	var levels strings.Builder
	for _, m := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
		levels.WriteString("model.layers.0." + m + ": magnitude-0.50\nmodel.layers.1." + m + ": rtn-3b-g16\n")
	}
	writeFile(t, config, []byte(levels.String()))
	job := workflows.FinetuneJob{Model: tiny(t), Config: config, Text: text, SeqLen: 16, Method: "spiel-ag", Density: 0.05, Steps: 12, Batch: 2, Accumulation: 2,
		LearningRate: 3e-3, ReselectionSteps: 4, SelectionAccumulationSteps: 2, Seed: 5}
	if change != nil {
		change(&job)
	}
	if err := WriteFinetuneJob(folder, job); err != nil {
		t.Fatal(err)
	}
	return folder
}

func quietly(workflows.Progress) {}

// preparedBench returns a workbench on which a training folder is prepared.
func preparedBench(t testing.TB, folder string, o Options) *Workbench {
	t.Helper()
	w := NewWorkbench(o)
	t.Cleanup(func() { w.Close() })
	if _, err := w.PrepareFinetune(t.Context(), workflows.PrepareFinetuneInput{Folder: folder}, quietly); err != nil {
		t.Fatal(err)
	}
	return w
}

// finetune runs a training to its end, with an activity for each of the given steps, each on a workbench of its own.
func finetune(t testing.TB, folder string, threads int, stops ...int) workflows.FinishFinetuneResult {
	t.Helper()
	w := NewWorkbench(Options{Threads: threads})
	p, err := w.PrepareFinetune(t.Context(), workflows.PrepareFinetuneInput{Folder: folder}, quietly)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range append(stops, p.Stops...) {
		w.Close()
		w = NewWorkbench(Options{Threads: threads})
		if _, err := w.Train(t.Context(), workflows.TrainInput{Folder: folder, To: to}, quietly); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.FinishFinetune(t.Context(), workflows.FinishFinetuneInput{Folder: folder}, quietly)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	return out
}

// TestFinetune learns: the model is better after than before, at bytes that count what cannot be merged, and pruned weights stay zero.
func TestFinetune(t *testing.T) {
	for _, method := range []string{"spiel-ag", "spiel-ma", "static-grad", "lora", "full"} {
		folder := newTraining(t, func(j *workflows.FinetuneJob) {
			j.Method, j.Steps = method, 30
			if method == "full" {
				j.Density = 0
			}
		})
		out := finetune(t, folder, 1)
		if !(out.After.KL < 0.97*out.Before.KL) || out.Before.Windows != 10 || out.Steps != 30 || out.Tokens != 30*2*2*16 {
			t.Errorf("%s: %+v", method, out)
		}
		delta, err := sparseft.ReadDelta(readFile(t, out.Delta))
		if err != nil {
			t.Fatal(err)
		}
		if out.DeltaBytes != delta.Bytes() || out.Bytes <= 0 {
			t.Errorf("%s: %+v, the delta has %d bytes", method, out, delta.Bytes())
		}
	}
}

// TestFinetuneKeepsZeros: what was pruned is no part of the delta, and costs no byte.
func TestFinetuneKeepsZeros(t *testing.T) {
	folder := newTraining(t, nil)
	w := NewWorkbench(Options{})
	defer w.Close()
	out := finetune(t, folder, 2)
	tr, err := w.training(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	delta, err := readDelta(out.Delta, tr.slot)
	if err != nil {
		t.Fatal(err)
	}
	c, more, err := delta.apply(tr.slot, tr.base)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tr.prepared()
	if err != nil || out.Bytes != p.Bytes+more.beside || out.Regrown != 0 || more.beside <= 0 || more.beside >= out.DeltaBytes {
		t.Errorf("%+v bytes beside the model, the delta has %d, the model %d and after %d (%v)", more, out.DeltaBytes, p.Bytes, out.Bytes, err)
	}
	changed := 0
	for _, name := range []string{"model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj"} {
		before, after := tr.base[name].Weights.(*kernel.Bitmask), c[name].Weights.(*kernel.Bitmask)
		a, b := before.Parts(), after.Parts()
		if !bytes.Equal(a[0].Data, b[0].Data) || before.Bytes() != after.Bytes() {
			t.Errorf("%s has another mask", name)
		}
		if !bytes.Equal(a[1].Data, b[1].Data) {
			changed++
		}
	}
	if changed == 0 {
		t.Error("nothing was trained")
	}
}

// TestFinetuneResumes: interrupted after every step, on any number of threads, a training comes to the same delta.
func TestFinetuneResumes(t *testing.T) {
	for _, method := range []string{"spiel-ag", "spiel-ma"} {
		change := func(j *workflows.FinetuneJob) { j.Method = method }
		one := newTraining(t, change)
		finetune(t, one, 1)
		other := newTraining(t, func(j *workflows.FinetuneJob) {
			change(j)
			j.Model = mustJob(t, one).Model
		})
		finetune(t, other, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
		if !bytes.Equal(readFile(t, filepath.Join(one, deltaFile)), readFile(t, filepath.Join(other, deltaFile))) {
			t.Errorf("%s: an interrupted training comes to another delta", method)
		}
	}
}

// TestFinetuneSavesWhileComputing saves between any two steps and microbatches, on a disk that is full at one time or another: what is saved by then goes on to the
// same delta.
func TestFinetuneSavesWhileComputing(t *testing.T) {
	defer func(p func(time.Duration) time.Duration) { pause = p }(pause)
	one := newTraining(t, nil)
	finetune(t, one, 1)
	pause = func(time.Duration) time.Duration { return -1 }
	defer func() { durable.Fault = nil }()
	for full := range 5 {
		other := newTraining(t, func(j *workflows.FinetuneJob) { j.Model = mustJob(t, one).Model })
		w := preparedBench(t, other, Options{})
		saves := 0
		durable.Fault = func(step, path string) error {
			if filepath.Base(path) != checkpointFile || step != "sync" {
				return nil
			}
			if saves++; saves == full+2 {
				return syscall.ENOSPC
			}
			return nil
		}
		_, err := w.Train(t.Context(), workflows.TrainInput{Folder: other, To: 12}, quietly)
		durable.Fault = nil
		if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") || saves != full+2 {
			t.Fatalf("a full disk at save %d of %d: %v", full+2, saves, err)
		}
		finetune(t, other, 2)
		if !bytes.Equal(readFile(t, filepath.Join(one, deltaFile)), readFile(t, filepath.Join(other, deltaFile))) {
			t.Errorf("a disk that was full at save %d: another delta", full+2)
		}
	}
}

// TestFinetuneTeachers: what the dense model predicts for a window is computed once where there is memory for it, and makes no difference.
func TestFinetuneTeachers(t *testing.T) {
	one := newTraining(t, nil)
	want := finetune(t, one, 2)
	for _, limit := range []int64{1, 1 << 30} {
		other := newTraining(t, func(j *workflows.FinetuneJob) { j.Model = mustJob(t, one).Model })
		w := preparedBench(t, other, Options{Threads: 2})
		w.teachers.limit = limit
		if _, err := w.Train(t.Context(), workflows.TrainInput{Folder: other, To: 12}, quietly); err != nil {
			t.Fatal(err)
		}
		got, err := w.FinishFinetune(t.Context(), workflows.FinishFinetuneInput{Folder: other}, quietly)
		if err != nil || got.After != want.After || !bytes.Equal(readFile(t, filepath.Join(one, deltaFile)), readFile(t, filepath.Join(other, deltaFile))) {
			t.Errorf("with %d bytes for teachers: %+v, %v, want %+v", limit, got.After, err, want.After)
		}
		tr, err := w.training(t.Context(), other)
		if err != nil {
			t.Fatal(err)
		}
		windows := len(tr.train.tokens) + len(tr.heldOut.tokens)
		tr.close()
		if kept := len(w.teachers.kept); limit > 1 && kept != windows || limit == 1 && kept != 1 {
			t.Errorf("with %d bytes for teachers %d of %d windows are kept", limit, kept, windows)
		}
	}
}

// TestFinetunePlan: what a training will do is known before it begins, and nothing is written.
func TestFinetunePlan(t *testing.T) {
	for _, method := range []string{"spiel-ag", "spiel-ma", "static-grad", "lora", "dsee", "full"} {
		folder := newTraining(t, func(j *workflows.FinetuneJob) {
			if j.Method = method; method == "full" {
				j.Density = 0
			}
		})
		plan, err := PlanFinetune(t.Context(), mustJob(t, folder), nil)
		if err != nil {
			t.Fatal(err)
		}
		if files, err := os.ReadDir(folder); err != nil || len(files) != 3 { // the job, its text and its levels
			t.Errorf("%s: %d files, %v", method, len(files), err)
		}
		out := finetune(t, folder, 1)
		if plan.Trainable != out.Trainable || plan.Tokens != out.Tokens || plan.Steps != out.Steps || plan.DeltaBytes != out.DeltaBytes || plan.Bytes+plan.Beside != out.Bytes ||
			plan.Beside != out.Beside || plan.HeldOut != out.Before.Windows || plan.Examples != 30 || plan.Targets != 14 || plan.Method != method || plan.LearningRate != 3e-3 {
			t.Errorf("%s: planned %+v, came out as %+v", method, plan, out)
		}
	}
}

func mustJob(t testing.TB, folder string) workflows.FinetuneJob {
	t.Helper()
	j, err := ReadFinetuneJob(folder)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestFinetuneCancelled saves between two microbatches.
func TestFinetuneCancelled(t *testing.T) {
	folder := newTraining(t, nil)
	w := preparedBench(t, folder, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reports := 0
	_, err := w.Train(ctx, workflows.TrainInput{Folder: folder, To: 12}, func(workflows.Progress) {
		if reports++; reports == 10 { // the third microbatch of the fifth step, say: some way in
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	p, err := w.PrepareFinetune(t.Context(), workflows.PrepareFinetuneInput{Folder: folder}, quietly)
	if err != nil || p.Step != 4 {
		t.Errorf("%d steps are saved, %v", p.Step, err)
	}
	finetune(t, folder, 1)
	whole := newTraining(t, func(j *workflows.FinetuneJob) { j.Model = mustJob(t, folder).Model })
	finetune(t, whole, 1)
	if !bytes.Equal(readFile(t, filepath.Join(folder, deltaFile)), readFile(t, filepath.Join(whole, deltaFile))) {
		t.Error("a cancelled training comes to another delta")
	}
}

// TestFinetuneWithoutAStep: there is nothing to write.
func TestFinetuneWithoutAStep(t *testing.T) {
	folder := newTraining(t, nil)
	w := preparedBench(t, folder, Options{})
	if _, err := w.FinishFinetune(t.Context(), workflows.FinishFinetuneInput{Folder: folder}, quietly); !errors.Is(err, ErrJob) || !strings.Contains(err.Error(), "no step was made") {
		t.Errorf("error %v", err)
	}
}

// TestFinetuneForPEFT writes adapters where PEFT has a layout for them.
func TestFinetuneForPEFT(t *testing.T) {
	for method, kind := range map[string]string{"spiel-ma": "SFT", "lora": "LORA", "full": "", "dsee": ""} {
		folder := newTraining(t, func(j *workflows.FinetuneJob) {
			if j.Method = method; method == "full" {
				j.Density = 0
			}
		})
		out := finetune(t, folder, 1)
		if kind == "" {
			if out.PEFT != "" {
				t.Errorf("%s: there is %s", method, out.PEFT)
			}
			continue
		}
		if config := readFile(t, filepath.Join(out.PEFT, "adapter_config.json")); !strings.Contains(string(config), `"peft_type": "`+kind+`"`) {
			t.Errorf("%s: %s", method, config)
		}
		if len(readFile(t, filepath.Join(out.PEFT, "adapter_model.safetensors"))) < 100 {
			t.Errorf("%s: no weights", method)
		}
	}
}

// TestFinetuneInterruptedWhileComputing loses no step: what is in hand ends, or is dropped before anything of it counts.
func TestFinetuneInterruptedWhileComputing(t *testing.T) {
	folder := newTraining(t, nil)
	w := preparedBench(t, folder, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	made := 0
	_, err := w.Train(ctx, workflows.TrainInput{Folder: folder, To: 12}, func(p workflows.Progress) {
		if made = int(p.Done); made == 3 {
			time.AfterFunc(time.Millisecond, cancel) // within some microbatch
		}
	})
	p, again := w.PrepareFinetune(t.Context(), workflows.PrepareFinetuneInput{Folder: folder}, quietly)
	if again != nil || p.Step != made || made < 3 || err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%d steps are saved of %d, %v, %v", p.Step, made, err, again)
	}
}

func TestFinetuneRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*workflows.FinetuneJob)
		want   string
	}{
		"method":      {func(j *workflows.FinetuneJob) { j.Method = "sgd" }, `"sgd"`},
		"density":     {func(j *workflows.FinetuneJob) { j.Density = 1e-6 }, "leaves none"},
		"both":        {func(j *workflows.FinetuneJob) { j.Params = 10 }, "give one of them"},
		"no text":     {func(j *workflows.FinetuneJob) { j.Text = "" }, "--text"},
		"short text":  {func(j *workflows.FinetuneJob) { j.MaxWindows = 4 }, "windows"},
		"changed":     {func(j *workflows.FinetuneJob) { j.TextDigest = strings.Repeat("0", 64) }, "SHA-256"},
		"few steps":   {func(j *workflows.FinetuneJob) { j.Steps = 2 }, "never reselects"},
		"objective":   {func(j *workflows.FinetuneJob) { j.Objective = "mse" }, "--objective"},
		"temperature": {func(j *workflows.FinetuneJob) { j.Temperature = -1 }, "--temperature"},
		"free":        {func(j *workflows.FinetuneJob) { j.Support = "free" }, "--size"},
		"size":        {func(j *workflows.FinetuneJob) { j.Size = "1MB" }, "--support"},
		"no size":     {func(j *workflows.FinetuneJob) { j.Support, j.Size = "free", "big" }, `"big"`},
		"low rank":    {func(j *workflows.FinetuneJob) { j.Support, j.Size, j.Method = "free", "1MB", "lora" }, "lora has no support"},
		"beside":      {func(j *workflows.FinetuneJob) { j.Support, j.Size = "free", "1MB" }, "rtn-3b-g16, whose delta lies beside it"},
		"not pruned":  {func(j *workflows.FinetuneJob) { j.Support, j.Size, j.Config = "free", "1MB", "" }, "no pruned weights"},
		"pattern": {func(j *workflows.FinetuneJob) {
			j.Support, j.Size, j.Config = "free", "1MB", levelsFile(t, "magnitude-2:4")
		}, "its pattern 2:4"},
		"no room": {func(j *workflows.FinetuneJob) {
			j.Support, j.Size, j.Config = "free", "20kB", levelsFile(t, "magnitude-0.50")
		}, "leaves no room"},
	} {
		w := NewWorkbench(Options{})
		folder := newTraining(t, test.change)
		_, err := w.PrepareFinetune(t.Context(), workflows.PrepareFinetuneInput{Folder: folder}, quietly)
		if job, invalid := ReadFinetuneJob(folder); invalid == nil {
			if found := CheckFinetune(t.Context(), job, nil); found == nil || err == nil || found.Error() != err.Error() {
				t.Errorf("%s: checked before, the error is %v, then %v", name, found, err)
			}
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
		w.Close()
	}
}

// TestFinetuneDiverges: what no retry can mend says where the last good state is.
func TestFinetuneDiverges(t *testing.T) {
	tr := &training{folder: "f"}
	for _, err := range []error{fmt.Errorf("step 3: %w: the loss is NaN", sparseft.ErrDiverged), fmt.Errorf("step 4: %w", engine.ErrNotFinite)} {
		got := tr.explain(err)
		if !errors.Is(got, ErrJob) || !strings.Contains(got.Error(), "step ") || !strings.Contains(got.Error(), filepath.Join("f", checkpointFile)+" holds the last good state") {
			t.Errorf("error %v", got)
		}
	}
	if err := tr.explain(context.Canceled); errors.Is(err, ErrJob) {
		t.Error("an interruption is for good")
	}
}

// TestFinetuneInstructions learns from the answers of JSON lines.
func TestFinetuneInstructions(t *testing.T) {
	var lines strings.Builder
	for i := range 24 {
		lines.WriteString(`{"prompt": "q` + strings.Repeat("x", i%3) + `", "completion": "aaaa"}` + "\n")
	}
	folder := newTraining(t, func(j *workflows.FinetuneJob) {
		j.Text = filepath.Join(t.TempDir(), "data.jsonl")
		writeFile(t, j.Text, []byte(lines.String()))
		j.Objective, j.Method, j.Density, j.Config, j.Steps = workflows.ObjectiveNLL, "full", 0, "", 10
	})
	out := finetune(t, folder, 1)
	if !(out.After.NLL < 0.7*out.Before.NLL) || out.Before.Windows != 6 {
		t.Errorf("%+v", out)
	}
}
