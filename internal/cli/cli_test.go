package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/internal/builtin"
)

// result is what a command line printed and returned.
type result struct {
	code     int
	out, err string
}

// call runs a command line with its own data folder and no environment but env.
func call(t *testing.T, env map[string]string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := Run(t.Context(), Options{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(k string) string { return env[k] }})
	return result{code, out.String(), errs.String()}
}

// dataEnv is an environment with a fresh data folder.
func dataEnv(t *testing.T) map[string]string {
	return map[string]string{"PARETOPRESS_DATA": t.TempDir()}
}

// TestBadCalls gives each wrong call its exit code and one line that names what was wrong.
func TestBadCalls(t *testing.T) {
	env := dataEnv(t)
	dir := t.TempDir()
	file := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	short := file("short.txt", "one line\n")
	unknownKey := file("job.yaml", "modle: builtin\n")
	badConfig := file("bad.config", "model.layers.99.mlp.down_proj: rtn-4b-g64\n")
	badLevel := file("level.config", "model.layers.0.mlp.down_proj: quux-4b\n")
	needsBank := file("gptq.config", "model.layers.0.mlp.down_proj: gptq-4b-g64\n")
	rtn := file("rtn.config", "model.layers.0.mlp.down_proj: rtn-3b-g64\n")
	notModel := file("model.gguf", "GGUF but not really")
	badRun := filepath.Join(dir, "norun")

	tests := []struct {
		args []string
		code int
		want string // in the message
	}{
		{[]string{"frobnicate"}, 2, "frobnicate"},
		{[]string{"run", "--nonsense"}, 2, "nonsense"},
		{[]string{"run", "--space", "cosmos"}, 2, "--space"},
		{[]string{"run", "--target", "bpw=lots"}, 2, "--target"},
		{[]string{"run", "--space", "drop", "--target", "bpw=3"}, 2, "--target"},
		{[]string{"run", "--method", "guess"}, 2, "--method"},
		{[]string{"run", "--model", filepath.Join(dir, "none.gguf"), "--text", short}, 2, "none.gguf"},
		{[]string{"run", "--model", notModel}, 2, "--text"},
		{[]string{"run", "-f", unknownKey}, 2, "modle"},
		{[]string{"run", "--resume", "--out", badRun}, 2, "norun"},
		{[]string{"run", "extra"}, 2, "extra"},
		{[]string{"run", "--schedule", "published"}, 2, "--schedule"},
		{[]string{"run", "--target", "bpw=1.5"}, 2, "from 2.28"},
		{[]string{"run", "--target", "size=1KB"}, 2, "--target"},
		{[]string{"run", "--text", short}, 1, "short.txt"},
		{[]string{"run", "--seq-len", "100000"}, 1, "--seq-len"},
		{[]string{"run", "--model", notModel, "--text", short}, 1, "model.gguf"},
		{[]string{"front", badRun}, 2, "norun"},
		{[]string{"front"}, 2, "front"},
		{[]string{"jobs", "show", "x"}, 1, "no server"},
		{[]string{"jobs", "extend", "x"}, 2, "--tokens"},
		{[]string{"worker"}, 1, "no server"},
		{[]string{"worker", "--workers", "0"}, 2, "--workers"},
		{[]string{"server", "--workers", "-1"}, 2, "--workers"},
		{[]string{"worker", "--address", closedPort(t)}, 1, "127.0.0.1"},
		{[]string{"model", "info", notModel}, 1, "model.gguf"},
		{[]string{"model", "info", dir}, 1, "config.json"},
		{[]string{"model", "tokens", "builtin"}, 2, "--text"},
		{[]string{"eval", "--model", "builtin"}, 2, "--text"},
		{[]string{"eval", "--model", "builtin", "--text", short}, 1, "short.txt"},
		{[]string{"eval", "--model", "builtin", "--text", filepath.Join(dir, "none.txt")}, 2, "none.txt"},
		{[]string{"eval", "--model", "builtin", "--text", short, "--seq-len", "1"}, 2, "--seq-len"},
		{[]string{"eval", "--model", "builtin", "--text", short, "--numerics", "sloppy"}, 2, "--numerics"},
		{[]string{"eval", "--model", "builtin", "--text", short, "--seq-len", "2", "--config", badConfig}, 1, "bad.config:1"},
		{[]string{"eval", "--model", "builtin", "--text", short, "--seq-len", "2", "--config", badLevel}, 1, "quux-4b"},
		{[]string{"eval", "--model", "builtin", "--text", short, "--seq-len", "2", "--config", needsBank}, 1, "--bank"},
		{[]string{"export"}, 2, "--model"},
		{[]string{"export", "one"}, 2, "a run and a point"},
		{[]string{"export", badRun, "best", "--out", "x"}, 2, "norun"},
		{[]string{"export", badRun, "best", "--out", "x", "--model", "builtin"}, 2, "--model"},
		{[]string{"export", "--model", "builtin"}, 2, "--out"},
		{[]string{"export", "--model", "builtin", "--out", short}, 1, "short.txt exists already"},
		{[]string{"export", "--model", "builtin", "--out", "x", "--format", "onnx"}, 2, "--format"},
		{[]string{"export", "--model", "builtin", "--out", "x", "--dense", "f8"}, 2, "--dense"},
		{[]string{"export", "--model", "builtin", "--out", "x", "--bank", dir}, 2, "--bank"},
		{[]string{"export", "--model", "builtin", "--out", "x", "--max-seqs", "0"}, 2, "--max-seqs"},
		{[]string{"export", "--model", "builtin", "--out", filepath.Join(dir, "x.gguf"), "--config", rtn}, 1, "nearest"},
		{[]string{"run", "--heal", "some"}, 2, "--heal"},
		{[]string{"run", "--heal-steps", "5"}, 2, "--heal"},
		{[]string{"run", "--heal", "best", "--heal-method", "spiel-ag", "--heal-steps", "5"}, 1, "never reselects"},
		{[]string{"run", "--heal", "best", "--heal-method", "guess"}, 1, "guess"},
		{[]string{"finetune", "extra"}, 2, "extra"},
		{[]string{"finetune", "--method", "guess"}, 2, "guess"},
		{[]string{"finetune", "--density", "2"}, 2, "density"},
		{[]string{"finetune", "--density", "0.1", "--params", "5"}, 2, "--params"},
		{[]string{"finetune", "--steps", "-1"}, 2, "--steps"},
		{[]string{"finetune", "--steps", "3"}, 2, "never reselects"},
		{[]string{"finetune", "--objective", "mse"}, 2, "--objective"},
		{[]string{"finetune", "-f", unknownKey}, 2, "modle"},
		{[]string{"finetune", "--model", notModel}, 2, "--text"},
		{[]string{"finetune", "--model", notModel, "--text", short}, 1, "model.gguf"},
		{[]string{"finetune", "--text", filepath.Join(dir, "none.txt")}, 2, "none.txt"},
		{[]string{"finetune", "--text", short}, 1, "short.txt"},
		{[]string{"finetune", "--bank", dir}, 2, "--bank"},
		{[]string{"finetune", "--config", filepath.Join(dir, "none")}, 2, "none"},
		{[]string{"finetune", "--config", badConfig}, 1, "bad.config:1"},
		{[]string{"finetune", "--config", needsBank}, 1, "--bank"},
		{[]string{"finetune", "--resume", "--out", badRun}, 2, "norun"},
		{[]string{"finetune", "--resume", "--out", dir, "--steps", "5"}, 2, "--steps"},
		{[]string{"finetune", "--params", "10"}, 1, "leaves none"},
		{[]string{"eval", "--model", "builtin", "--text", short, "--seq-len", "2", "--delta", short}, 1, "short.txt"},
		{[]string{"export", "--model", "builtin", "--out", filepath.Join(dir, "y.gguf"), "--delta", filepath.Join(dir, "none")}, 1, "--delta"},
		{[]string{"bench", "--seconds", "0"}, 2, "--seconds"},
		{[]string{"bench", "--seconds", "NaN"}, 2, "--seconds"},
		{[]string{"bench", "--seq-len", "1"}, 2, "--seq-len"},
		{[]string{"bench", "--windows", "0"}, 2, "--windows"},
		{[]string{"bench", "--offspring", "-1"}, 2, "--offspring"},
		{[]string{"bench", "--text", filepath.Join(dir, "none.txt")}, 2, "none.txt"},
		{[]string{"bench", "--model", notModel}, 1, "model.gguf"},
		{[]string{"bank", "ls", badRun}, 1, "norun"},
		{[]string{"bank", "verify", badRun}, 1, "norun"},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(strings.Join(tt.args, " "), dir, ""), func(t *testing.T) {
			r := call(t, env, tt.args...)
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d", r.code, tt.code)
			}
			if !strings.Contains(r.err, tt.want) {
				t.Errorf("message %q does not name %q", r.err, tt.want)
			}
			if lines := strings.Count(r.err, "\n"); lines != 1 {
				t.Errorf("%d lines of message, want one: %q", lines, r.err)
			}
			if r.out != "" {
				t.Errorf("standard output: %q", r.out)
			}
		})
	}
}

// closedPort is an address at which nothing listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// object calls a command with --json and decodes the one object that it prints.
func object(t *testing.T, env map[string]string, args ...string) map[string]any {
	t.Helper()
	r := call(t, env, append(args, "--json")...)
	if r.code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, r.code, r.err)
	}
	var o map[string]any
	if err := json.Unmarshal([]byte(r.out), &o); err != nil {
		t.Fatalf("%v: %v in %q", args, err, r.out)
	}
	return o
}

// hasKeys checks the keys that scripts rely on.
func hasKeys(t *testing.T, o map[string]any, keys ...string) {
	t.Helper()
	for _, k := range keys {
		if _, ok := o[k]; !ok {
			t.Errorf("no key %q in %v", k, o)
		}
	}
}

func TestModelInfo(t *testing.T) {
	o := object(t, dataEnv(t), "model", "info", "builtin")
	hasKeys(t, o, "architecture", "parameters", "bytes", "layers", "digest")
	if o["architecture"] != "llama" || o["layers"].(float64) < 6 {
		t.Errorf("builtin model is %v", o)
	}
}

func TestModelTokens(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("a few words"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := object(t, dataEnv(t), "model", "tokens", "builtin", "--text", text)
	if ids, ok := o["ids"].([]any); !ok || len(ids) == 0 {
		t.Errorf("no ids in %v", o)
	}
}

// builtinText writes text of the builtin model's generator to a file.
func builtinText(t *testing.T, bytes int) string {
	t.Helper()
	text := filepath.Join(t.TempDir(), "text.txt")
	if err := os.WriteFile(text, builtin.Text(99, bytes), 0o644); err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEvalContract(t *testing.T) {
	text := builtinText(t, 8000)
	env := dataEnv(t)
	args := []string{"eval", "--model", "builtin", "--text", text, "--seq-len", "128", "--max-seqs", "4"}
	dense := object(t, env, args...)
	hasKeys(t, dense, "tokens", "nll", "ppl", "nll_stderr", "seconds", "tokens_per_s", "peak_rss_bytes", "kernel")
	if dense["tokens"].(float64) != 4*127 {
		t.Errorf("%v tokens, want 4 windows of 127 predictions", dense["tokens"])
	}
	config := filepath.Join(t.TempDir(), "config")
	lines := "# two parts\nmodel.layers.0.mlp.down_proj: rtn-3b-g64\nmodel.layers.4.self_attn: drop\nmodel.layers.2.mlp.up_proj: magnitude-0.50\n"
	if err := os.WriteFile(config, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	o := object(t, env, append(args, "--config", config)...)
	hasKeys(t, o, "kl", "bytes", "bits_per_weight")
	if kl := o["kl"].(float64); kl <= 0 || o["nll"].(float64) <= dense["nll"].(float64)-kl {
		t.Errorf("dense nll %v, compressed %v", dense["nll"], o)
	}
	if bits := o["bits_per_weight"].(float64); bits >= 16 || bits <= 3 {
		t.Errorf("%v bits a weight", bits)
	}
}

func TestExportContract(t *testing.T) {
	config, out := filepath.Join(t.TempDir(), "config"), filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(config, []byte("model.layers.0.mlp.up_proj: q8_0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := object(t, dataEnv(t), "export", "--model", "builtin", "--config", config, "--format", "gguf", "--out", out, "--seq-len", "64", "--max-seqs", "1")
	hasKeys(t, o, "path", "bytes", "nll_check")
	if info, err := os.Stat(out); err != nil || float64(info.Size()) != o["bytes"].(float64) {
		t.Errorf("%v, %v", o, err)
	}
	hasKeys(t, o["nll_check"].(map[string]any), "evaluated", "exported", "relative", "tokens")
	hasKeys(t, object(t, dataEnv(t), "model", "info", out), "digest")
}

func TestDryRun(t *testing.T) {
	env := dataEnv(t)
	o := object(t, env, "run", "--dry-run", "--target", "bpw=3")
	hasKeys(t, o, "run", "folder", "job", "cost")
	if _, err := os.Stat(o["folder"].(string)); err == nil {
		t.Error("a dry run made the run folder")
	}
}

// TestJobFile puts a job together from a file and flags; the flags win.
func TestJobFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "job.yaml")
	if err := os.WriteFile(file, []byte("space: sparsity\ntarget: sparsity=0.5\nseed: 3\nbits: [3, 4]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := object(t, dataEnv(t), "run", "--dry-run", "-f", file, "--seed", "4")
	job := o["job"].(map[string]any)
	if job["space"] != "sparsity" || job["target"] != "sparsity=0.5" || job["seed"].(float64) != 4 {
		t.Errorf("job %v", job)
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--port", "--ui-port"} {
		r := call(t, dataEnv(t), "server", flag, port)
		if r.code != 1 || !strings.Contains(r.err, port) {
			t.Errorf("%s %s: code %d, message %q", flag, port, r.code, r.err)
		}
	}
}

// TestInterruptedBeforeStart ends at once with code 130.
func TestInterruptedBeforeStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	env := dataEnv(t)
	code := Run(ctx, Options{Args: []string{"eval", "--model", "builtin", "--text", builtinText(t, 4000), "--seq-len", "64"},
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(k string) string { return env[k] }})
	if code != 130 {
		t.Errorf("code %d, want 130: %s", code, errs.String())
	}
}
