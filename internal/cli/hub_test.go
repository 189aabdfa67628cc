package cli

import (
	"io/fs"
	"maps"
	"path"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/internal/builtin"
	"github.com/paretopress/paretopress/internal/hub/hubtest"
)

// hubEnv is a hub with the builtin model's files as o/small, the commit, and an environment that names it.
func hubEnv(t *testing.T) (s *hubtest.Server, commit string, env map[string]string) {
	t.Helper()
	files := map[string]string{"README.md": "# small"}
	entries, err := fs.ReadDir(builtin.FS(), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := fs.ReadFile(builtin.FS(), e.Name())
		if err != nil {
			t.Fatal(err)
		}
		files[path.Base(e.Name())] = string(data)
	}
	s = hubtest.New(t)
	env = dataEnv(t)
	maps.Copy(env, map[string]string{"HF_ENDPOINT": s.Hub.URL, "HF_HOME": t.TempDir()})
	return s, s.Commit("o/small", files), env
}

func TestModelOfTheHub(t *testing.T) {
	s, commit, env := hubEnv(t)
	text := builtinText(t, 20_000)
	want := object(t, env, "model", "info", "builtin")["digest"]

	r := call(t, env, "model", "info", "hf:o/small")
	if r.code != 0 || !strings.Contains(r.out, want.(string)) {
		t.Fatalf("code %d, %s%s; want digest %s", r.code, r.err, r.out, want)
	}
	for _, part := range []string{"download", "config.json", "hf:o/small@" + commit, "done in"} {
		if !strings.Contains(r.err, part) {
			t.Errorf("progress %q does not name %s", r.err, part)
		}
	}
	s.Requests()
	if got := object(t, env, "model", "info", "hf:o/small@"+commit)["digest"]; got != want {
		t.Errorf("digest %v, want %v", got, want)
	}
	tokens := object(t, env, "model", "tokens", "hf:o/small@"+commit, "--text", text)
	if ids, ok := tokens["ids"].([]any); !ok || len(ids) == 0 {
		t.Errorf("no ids in %v", tokens)
	}
	if asked := s.Requests(); len(asked) > 0 {
		t.Errorf("requests for what is in the cache: %v", asked)
	}

	args := []string{"eval", "--text", text, "--seq-len", "128", "--max-seqs", "2", "--model"}
	if a, b := object(t, env, append(args, "builtin")...), object(t, env, append(args, "hf:o/small")...); a["nll"] != b["nll"] {
		t.Errorf("NLL %v, of the same files by hub %v", a["nll"], b["nll"])
	}

	o := object(t, env, "run", "--dry-run", "--model", "hf:o/small", "--text", text)
	job := o["job"].(map[string]any)
	if job["model"] != "hf:o/small@"+commit || job["name"] != "small-quant" {
		t.Errorf("the job names the model %v, and itself %v", job["model"], job["name"])
	}

	s.Hub.Close()
	r = call(t, env, "model", "info", "hf:o/small", "--json")
	if r.code != 0 || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "from the cache") {
		t.Errorf("without the hub: code %d, %q", r.code, r.err)
	}
}

func TestHubRefusals(t *testing.T) {
	_, _, env := hubEnv(t)
	text := builtinText(t, 4000)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"model", "info", "hf:small"}, 2, "hf:owner/name"},
		{[]string{"eval", "--model", "hf:o/small@", "--text", text}, 2, "hf:o/small@"},
		{[]string{"run", "--model", "hf:o/small/x.bin", "--text", text}, 2, "x.bin"},
		{[]string{"model", "info", "hf:o/none"}, 1, "no such repository"},
		{[]string{"model", "tokens", "hf:o/small@v9", "--text", text}, 1, "no revision v9"},
		{[]string{"eval", "--model", "hf:o/small/x.gguf", "--text", text}, 1, "no file x.gguf"},
		{[]string{"run", "--model", "hf:o/none", "--text", text}, 1, "o/none"},
		{[]string{"bank", "build", "--model", "hf:o/none", "--text", text}, 1, "o/none"},
		{[]string{"bench", "--model", "hf:o/none"}, 1, "o/none"},
	} {
		r := call(t, env, tt.args...)
		if r.code != tt.code || !strings.Contains(r.err, tt.want) || strings.Count(r.err, "\n") != 1 || r.out != "" {
			t.Errorf("%v: code %d, %q, %q; want %d and a line with %q", tt.args, r.code, r.err, r.out, tt.code, tt.want)
		}
	}
}
