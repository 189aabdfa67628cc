package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFinetuneContract trains the builtin model a little, with its own server, and uses what comes of it.
func TestFinetuneContract(t *testing.T) {
	env := dataEnv(t)
	config, text := filepath.Join(t.TempDir(), "config"), builtinText(t, 30000)
	if err := os.WriteFile(config, []byte("model.layers.0.mlp.up_proj: magnitude-0.50\nmodel.layers.1.mlp.up_proj: rtn-2b-g64\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"finetune", "--config", config, "--text", text, "--seq-len", "64", "--max-windows", "32", "--steps", "8", "--batch", "4", "--density", "0.05", "--learning-rate", "0.001", "--numerics", "exact"}
	o := object(t, env, args...)
	hasKeys(t, o, "training", "folder", "nll_before", "nll_after", "nll_stderr", "kl_before", "kl_after", "trainable", "tokens", "seconds", "delta", "delta_bytes", "bytes", "beside", "peft")
	if o["kl_after"].(float64) >= o["kl_before"].(float64) || o["tokens"].(float64) != 8*4*64 || o["beside"].(float64) <= 0 {
		t.Errorf("training %v", o)
	}
	folder, delta := o["folder"].(string), o["delta"].(string)

	// What it says is what eval says, of the held-out windows among others.
	score := func(extra ...string) map[string]any {
		return object(t, env, append([]string{"eval", "--model", "builtin", "--text", text, "--config", config, "--seq-len", "64", "--max-seqs", "32"}, extra...)...)
	}
	before, after := score(), score("--delta", delta)
	if after["kl"].(float64) >= before["kl"].(float64) || after["bytes"].(float64) != o["bytes"].(float64) || before["bytes"].(float64) >= after["bytes"].(float64) {
		t.Errorf("eval before %v, after %v, training %v", before, after, o)
	}

	// The same job again, and by its folder, is done already.
	for _, again := range [][]string{args, {"jobs", "list"}} {
		r := call(t, env, append(again, "--json")...)
		if r.code != 0 || !strings.Contains(r.out, folder) {
			t.Errorf("%v: code %d, %s%s", again, r.code, r.out, r.err)
		}
		if again[0] == "jobs" {
			var rows []map[string]any
			if err := json.Unmarshal([]byte(r.out), &rows); err != nil || len(rows) != 1 || rows[0]["kind"] != "finetune" || rows[0]["state"] != "done" || rows[0]["method"] != "spiel-ag" {
				t.Errorf("jobs %s, %v", r.out, err)
			}
		}
	}
	r := call(t, env, args...)
	for _, want := range []string{"before", "after", "peft", "export --model builtin --config " + config, "--simulated --delta " + delta, "eval --model builtin"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in %s", want, r.out)
		}
	}
	if r := call(t, env, append(args, "--out", folder, "--seed", "5")...); r.code != 2 || !strings.Contains(r.err, "another job") {
		t.Errorf("code %d, %s", r.code, r.err)
	}
	if r := call(t, env, "front", folder); r.code != 2 || !strings.Contains(r.err, "not the folder of a run") {
		t.Errorf("front of a training: code %d, %s", r.code, r.err)
	}
}

// TestFinetuneDryRun says what would be trained, and what is wrong with a job, and makes no folder.
func TestFinetuneDryRun(t *testing.T) {
	env := dataEnv(t)
	args := []string{"finetune", "--dry-run", "--seq-len", "64", "--steps", "20", "--params", "1000"}
	o := object(t, env, args...)
	hasKeys(t, o, "training", "folder", "job", "plan")
	plan := o["plan"].(map[string]any)
	hasKeys(t, plan, "method", "trainable", "targets", "examples", "tokens", "steps", "delta_bytes", "learning_rate", "bytes", "beside")
	if n := plan["trainable"].(float64); plan["steps"].(float64) != 20 || plan["tokens"].(float64) != 20*8*64 || n > 1000 || n < 900 || plan["delta_bytes"].(float64) != 8*n || plan["beside"].(float64) != 0 {
		t.Errorf("plan %v", plan)
	}
	r := call(t, env, args...)
	for _, want := range []string{"# training builtin-spiel-ag-", "\nsteps: 20\n", "matrices, spiel-ag, learning rate", "# learns  20 steps, 10k tokens", "# delta"} {
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("%q is not in %s%s", want, r.out, r.err)
		}
	}
	if r := call(t, env, append(args, "--density", "1e-9", "--params", "0")...); r.code != 1 || !strings.Contains(r.err, "leaves none") {
		t.Errorf("code %d, %s", r.code, r.err)
	}
	if _, err := os.Stat(filepath.Join(env["PARETOPRESS_DATA"], "runs")); err == nil {
		t.Error("a dry run left something behind")
	}
}

// TestFinetuneFile puts a job together from a file and flags; the flags win.
func TestFinetuneFile(t *testing.T) {
	env := dataEnv(t)
	file := filepath.Join(t.TempDir(), "finetune.yaml")
	if err := os.WriteFile(file, []byte("steps: 3\nmethod: lora\nrank: 2\nseq-len: 100000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := call(t, env, "finetune", "-f", file); r.code != 1 || !strings.Contains(r.err, "--seq-len 100000") {
		t.Errorf("code %d, %s", r.code, r.err)
	}
	if r := call(t, env, "finetune", "-f", file, "--method", "guess"); r.code != 2 || !strings.Contains(r.err, "guess") {
		t.Errorf("code %d, %s", r.code, r.err)
	}
}
