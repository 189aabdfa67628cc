package evalworker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"

	"github.com/paretopress/paretopress/internal/hub"
	"github.com/paretopress/paretopress/internal/hub/hubtest"
	"github.com/paretopress/paretopress/workflows"
)

// tinyHub is a hub with the tiny model as o/tiny, its commit, and the folder that it is a copy of.
func tinyHub(t *testing.T) (s *hubtest.Server, commit, folder string) {
	t.Helper()
	folder = tiny(t)
	files := map[string]string{}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files[e.Name()] = string(readFile(t, filepath.Join(folder, e.Name())))
	}
	s = hubtest.New(t)
	return s, s.Commit("o/tiny", files), folder
}

// A run of a model of the hub comes out as one of the same files in a folder, and once it has begun it does without
// the hub.
func TestModelOfTheHub(t *testing.T) {
	s, commit, local := tinyHub(t)
	want := newFolder(t, local, nil)
	runLocal(t, want, Options{Threads: 1})

	folder := newFolder(t, "hf:o/tiny@"+commit, nil)
	client := hub.New(s.Env(t.TempDir()))
	job, err := ReadJob(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(context.Background(), job, client); err != nil {
		t.Fatal(err)
	}
	w := NewWorkbench(Options{Threads: 1, Hub: client})
	defer w.Close()
	p, err := w.Prepare(context.Background(), workflows.PrepareInput{Folder: folder}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(p.Model, "tiny ") {
		t.Errorf("the model is called %q", p.Model)
	}
	s.Hub.Close()
	s.Requests()
	runLocal(t, folder, Options{Threads: 1, Hub: client})
	same(t, "hub", derived(t, folder), derived(t, want))
	if asked := s.Requests(); len(asked) > 0 {
		t.Errorf("requests: %v", asked)
	}
}

// A worker fetches what it does not have, and says how far it is.
func TestWorkerFetches(t *testing.T) {
	s, commit, _ := tinyHub(t)
	folder := newFolder(t, "hf:o/tiny@"+commit, nil)
	w := NewWorkbench(Options{Threads: 1, Hub: hub.New(s.Env(t.TempDir()))})
	defer w.Close()
	var notes []string
	_, err := w.Prepare(context.Background(), workflows.PrepareInput{Folder: folder}, func(p workflows.Progress) { notes = append(notes, p.Note) })
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(notes, "\n"); !strings.Contains(all, "fetching model.safetensors") {
		t.Errorf("progress:\n%s", all)
	}
}

// What the hub refuses no retry mends; a hub that is away may come back.
func TestHubErrors(t *testing.T) {
	s, _, _ := tinyHub(t)
	prepare := func(ref string) error {
		w := NewWorkbench(Options{Threads: 1, Hub: hub.New(s.Env(t.TempDir()))})
		defer w.Close()
		_, err := w.Prepare(context.Background(), workflows.PrepareInput{Folder: newFolder(t, ref, nil)}, quiet)
		return classify(err)
	}
	var app *temporal.ApplicationError
	for _, ref := range []string{"hf:o/none", "hf:o/tiny@v9", "hf:o/tiny/x.gguf", "hf:o"} {
		if err := prepare(ref); !errors.As(err, &app) || !app.NonRetryable() || app.Type() != workflows.ErrBadSpec {
			t.Errorf("%s: %v, want one that is not retried", ref, err)
		}
	}
	s, _, _ = tinyHub(t)
	s.Gated = true
	if err := prepare("hf:o/tiny"); !errors.As(err, &app) || !strings.Contains(err.Error(), "gated") {
		t.Errorf("gated: %v, want one that is not retried", err)
	}
}
