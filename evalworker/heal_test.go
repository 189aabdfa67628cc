package evalworker

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/workflows"
)

// healingFolder makes a run folder whose answers are healed.
func healingFolder(t *testing.T, change func(*workflows.Job)) string {
	return newFolder(t, tiny(t), func(j *workflows.Job) {
		j.Heal, j.HealMethod, j.HealSteps, j.HealDensity, j.Target = workflows.HealBest, "spiel-ag", 8, 0.02, "bpw=7"
		if change != nil {
			change(j)
		}
	})
}

// TestHealing: the front holds the answer and what it became, which is better by more than its standard error, at bytes that count the delta where that
// is beside the model, and then keep to the target.
func TestHealing(t *testing.T) {
	for name, change := range map[string]func(*workflows.Job){
		"quantized": nil,
		"lora": func(j *workflows.Job) {
			j.HealMethod, j.HealDensity, j.HealLearningRate, j.Target = "", 0, 1e-3, "size=34kB"
		},
		"pruned": func(j *workflows.Job) {
			j.Space, j.Target, j.QuantMethod, j.Group, j.SparsityMethod = workflows.SpaceSparsity, "sparsity=0.5", "", 0, "magnitude"
		},
	} {
		folder := healingFolder(t, change)
		runLocal(t, folder, Options{})
		front := decodeFront(t, folder)
		if len(front.Healed) == 0 || front.Partial {
			t.Fatalf("%s: %d points healed, partial %v", name, len(front.Healed), front.Partial)
		}
		for _, h := range front.Healed {
			at, err := front.Find(h.Parent)
			if err != nil || h.ID != h.Parent+"-healed" || h.Config != at.Config {
				t.Errorf("%s: %+v is of %+v, %v", name, h, at, err)
			}
			if !(h.Gain.KL.Value > h.Gain.KL.Error) || h.HeldOut.Windows != at.HeldOut.Windows || h.HeldOut.Tokens != at.HeldOut.Tokens {
				t.Errorf("%s: healed %+v, gain %+v, the point %+v", name, h.HeldOut, h.Gain, at.HeldOut)
			}
			if h.Bytes != at.Bytes+h.Beside || (h.Beside == 0) != (name == "pruned") || (h.Bits == at.Bits) != (name == "pruned") {
				t.Errorf("%s: healed %d bytes, %v bits, %d beside, the point %d bytes", name, h.Bytes, h.Bits, h.Beside, at.Bytes)
			}
			if name == "quantized" && h.Bits > 7 || name == "lora" && h.Bytes > 34_000 {
				t.Errorf("%s: %v bits, %d bytes: more than the target", name, h.Bits, h.Bytes)
			}
			if _, err := os.Stat(filepath.Join(folder, filepath.FromSlash(h.Delta))); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestHealingResumes: whatever is missing is made again, to the same bytes, and what is there is not.
func TestHealingResumes(t *testing.T) {
	folder := healingFolder(t, nil)
	out := runLocal(t, folder, Options{})
	want := readFile(t, filepath.Join(folder, frontFile))
	id := decodeFront(t, folder).Healed[0].Parent
	if !bytes.Contains(encodeJSON(out), []byte(`"healed"`)) {
		t.Error("the summary does not have the healed point")
	}
	in := healFolder(folder, id)
	for _, remove := range []string{frontFile, filepath.Join(healDir, id, healedFile), filepath.Join(healDir, id, deltaFile), filepath.Join(healDir, id, checkpointFile), healDir} {
		if err := os.RemoveAll(filepath.Join(folder, remove)); err != nil {
			t.Fatal(err)
		}
		if remove != healDir && remove != frontFile {
			os.Remove(filepath.Join(in, healedFile))
		}
		runLocal(t, folder, Options{Threads: 2})
		if got := readFile(t, filepath.Join(folder, frontFile)); !bytes.Equal(got, want) {
			t.Errorf("without %s front.json becomes %s\nwant %s", remove, got, want)
		}
	}
	mark := filepath.Join(in, checkpointFile)
	writeFile(t, mark, []byte("junk")) // nobody reads it
	runLocal(t, folder, Options{})
	if got := readFile(t, filepath.Join(folder, frontFile)); !bytes.Equal(got, want) {
		t.Error("what is healed was healed again")
	}
}

// TestHealedPointsExport by the id of the point with a suffix.
func TestHealedPointsExport(t *testing.T) {
	folder := healingFolder(t, func(j *workflows.Job) {
		j.Space, j.Target, j.QuantMethod, j.Group, j.SparsityMethod, j.Heal = workflows.SpaceSparsity, "sparsity=0.5", "", 0, "magnitude", workflows.HealBest
	})
	runLocal(t, folder, Options{})
	w := NewWorkbench(Options{})
	defer w.Close()
	export := func(point string) (ExportResult, error) {
		return w.Export(t.Context(), ExportInput{Folder: folder, Point: point, Format: FormatHuggingFace, Out: filepath.Join(t.TempDir(), "m"), MaxWindows: 2}, quietly)
	}
	plain, err := export("best")
	if err != nil {
		t.Fatal(err)
	}
	healed, err := export("best-healed")
	if err != nil {
		t.Fatal(err)
	}
	if healed.NLLCheck.Evaluated == plain.NLLCheck.Evaluated {
		t.Error("the healed point is exported as it was before")
	}
	if card := string(readFile(t, healed.Card)); !strings.Contains(card, "-healed") || !strings.Contains(card, "Fine-tuned by spiel-ag, 8 steps") {
		t.Errorf("the card is %s", card)
	}
	front := decodeFront(t, folder)
	for _, p := range front.Points {
		if !p.Answer {
			if _, err := export(p.ID + "-healed"); err == nil || !strings.Contains(err.Error(), "was not healed") {
				t.Errorf("error %v", err)
			}
			break
		}
	}
}

// TestTargetPinned: prepared.json names a target only where healing takes part of the job's, however that is written.
func TestTargetPinned(t *testing.T) {
	for heal, want := range map[string]bool{"": false, workflows.HealBest: true} {
		folder := newFolder(t, tiny(t), func(j *workflows.Job) { j.Target, j.Heal = "size=30kB", heal })
		w := NewWorkbench(Options{})
		defer w.Close()
		if _, err := w.Prepare(t.Context(), workflows.PrepareInput{Folder: folder}, quiet); err != nil {
			t.Fatal(err)
		}
		if has := bytes.Contains(readFile(t, filepath.Join(folder, preparedFile)), []byte(`"target"`)); has != want {
			t.Errorf("heal %q: a target in prepared.json: %v", heal, has)
		}
	}
}

// TestHealingRefused before anything begins.
func TestHealingRefused(t *testing.T) {
	for want, change := range map[string]func(*workflows.Job){
		"alone takes":     func(j *workflows.Job) { j.HealDensity = 0.5 },
		"density":         func(j *workflows.Job) { j.HealDensity = 2 },
		`"sgd"`:           func(j *workflows.Job) { j.HealMethod = "sgd" },
		"never reselects": func(j *workflows.Job) { j.HealSteps = 3 },
	} {
		job, err := ReadJob(healingFolder(t, change))
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(t.Context(), job, nil); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--heal") {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
