package evalworker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/workflows"
)

// jobs are runs that together use every kind of level and both ways to search.
var jobs = map[string]func(*workflows.Job){
	"rtn":       nil,
	"gptq":      func(j *workflows.Job) { j.QuantMethod, j.Budget = "gptq", 1500 },
	"sparsegpt": func(j *workflows.Job) { j.Space, j.Target, j.Budget = workflows.SpaceSparsity, "sparsity=0.5", 1500 },
	"drop":      func(j *workflows.Job) { j.Space, j.Target = workflows.SpaceDrop, "drop=0.5" },
	"front":     func(j *workflows.Job) { j.Target, j.Method = "", workflows.MethodRandom },
}

// steps drives a run by its activities, each of which it gets from a function, so that a test can give every
// call what it likes. It returns when the run is done.
func steps(t *testing.T, folder string, bench func() *Workbench, evaluate func(ask string, batches [][2]int)) {
	t.Helper()
	ctx := context.Background()
	p, err := bench().Prepare(ctx, workflows.PrepareInput{Folder: folder}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Ranges {
		if _, err := bench().BuildLevels(ctx, workflows.BuildLevelsInput{Folder: folder, From: r[0], To: r[1]}, quiet); err != nil {
			t.Fatal(err)
		}
	}
	job, err := ReadJob(folder)
	if err != nil {
		t.Fatal(err)
	}
	at := max(p.Step-1, -1)
	for {
		adv, err := bench().Advance(ctx, workflows.AdvanceInput{Folder: folder, Step: at, Budget: job.Budget}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if adv.Done {
			break
		}
		evaluate(adv.Ask, adv.Batches)
		at = adv.Step
	}
	fin, err := bench().Finalists(ctx, workflows.FinalistsInput{Folder: folder, Step: at}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	evaluate(fin.Ask, fin.Batches)
	if _, err := bench().Report(ctx, workflows.ReportInput{Folder: folder, Step: at}, quiet); err != nil {
		t.Fatal(err)
	}
}

// TestSameFront holds a run to come out the same, byte for byte, however it is done.
func TestSameFront(t *testing.T) {
	model := tiny(t)
	for name, change := range jobs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := newFolder(t, model, change)
			runLocal(t, first, Options{})
			want := derived(t, first)
			if f := decodeFront(t, first); len(f.Points) == 0 || f.Points[0].HeldOut == nil || f.Tokens == 0 || f.Dense == nil {
				t.Fatalf("the run shows nothing: %+v", f)
			}

			t.Run("again", func(t *testing.T) {
				runLocal(t, first, Options{})
				same(t, "run again in its folder", derived(t, first), want)
			})
			t.Run("two slots", func(t *testing.T) {
				folder := newFolder(t, model, func(j *workflows.Job) {
					if change != nil {
						change(j)
					}
					j.Workers = 2
				})
				runLocal(t, folder, Options{Slots: 2, Threads: 2})
				same(t, "two slots", derived(t, folder), want)
			})
			t.Run("forgetful", func(t *testing.T) {
				// Every activity in a process of its own and done twice; batches of one candidate, last first; memory
				// for one window of the dense model.
				folder := newFolder(t, model, change)
				var old *Workbench
				bench := func() *Workbench {
					if old != nil {
						old.Close()
					}
					old = NewWorkbench(Options{Threads: 1, Cache: -1})
					old.teachers.limit = 1
					return old
				}
				steps(t, folder, bench, func(ask string, batches [][2]int) {
					for i := batches[len(batches)-1][1] - 1; i >= 0; i-- {
						if i%5 == 0 { // not always, a model takes long to load
							bench()
						}
						for range 2 {
							in := workflows.EvaluateInput{Folder: folder, Ask: ask, From: i, To: i + 1}
							if _, err := old.Evaluate(context.Background(), in, quiet); err != nil {
								t.Fatal(err)
							}
						}
					}
				})
				old.Close()
				same(t, "forgetful", derived(t, folder), want)
			})
			t.Run("elsewhere", func(t *testing.T) {
				moved := filepath.Join(t.TempDir(), "moved")
				if err := os.CopyFS(moved, os.DirFS(first)); err != nil {
					t.Fatal(err)
				}
				for _, file := range []string{frontFile, evaluationsFile, finalFile} {
					if err := os.Remove(filepath.Join(moved, file)); err != nil {
						t.Fatal(err)
					}
				}
				runLocal(t, moved, Options{})
				same(t, "moved", derived(t, moved), want)
			})
		})
	}
}

// TestCrashes lets a run fail at each step of writing each kind of file, the first time and the fourth time that
// it comes to it, and takes it up again after each failure.
func TestCrashes(t *testing.T) {
	model := tiny(t)
	change := func(j *workflows.Job) { j.QuantMethod, j.Budget, j.Bits = "gptq", 1100, []int{3, 4, 5} }
	calm := newFolder(t, model, change)
	runLocal(t, calm, Options{})
	folder := newFolder(t, model, change)
	fault := errors.New("no space left on device")
	defer func() { durable.Fault = nil }()
	seen := map[string]int{}
	durable.Fault = func(step, path string) error {
		rel, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		kind := step + " " + strings.Split(filepath.ToSlash(rel), "/")[0]
		seen[kind]++
		if n := seen[kind]; n == 1 || n == 4 {
			return fmt.Errorf("%s: %w", kind, fault)
		}
		return nil
	}
	for {
		_, err := RunLocal(context.Background(), folder, 0, Options{}, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, fault) {
			t.Fatal(err)
		}
	}
	durable.Fault = nil
	for _, want := range []string{"write tokens", "link log", "syncdir log", "rename scores", "sync bank", "rename front.json", "rename final.json", "create configs"} {
		if seen[want] == 0 {
			t.Errorf("no crash at %q: %v", want, seen)
		}
	}
	same(t, "after crashes", derived(t, folder), derived(t, calm))
}

// TestInterrupted cancels a run again and again, a little later each time.
func TestInterrupted(t *testing.T) {
	model := tiny(t)
	calm := newFolder(t, model, nil)
	runLocal(t, calm, Options{})
	folder := newFolder(t, model, nil)
	for n := 1; ; n++ {
		ctx, cancel := context.WithCancel(context.Background())
		left := n * 20
		_, err := RunLocal(ctx, folder, 0, Options{}, func(string, workflows.Progress) {
			if left--; left == 0 {
				cancel()
			}
		})
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	same(t, "after interruptions", derived(t, folder), derived(t, calm))
}

// TestExtend holds that a run with a budget that is raised goes on as if it had had it from the start, and that
// a raised budget in job.yaml is no other run.
func TestExtend(t *testing.T) {
	model := tiny(t)
	change := func(budget int64) func(*workflows.Job) { return func(j *workflows.Job) { j.Budget = budget } }
	long := newFolder(t, model, change(1500))
	if _, err := RunLocal(context.Background(), long, 3000, Options{}, nil); err != nil {
		t.Fatal(err)
	}
	short := newFolder(t, model, change(1500))
	runLocal(t, short, Options{})
	before := decodeFront(t, short)
	text := strings.Replace(string(readFile(t, filepath.Join(short, jobFile))), "budget: 1500", "budget: 3000", 1)
	writeFile(t, filepath.Join(short, jobFile), []byte(text))
	runLocal(t, short, Options{})
	after := decodeFront(t, short)
	if before.Tokens > 1500 || after.Tokens <= 1500 || after.Tokens > 3000 || after.Steps <= before.Steps {
		t.Errorf("budget 1500: %d tokens in %d steps; 3000: %d tokens in %d steps", before.Tokens, before.Steps, after.Tokens, after.Steps)
	}
	a, b := derived(t, short), derived(t, long)
	for name := range a { // the shorter run's configs stay
		if strings.HasPrefix(name, configsDir) {
			delete(a, name)
			delete(b, name)
		}
	}
	same(t, "extended", a, b)
}

// TestPinned holds a run to the inputs that it began with.
func TestPinned(t *testing.T) {
	model := tiny(t)
	for name, change := range map[string]func(t *testing.T, folder string){
		"text": func(t *testing.T, folder string) {
			writeFile(t, filepath.Join(folder, "text.txt"), slices.Concat([]byte("Other "), prose(40*16)))
		},
		"job": func(t *testing.T, folder string) {
			name := filepath.Join(folder, jobFile)
			writeFile(t, name, []byte(strings.Replace(string(readFile(t, name)), "seq-len: 16", "seq-len: 8", 1)))
		},
		"model": func(t *testing.T, folder string) {
			name := filepath.Join(model, "config.json")
			old := readFile(t, name)
			t.Cleanup(func() { writeFile(t, name, old) })
			writeFile(t, name, []byte(strings.Replace(string(old), "10000", "20000", 1)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := newFolder(t, model, nil)
			w := NewWorkbench(Options{})
			if _, err := w.Prepare(context.Background(), workflows.PrepareInput{Folder: folder}, quiet); err != nil {
				t.Fatal(err)
			}
			w.Close()
			change(t, folder)
			w = NewWorkbench(Options{})
			defer w.Close()
			if _, err := w.Prepare(context.Background(), workflows.PrepareInput{Folder: folder}, quiet); !errors.Is(err, ErrChanged) {
				t.Errorf("the %s is another: %v", name, err)
			}
		})
	}
}

// TestSweep holds that Prepare removes what a crash left half written, and not what is being written.
func TestSweep(t *testing.T) {
	folder := newFolder(t, tiny(t), nil)
	old, fresh := filepath.Join(folder, scoresDir, ".tmp-a"), filepath.Join(folder, scoresDir, ".tmp-b")
	writeFile(t, old, nil)
	writeFile(t, fresh, nil)
	before := time.Now().Add(-time.Hour)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	prepare(t, folder)
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a temporary file of an hour ago is there: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("a temporary file of now is gone: %v", err)
	}
}

// TestForeignLog holds that a log that says something else is not written over.
func TestForeignLog(t *testing.T) {
	folder := newFolder(t, tiny(t), nil)
	runLocal(t, folder, Options{})
	name := filepath.Join(folder, stepFile(3))
	old := string(readFile(t, name))
	writeFile(t, name, []byte(strings.Replace(old, `"id":`, `"id": `, 1)))
	w := NewWorkbench(Options{})
	defer w.Close()
	_, err := w.Advance(context.Background(), workflows.AdvanceInput{Folder: folder, Step: 2, Budget: 1 << 40}, quiet)
	if !errors.Is(err, durable.ErrConflict) || !strings.Contains(fmt.Sprint(err), "000003.json") {
		t.Errorf("a changed log gave %v", err)
	}
}
