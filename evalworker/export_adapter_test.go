package evalworker

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/workflows"
)

// lowRankTraining is a training of factors of rank 2 on a configuration.
func lowRankTraining(t *testing.T, config string, change func(*workflows.FinetuneJob)) string {
	t.Helper()
	return newTraining(t, func(j *workflows.FinetuneJob) {
		writeFile(t, j.Config, []byte(config))
		j.Method, j.Density, j.Rank, j.ReselectionSteps, j.SelectionAccumulationSteps = "lora", 0, 2, 0, 0
		if change != nil {
			change(j)
		}
	})
}

// contents are the files in a folder, or a file, by their paths.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[name[len(root):]] = string(readFile(t, name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestAdapterBeside: a delta of low rank on levels that do not take it in is an adapter beside the model that is written without it; together they
// score as the model that was evaluated with the delta.
func TestAdapterBeside(t *testing.T) {
	builtin, err := engine.Open(workflows.Builtin)
	if err != nil {
		t.Fatal(err)
	}
	defer builtin.Close()
	var all strings.Builder
	for _, m := range builtin.Config().Modules() {
		all.WriteString(m.Name + ": q4_0\n")
	}
	shorter := "model.layers.0.self_attn: drop\nmodel.layers.0.mlp: drop\nmodel.layers.1.self_attn.q_proj: "
	for _, c := range []struct {
		name, config, format string
		builtin              bool
		tolerance            float64
	}{
		{"all", all.String(), FormatGGUF, true, sameTolerance},
		{"blocks", allModules("q4_0"), FormatGGUF, false, roundedTolerance}, // the model is of 32 bits, the file's embedding of 16
		{"a block less", shorter + "q4_0", FormatGGUF, false, roundedTolerance},
		{"groups", allModules("rtn-4b-g32"), FormatHuggingFace, false, roundedTolerance},
		{"a layer less", shorter + "int8", FormatHuggingFace, false, roundedTolerance},
	} {
		folder := lowRankTraining(t, c.config, func(j *workflows.FinetuneJob) {
			if c.builtin {
				j.Model, j.Steps, j.LearningRate = workflows.Builtin, 2, 1e-3
			}
		})
		out, j := finetune(t, folder, 1), mustJob(t, folder)
		dir := t.TempDir()
		w := NewWorkbench(Options{})
		defer w.Close()
		in := ExportInput{Model: j.Model, Config: j.Config, Format: c.format, Out: filepath.Join(dir, "m.gguf"), Text: j.Text, SeqLen: j.SeqLen, MaxWindows: 2}
		plain, err := w.Export(t.Context(), in, quietly)
		if err != nil {
			t.Fatal(err)
		}
		before := contents(t, plain.Path)
		os.RemoveAll(plain.Path)
		os.Remove(in.Out + ".md")
		in.Delta = out.Delta
		res, err := w.Export(t.Context(), in, quietly)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want, paths := filepath.Join(dir, "m-lora.gguf"), []string{"m-lora.gguf", "m.gguf", "m.gguf.md"}
		if c.format == FormatHuggingFace {
			want, paths = filepath.Join(in.Out, "adapter"), []string{"m.gguf"}
		}
		size := int64(0)
		for _, data := range contents(t, res.Adapter) {
			size += int64(len(data))
		}
		if res.Adapter != want || res.AdapterBytes != size || res.Bytes != plain.Bytes || !strings.Contains(strings.Join(res.Notes, "\n"), "lora") {
			t.Errorf("%s: %+v, an adapter of %d bytes, without %+v", c.name, res, size, plain)
		}
		after := contents(t, res.Path)
		for name, data := range before {
			if name != "/README.md" && after[name] != data {
				t.Errorf("%s: %s is not what it is without the delta", c.name, name)
			}
		}
		check := res.NLLCheck
		if check.Tolerance != c.tolerance || !(check.Relative <= c.tolerance) || check.Evaluated == plain.NLLCheck.Evaluated || check.Exported == plain.NLLCheck.Exported {
			t.Errorf("%s: %+v, without the delta %+v", c.name, check, plain.NLLCheck)
		}
		if card := string(readFile(t, res.Card)); !containsAll(card, "lora, ", "is the adapter beside the model", filepath.Base(want)) {
			t.Errorf("%s: the card is %s", c.name, card)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != len(paths) {
			t.Errorf("%s: %v, %v", c.name, left, err)
		}
		if c.format != FormatGGUF {
			in.Force = true
			if again, err := w.Export(t.Context(), in, quietly); err != nil || again.AdapterBytes != size {
				t.Errorf("%s: replaced: %+v, %v", c.name, again, err)
			}
			continue
		}
		// What has the adapter's name stays, unless it is to go.
		os.Remove(in.Out)
		os.Remove(res.Card)
		writeFile(t, res.Adapter, []byte("mine"))
		if _, err := w.Export(t.Context(), in, quietly); err == nil || !containsAll(err.Error(), res.Adapter, "--force") || string(readFile(t, res.Adapter)) != "mine" {
			t.Errorf("%s: onto an adapter: %v", c.name, err)
		}
		if _, err := os.Stat(in.Out); err == nil {
			t.Errorf("%s: refused, and there is a model", c.name)
		}
		in.Force = true
		if again, err := w.Export(t.Context(), in, quietly); err != nil || int64(len(readFile(t, again.Adapter))) != size {
			t.Errorf("%s: replaced: %+v, %v", c.name, again, err)
		}
		in.Delta = ""
		if plain, err := w.Export(t.Context(), in, quietly); err != nil || !strings.Contains(strings.Join(plain.Notes, "\n"), res.Adapter) {
			t.Errorf("%s: without the delta beside the adapter of before: %+v, %v", c.name, plain, err)
		}
	}
}

// TestAdapterNotBeside: what is no product of low rank alone is refused, what levels take in is merged.
func TestAdapterNotBeside(t *testing.T) {
	for _, c := range []struct {
		name, config, format string
		change               func(*workflows.FinetuneJob)
		want                 string // in the error; empty: merged
	}{
		{"sums", allModules("q4_0"), FormatGGUF, func(j *workflows.FinetuneJob) { j.Method, j.Density = "dsee", 0.01 }, "--method lora"},
		{"sparse", allModules("rtn-4b-g32"), FormatHuggingFace, func(j *workflows.FinetuneJob) { j.Method, j.Density, j.Rank = "static-random", 0.01, 0 }, "--method lora"},
		{"masked", allModules("magnitude-0.50"), FormatHuggingFace, func(j *workflows.FinetuneJob) { j.LowRank = "merged-masked" }, ""},
		{"dense", "", FormatGGUF, nil, ""},
	} {
		folder := lowRankTraining(t, c.config, c.change)
		out, j := finetune(t, folder, 1), mustJob(t, folder)
		w := NewWorkbench(Options{})
		in := ExportInput{Model: j.Model, Config: j.Config, Delta: out.Delta, Format: c.format, Out: filepath.Join(t.TempDir(), "m"), Text: j.Text, SeqLen: j.SeqLen, MaxWindows: 2}
		res, err := w.Export(context.Background(), in, quietly)
		w.Close()
		switch {
		case c.want != "":
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
			}
		case err != nil || res.Adapter != "" || res.AdapterBytes != 0:
			t.Errorf("%s: %+v, %v", c.name, res, err)
		case !bytes.Contains(readFile(t, res.Card), []byte("is merged")):
			t.Errorf("%s: the card does not say that the delta is merged", c.name)
		}
	}
}

// TestAdapterDiffers: an adapter that is not what the delta is, is no export.
func TestAdapterDiffers(t *testing.T) {
	folder := lowRankTraining(t, allModules("q4_0"), nil)
	out, j := finetune(t, folder, 1), mustJob(t, folder)
	w := NewWorkbench(Options{})
	defer w.Close()
	in := ExportInput{Model: j.Model, Config: j.Config, Delta: out.Delta, Format: FormatGGUF, Out: filepath.Join(t.TempDir(), "m.gguf"), Text: j.Text, SeqLen: j.SeqLen, MaxWindows: 2}
	res, err := w.Export(t.Context(), in, quietly)
	if err != nil {
		t.Fatal(err)
	}
	x, err := w.subject(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	m := newModels(1, 1, 0, nil)
	defer m.close()
	s, err := m.acquire(t.Context(), modelKey{ref: res.Path, numerics: engine.Exact})
	if err != nil {
		t.Fatal(err)
	}
	defer m.release(s)
	made := exported{adapter: res.Adapter, modules: map[string]string{}}
	for _, unit := range x.delta.units() {
		made.modules[unit] = unit
	}
	if c, err := x.readAdapter(s, made); err != nil || len(c) != 14 {
		t.Fatalf("%d modules, %v", len(c), err)
	}
	data := readFile(t, res.Adapter)
	data[len(data)-1] ^= 0x80
	writeFile(t, res.Adapter, data)
	if _, err := x.readAdapter(s, made); err == nil || !containsAll(err.Error(), "other factors", "down_proj") {
		t.Errorf("a sign is another: %v", err)
	}
	writeFile(t, res.Adapter, data[:len(data)/2])
	if _, err := x.readAdapter(s, made); err == nil || !containsAll(err.Error(), "cannot be read back") {
		t.Errorf("half of it: %v", err)
	}
}

// TestHealedAdapterExports: the answer of a search among ggml's types, healed, is the file of the answer and an adapter.
func TestHealedAdapterExports(t *testing.T) {
	const size = 36_000
	folder := newFolder(t, tiny(t), func(j *workflows.Job) {
		deployable(j)
		j.Target, j.Budget, j.CalibrationTokens, j.Heal, j.HealSteps, j.HealLearningRate = fmt.Sprintf("size=%d", size), 60*32, 256, workflows.HealBest, 4, 1e-3
	})
	runLocal(t, folder, Options{})
	w := NewWorkbench(Options{})
	defer w.Close()
	dir := t.TempDir()
	var made []ExportResult
	for _, point := range []string{"best", "best-healed"} {
		res, err := w.Export(t.Context(), ExportInput{Folder: folder, Point: point, Format: FormatGGUF, Out: filepath.Join(dir, point, "m.gguf"), MaxWindows: 2}, quietly)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, res)
	}
	healed := decodeFront(t, folder).Healed[0]
	if !bytes.Equal(readFile(t, made[0].Path), readFile(t, made[1].Path)) || made[1].Adapter != filepath.Join(dir, "best-healed", "m-lora.gguf") || made[1].AdapterBytes < healed.Beside {
		t.Errorf("%+v, before healing %+v", made[1], made[0])
	}
	if whole := made[1].Bytes + made[1].AdapterBytes; whole > size {
		t.Errorf("model and adapter take %d bytes, for a target of %d", whole, size)
	}
	if card := string(readFile(t, made[1].Card)); !containsAll(card, healed.ID, "--lora m-lora.gguf") || made[1].NLLCheck.Evaluated == made[0].NLLCheck.Evaluated {
		t.Errorf("%+v\n%s", made[1].NLLCheck, card)
	}
}
