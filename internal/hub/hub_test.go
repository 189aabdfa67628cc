package hub

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paretopress/paretopress/internal/hub/hubtest"
)

// weights is the content of a large file: 300 KB that do not repeat soon.
var weights = func() string {
	var b strings.Builder
	for i := range 100_000 {
		b.WriteByte(byte(i * 7))
		b.WriteByte(byte(i >> 8))
		b.WriteByte(byte(i*i>>4) ^ 0x5a)
	}
	return b.String()
}()

// smallModel is a repository with what a model needs and what it does not.
func smallModel() map[string]string {
	return map[string]string{
		"config.json": `{"model_type":"llama"}`, "generation_config.json": "{}", "tokenizer.json": `{"model":{}}`, "tokenizer_config.json": "{ }",
		"model.safetensors": weights, "pytorch_model.bin": "pickle", "consolidated.safetensors": "other", "README.md": "# model", "onnx/config.json": "{}",
	}
}

// world is a hub, a cache and the client between them.
type world struct {
	*hubtest.Server
	*Client
	home string

	mu    sync.Mutex
	slept []time.Duration
}

// newWorld returns a hub with smallModel as o/n, and its commit.
func newWorld(t *testing.T, env ...string) (*world, string) {
	t.Helper()
	w := &world{Server: hubtest.New(t), home: t.TempDir()}
	w.Client = w.another(env...)
	return w, w.Commit("o/n", smallModel())
}

// another is another client with the same cache.
func (w *world) another(env ...string) *Client {
	c := New(w.Env(w.home, env...))
	c.sleep = func(ctx context.Context, d time.Duration) error {
		w.mu.Lock()
		w.slept = append(w.slept, d)
		w.mu.Unlock()
		return sleep(ctx, min(d, time.Millisecond))
	}
	return c
}

// fetch fetches a reference that must be had.
func (w *world) fetch(t *testing.T, ref string) Model {
	t.Helper()
	m, err := w.Fetch(t.Context(), parse(t, ref), nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func parse(t *testing.T, ref string) Ref {
	t.Helper()
	r, err := Parse(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// repo is a path in the cache's folder of o/n.
func (w *world) repo(elements ...string) string {
	return filepath.Join(append([]string{w.home, "hub", "models--o--n"}, elements...)...)
}

// tree lists the files below a folder.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			files = append(files, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// asked lists the requests since the last call.
func (w *world) asked() []string {
	var list []string
	for _, r := range w.Requests() {
		list = append(list, r.String())
	}
	return list
}

// gets counts the GET requests for a file's content.
func (w *world) gets(file string) int {
	n := 0
	for _, r := range w.Requests() {
		if r.Method == "GET" && r.Content && strings.HasSuffix(r.Path, "/"+file) {
			n++
		}
	}
	return n
}

func TestFetch(t *testing.T) {
	w, commit := newWorld(t)
	var last Progress
	m, err := w.Fetch(t.Context(), parse(t, "hf:o/n"), func(p Progress) {
		if p.Done < last.Done || p.Total < last.Total || p.Done > p.Total {
			t.Errorf("progress %+v after %+v", p, last)
		}
		last = p
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "hf:o/n@" + commit; m.Ref.String() != want || m.Unreached != nil {
		t.Errorf("got %s, %v; want %s", m.Ref, m.Unreached, want)
	}
	if want := w.repo("snapshots", commit); m.Path != want {
		t.Errorf("path %s, want %s", m.Path, want)
	}
	files := smallModel()
	wanted := []string{"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
	want := []string{"refs/main"}
	var bytes int64
	for _, name := range wanted {
		want = append(want, "blobs/"+hubtest.Tag(name, files[name]), "snapshots/"+commit+"/"+name)
		if got := read(t, filepath.Join(m.Path, name)); got != files[name] {
			t.Errorf("%s holds %d bytes, not those of the hub", name, len(got))
		}
		if target, err := os.Readlink(filepath.Join(m.Path, name)); err != nil || target != filepath.Join("..", "..", "blobs", hubtest.Tag(name, files[name])) {
			t.Errorf("%s leads to %q, %v", name, target, err)
		}
		bytes += int64(len(files[name]))
	}
	for _, name := range []string{"added_tokens.json", "chat_template.jinja", "chat_template.json", "special_tokens_map.json", "tokenizer.model"} {
		want = append(want, ".no_exist/"+commit+"/"+name)
	}
	slices.Sort(want)
	if got := tree(t, w.repo()); !slices.Equal(got, want) {
		t.Errorf("the cache has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := read(t, w.repo("refs", "main")); got != commit {
		t.Errorf("refs/main holds %q", got)
	}
	if last.Done != bytes || last.Total != bytes {
		t.Errorf("progress ended at %+v, want %d bytes", last, bytes)
	}

	w.Requests()
	if again := w.fetch(t, "hf:o/n"); again != m {
		t.Errorf("a second time: %+v", again)
	}
	if got := w.asked(); !slices.Equal(got, []string{"GET /api/models/o/n/revision/main"}) {
		t.Errorf("requests for what is there: %q", got)
	}
	if again := w.fetch(t, "hf:o/n@"+commit); again != m {
		t.Errorf("the commit: %+v", again)
	}
	if got := w.asked(); len(got) > 0 {
		t.Errorf("requests for a commit that is there: %q", got)
	}
}

// A branch that moves is followed, and what did not change is not fetched again.
func TestFetchMovedBranch(t *testing.T) {
	w, first := newWorld(t)
	old := w.fetch(t, "hf:o/n")
	files := smallModel()
	files["config.json"] = `{"model_type":"qwen2"}`
	second := w.Commit("o/n", files)
	w.Requests()
	m := w.fetch(t, "hf:o/n")
	if m.Ref.Revision != second || read(t, filepath.Join(m.Path, "config.json")) != files["config.json"] {
		t.Errorf("got %+v, want commit %s", m, second)
	}
	if n := w.gets("model.safetensors"); n != 0 {
		t.Errorf("the weights were fetched %d times more", n)
	}
	if again := w.fetch(t, "hf:o/n@"+first); again.Path != old.Path {
		t.Errorf("the former commit is at %s", again.Path)
	}
}

func TestFetchRevisions(t *testing.T) {
	w, commit := newWorld(t)
	w.Branch("o/n", "v1.0", commit)
	w.Branch("o/n", "refs/pr/7", commit)
	w.Commit("o/n", map[string]string{"config.json": "{}"}) // main has no weights by now
	for _, revision := range []string{"v1.0", "refs/pr/7", commit} {
		if m := w.fetch(t, "hf:o/n@"+revision); m.Ref.Revision != commit {
			t.Errorf("%s is %+v", revision, m)
		}
	}
	if got := read(t, w.repo("refs", "refs", "pr", "7")) + read(t, w.repo("refs", "v1.0")); got != commit+commit {
		t.Errorf("refs hold %q", got)
	}
	if _, err := os.Stat(w.repo("refs", commit)); err == nil {
		t.Error("a commit was noted as a branch")
	}
}

func TestFetchShards(t *testing.T) {
	w, _ := newWorld(t)
	files := map[string]string{
		"config.json": "{}", "tokenizer.model": "spm",
		"model.safetensors.index.json":     `{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors","c":"model-00001-of-00002.safetensors"}}`,
		"model-00001-of-00002.safetensors": weights[:1000], "model-00002-of-00002.safetensors": weights[1000:],
		"model.fp32-00001-of-00001.safetensors": "not needed",
	}
	commit := w.Commit("o/n", files)
	m := w.fetch(t, "hf:o/n")
	got := tree(t, m.Path)
	delete(files, "model.fp32-00001-of-00001.safetensors")
	if want := slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) {
		t.Errorf("fetched %q, want %q", got, want)
	}
	w.Requests()
	w.fetch(t, "hf:o/n@"+commit)
	if asked := w.asked(); len(asked) > 0 {
		t.Errorf("requests for a commit that is there: %q", asked)
	}
	// A shard that went missing is noticed.
	if err := os.Remove(filepath.Join(m.Path, "model-00002-of-00002.safetensors")); err != nil {
		t.Fatal(err)
	}
	w.fetch(t, "hf:o/n@"+commit)
	if got := read(t, filepath.Join(m.Path, "model-00002-of-00002.safetensors")); got != weights[1000:] {
		t.Errorf("the shard came back with %d bytes", len(got))
	}
}

func TestFetchFile(t *testing.T) {
	w, _ := newWorld(t)
	commit := w.Commit("o/n", map[string]string{"q4/the model.gguf": weights, "other.gguf": "other", "README.md": ""})
	m := w.fetch(t, "hf:o/n/q4/the model.gguf")
	if want := w.repo("snapshots", commit, "q4", "the model.gguf"); m.Path != want || read(t, want) != weights {
		t.Errorf("got %s, want %s", m.Path, want)
	}
	if target, _ := os.Readlink(m.Path); target != filepath.Join("..", "..", "..", "blobs", hubtest.Tag("x.gguf", weights)) {
		t.Errorf("it leads to %s", target)
	}
	if got := tree(t, w.repo("snapshots")); len(got) != 1 {
		t.Errorf("fetched %q", got)
	}
	w.Requests()
	if again := w.fetch(t, m.Ref.String()); again != m {
		t.Errorf("a second time: %+v", again)
	}
	if got := w.asked(); len(got) > 0 {
		t.Errorf("requests for a commit that is there: %q", got)
	}
}

// Where a file system has no symbolic links the files of a commit are hard links or copies.
func TestFetchWithoutLinks(t *testing.T) {
	for name, link := range map[string]func(string, string) error{
		"hard links": os.Link, "copies": func(string, string) error { return fs.ErrPermission },
	} {
		t.Run(name, func(t *testing.T) {
			w, commit := newWorld(t)
			w.symlink, w.link = func(string, string) error { return fs.ErrPermission }, link
			m := w.fetch(t, "hf:o/n")
			for _, file := range tree(t, m.Path) {
				info, err := os.Lstat(filepath.Join(m.Path, file))
				if err != nil || !info.Mode().IsRegular() || read(t, filepath.Join(m.Path, file)) != smallModel()[file] {
					t.Errorf("%s: %v, %v", file, info, err)
				}
			}
			w.Requests()
			w.fetch(t, "hf:o/n@"+commit)
			if got := w.asked(); len(got) > 0 {
				t.Errorf("requests for what is there: %q", got)
			}
		})
	}
}

func TestOffline(t *testing.T) {
	w, commit := newWorld(t)
	w.fetch(t, "hf:o/n")
	w.Requests()
	off := w.another("HF_HUB_OFFLINE", "1")
	for _, ref := range []string{"hf:o/n", "hf:o/n@main", "hf:o/n@" + commit} {
		m, err := off.Fetch(t.Context(), parse(t, ref), nil)
		if err != nil || m.Ref.Revision != commit || m.Path != w.repo("snapshots", commit) || m.Unreached != nil {
			t.Errorf("%s: %+v, %v", ref, m, err)
		}
	}
	for _, ref := range []string{"hf:o/other", "hf:o/n@v2", "hf:o/n@0123456789abcdef0123456789abcdef01234567", "hf:o/n/x.gguf"} {
		_, err := off.Fetch(t.Context(), parse(t, ref), nil)
		wantError(t, err, true, "HF_HUB_OFFLINE")
	}
	// The tokenizer may be one that the repository does not have; weights may not.
	for file, ok := range map[string]bool{"tokenizer.json": true, "model.safetensors": false} {
		path := w.repo("snapshots", commit, file)
		target, _ := os.Readlink(path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := off.Fetch(t.Context(), parse(t, "hf:o/n"), nil); (err == nil) != ok {
			t.Errorf("without %s: %v", file, err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.asked(); len(got) > 0 {
		t.Errorf("requests: %q", got)
	}
}

// What the Python client has cached counts as well: without notes of what the repository lacks the hub is asked once,
// and if it does not answer the files serve as they are.
func TestUnreachable(t *testing.T) {
	w, commit := newWorld(t)
	w.fetch(t, "hf:o/n")
	if err := os.RemoveAll(w.repo(".no_exist")); err != nil {
		t.Fatal(err)
	}
	w.Hub.Close()
	for _, ref := range []string{"hf:o/n", "hf:o/n@" + commit} {
		m, err := w.Fetch(t.Context(), parse(t, ref), nil)
		if err != nil || m.Ref.Revision != commit || m.Unreached == nil {
			t.Errorf("%s: %+v, %v", ref, m, err)
		}
	}
	if len(w.slept) > 0 {
		t.Errorf("it waited %v for a hub that it can do without", w.slept)
	}
	_, err := w.Fetch(t.Context(), parse(t, "hf:o/new"), nil)
	wantError(t, err, false, "o/new", "tried 5 times")
	if len(w.slept) != maxTries-1 || w.slept[0] != time.Second || w.slept[3] != 8*time.Second {
		t.Errorf("it waited %v", w.slept)
	}
}
