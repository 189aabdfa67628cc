package evalworker

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/internal/kernel"
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
	if _, ok := packed.(*kernel.GGML); !ok {
		t.Fatalf("%s is stored as %T", level, packed)
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

func TestDeployableRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*workflows.Job)
		want   string
	}{
		"unknown runtime":     {func(j *workflows.Job) { j.Deployable = "abacus" }, "--deployable"},
		"zeros save nothing":  {func(j *workflows.Job) { j.Space = workflows.SpaceSparsity }, "saves bytes with --space quant alone"},
		"bits are not ggml's": {func(j *workflows.Job) { j.Bits = []int{3} }, "--types"},
		"twice":               {func(j *workflows.Job) { j.Types = []string{"q8_0", "q8_0"} }, "twice"},
		"types alone":         {func(j *workflows.Job) { j.Deployable, j.Types = "", []string{"q8_0"} }, "--deployable gguf"},
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
	for types, want := range map[string]string{"q9_9": `no type "q9_9"`, "q4_K": "rows of a multiple of 256"} {
		j := workflows.Job{Model: workflows.Builtin}
		deployable(&j)
		j.Types = []string{types}
		j.SetDefaults()
		if _, err := SpaceOf(ck, j); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("types %s: error %v, want one with %q", types, err, want)
		}
	}
}
