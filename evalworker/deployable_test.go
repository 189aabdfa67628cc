package evalworker

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// deployable is a job for llama.cpp.
func deployable(j *workflows.Job) {
	*j = workflows.Job{Model: j.Model, Text: j.Text, SeqLen: 32, Space: workflows.SpaceQuant, Deployable: workflows.DeployableGGUF, Seed: 1}
}

// TestDeployableBytes holds that the size of a candidate is that of its file, to the byte.
func TestDeployableBytes(t *testing.T) {
	for _, model := range []string{tiny(t), workflows.Builtin} {
		ck, err := engine.Open(model)
		if err != nil {
			t.Fatal(err)
		}
		defer ck.Close()
		job := workflows.Job{Model: model, Text: "x"}
		deployable(&job)
		job.QuantMethod = workflows.QuantRTN
		job.SetDefaults()
		if err := job.Validate(); err != nil {
			t.Fatal(err)
		}
		s, err := SpaceOf(ck, job)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Loose || s.Units[0].Name != unitEmbedding {
			t.Errorf("%s: loose %v, the first unit is %s", model, s.Loose, s.Units[0].Name)
		}
		rng := rand.New(rand.NewPCG(3, 4))
		for range 3 {
			c := make(search.Candidate, len(s.Units))
			cand := engine.Candidate{}
			for i, u := range s.Units {
				c[i] = rng.IntN(len(u.Levels))
				cand[u.Name] = built(t, ck, u.Name, u.Levels[c[i]].Name)
			}
			path := filepath.Join(t.TempDir(), "x.gguf")
			res, err := export.GGUF(path, ck, cand, export.GGUFOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if want := s.Bytes(c); res.Bytes != want || int64(len(readFile(t, path))) != want {
				t.Errorf("%s: the file has %d bytes, the space says %d", model, res.Bytes, want)
			}
		}
	}
}

// TestDeployableFolderBytes holds that the size of a candidate is that of its model.safetensors, to the byte, and that nothing of a space is refused by the
// export for the runtime.
func TestDeployableFolderBytes(t *testing.T) {
	types := []string{"dense", "int8", "fp8", "8b-g32-sym", "4b-g32", "4b-gall-sym", "4b-g128"}
	for _, runtime := range []string{workflows.DeployableVLLM, workflows.DeployableTransformers} {
		for _, model := range []string{tiny(t), workflows.Builtin} {
			ck, err := engine.Open(model)
			if err != nil {
				t.Fatal(err)
			}
			defer ck.Close()
			job := workflows.Job{Model: model, Text: "x", Space: workflows.SpaceQuant, Deployable: runtime, QuantMethod: workflows.QuantRTN, Types: types}
			job.SetDefaults()
			if err := job.Validate(); err != nil {
				t.Fatal(err)
			}
			s, err := SpaceOf(ck, job)
			if err != nil {
				t.Fatal(err)
			}
			fused := runtime == workflows.DeployableVLLM
			if want := map[bool]int{true: 4, false: 7}[fused] * ck.Config().Layers; len(s.Units) != want || len(s.Units[0].Levels) < 5 {
				t.Errorf("%s on %s: %d units, want %d; the first is %+v", model, runtime, len(s.Units), want, s.Units[0])
			}
			rng := rand.New(rand.NewPCG(3, 4))
			for range 3 {
				c := make(search.Candidate, len(s.Units))
				for i, u := range s.Units {
					c[i] = rng.IntN(len(u.Levels))
				}
				cand := engine.Candidate{}
				for _, l := range s.Config(c) {
					if l[1] != LevelDense {
						cand[l[0]] = built(t, ck, l[0], l[1])
					}
				}
				dir := filepath.Join(t.TempDir(), "x")
				if _, err := export.HuggingFace(dir, ck, cand, export.HFOptions{Format: export.FormatCompressed, Runtime: runtime}); err != nil {
					t.Fatal(err)
				}
				if got, want := int64(len(readFile(t, filepath.Join(dir, "model.safetensors")))), s.Bytes(c); got != want {
					t.Errorf("%s on %s: the file has %d bytes, the space says %d", model, runtime, got, want)
				}
			}
		}
	}
}

// built makes a level of a module that needs no calibration.
func built(t *testing.T, ck *engine.Checkpoint, unit, level string) engine.Level {
	t.Helper()
	dense, err := engine.Dense(ck, unit)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ParseLevel(level)
	if err != nil {
		t.Fatal(err)
	}
	w, rows, cols := decode(dense)
	packed, err := l.build(w, rows, cols, nil)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Level{Name: level, Weights: packed}
}

// TestDeployableRun runs a job for llama.cpp to its end: embeddings are calibrated and searched over, and the answer keeps
// to the size that was asked for.
func TestDeployableRun(t *testing.T) {
	const size = 32_000
	folder := newFolder(t, tiny(t), func(j *workflows.Job) {
		deployable(j)
		j.Target, j.Budget, j.CalibrationTokens = "size=32kB", 60*32, 256
	})
	if _, err := RunLocal(t.Context(), folder, 0, Options{}, nil); err != nil {
		t.Fatal(err)
	}
	f := decodeFront(t, folder)
	answers := 0
	for _, p := range f.Points {
		if p.Answer {
			answers++
			config := string(readFile(t, filepath.Join(folder, p.Config)))
			if p.Bytes > size || p.Bytes < size*9/10 || !strings.Contains(config, unitEmbedding+": gptq-") {
				t.Errorf("an answer of %d bytes:\n%s", p.Bytes, config)
			}
		}
	}
	if answers != 1 {
		t.Errorf("%d answers", answers)
	}
}

// TestDeployableFolderRun runs a job for vLLM to its end and exports its answer: modules that vLLM makes one matrix of have one level.
func TestDeployableFolderRun(t *testing.T) {
	const size = 38_000
	folder := newFolder(t, tiny(t), func(j *workflows.Job) {
		deployable(j)
		j.Deployable, j.Target, j.Budget, j.CalibrationTokens = workflows.DeployableVLLM, "size=38kB", 60*32, 256
	})
	w := NewWorkbench(Options{})
	defer w.Close()
	if _, err := RunLocal(t.Context(), folder, 0, Options{}, nil); err != nil {
		t.Fatal(err)
	}
	f := decodeFront(t, folder)
	best, err := f.Find("best")
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "model")
	in := ExportInput{Folder: folder, Point: "best", Format: FormatHuggingFace, Runtime: workflows.DeployableVLLM, Out: out, MaxWindows: 2}
	if _, err := w.Export(t.Context(), in, func(workflows.Progress) {}); err != nil {
		t.Fatal(err)
	}
	if got := int64(len(readFile(t, filepath.Join(out, "model.safetensors")))); got != best.Bytes || got > size || got < size*9/10 {
		t.Errorf("the file has %d bytes, the front says %d, %d were asked for", got, best.Bytes, size)
	}
	levels := map[string]string{}
	for line := range strings.Lines(string(readFile(t, filepath.Join(folder, best.Config)))) {
		unit, level, _ := strings.Cut(strings.TrimSpace(line), ": ")
		levels[unit] = level
	}
	for _, same := range [][]string{{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, {"mlp.gate_proj", "mlp.up_proj"}} {
		for _, m := range same {
			if a, b := levels["model.layers.1."+same[0]], levels["model.layers.1."+m]; a == "" || a != b {
				t.Errorf("%s has level %q, %s %q", same[0], a, m, b)
			}
		}
	}
}

// TestExportOutline refuses what a runtime does not load before anything is scored.
func TestExportOutline(t *testing.T) {
	w := NewWorkbench(Options{})
	defer w.Close()
	config := filepath.Join(t.TempDir(), "config")
	writeFile(t, config, []byte("model.layers.0.self_attn.q_proj: rtn-4b-g32\n"))
	in := ExportInput{Model: tiny(t), Config: config, Format: FormatHuggingFace, Runtime: workflows.DeployableVLLM, Out: filepath.Join(t.TempDir(), "m"), SeqLen: 16, MaxWindows: 1}
	began := false
	_, err := w.Export(t.Context(), in, func(workflows.Progress) { began = true })
	if err == nil || !strings.Contains(err.Error(), "into one matrix") || began {
		t.Errorf("error %v, after work: %v", err, began)
	}
}

func TestDeployableRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*workflows.Job)
		want   string
	}{
		"unknown runtime":     {func(j *workflows.Job) { j.Deployable = "abacus" }, "--deployable"},
		"zeros save nothing":  {func(j *workflows.Job) { j.Space = workflows.SpaceSparsity }, "saves bytes with --space quant alone"},
		"bits are not ggml's": {func(j *workflows.Job) { j.Bits = []int{3} }, "--types"},
		"twice":               {func(j *workflows.Job) { j.Types = []string{"q8_0", "q8_0"} }, "twice"},
		"types alone":         {func(j *workflows.Job) { j.Deployable, j.Types = "", []string{"q8_0"} }, "--deployable"},
		"importance of ggml":  {func(j *workflows.Job) { j.Deployable, j.QuantMethod = "vllm", "imatrix" }, "--quant-method"},
	} {
		j := workflows.Job{Model: workflows.Builtin}
		deployable(&j)
		test.change(&j)
		j.SetDefaults()
		if err := j.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
	}
	ck, err := engine.Open(tiny(t))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	for types, want := range map[string]string{"gguf q9_9": `no type "q9_9"`, "gguf q4_K": "rows of a multiple of 256", "vllm q4_K": "no form for gptq-q4_K",
		"vllm 4b-g16": "groups of 16", "vllm 8b-g32": "8 bits with zeros", "vllm 5b-g32": "takes 4 and 8 bits", "transformers 4b-g5": "divide a row", "transformers gall": "want one like"} {
		j := workflows.Job{Model: workflows.Builtin}
		deployable(&j)
		runtime, types, _ := strings.Cut(types, " ")
		j.Deployable, j.Types = runtime, []string{types}
		j.SetDefaults()
		if _, err := SpaceOf(ck, j); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("types %s: error %v, want one with %q", types, err, want)
		}
	}
}
