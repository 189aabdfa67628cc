package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestWriteReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	for _, want := range []string{"one", "two"} {
		if err := Write(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestPublishNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := Publish(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := Publish(path, []byte("one")); err != nil {
		t.Fatalf("the same bytes again: %v", err)
	}
	if err := Publish(path, []byte("two")); !errors.Is(err, ErrConflict) {
		t.Fatalf("other bytes: %v, want ErrConflict", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "one" {
		t.Fatalf("got %q", got)
	}
}

func TestPublishHasOneWinner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = Publish(path, fmt.Appendf(nil, "writer %d", i)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, ErrConflict):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Fatalf("%d writers won, want 1", won)
	}
}

// TestFaultsLeaveNothingPartial fails each step in turn: the name then holds the old content, the
// whole new content, or nothing, and no temporary file stays.
func TestFaultsLeaveNothingPartial(t *testing.T) {
	boom := errors.New("disk full")
	finish := func(path string, data []byte) error {
		f, err := os.Create(filepath.Join(filepath.Dir(path), "incomplete"))
		if err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
		return Finish(f, path)
	}
	for name, write := range map[string]func(string, []byte) error{"write": Write, "publish": Publish, "finish": finish} {
		for _, at := range []string{"create", "write", "sync", "rename", "link", "syncdir"} {
			t.Run(name+"/"+at, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "f")
				hit := false
				Fault = func(s, _ string) error {
					if s == at {
						hit = true
						return boom
					}
					return nil
				}
				err := write(path, []byte("content"))
				Fault = nil
				if hit != (err != nil) || (err != nil && !errors.Is(err, boom)) {
					t.Fatalf("fault met: %v, error: %v", hit, err)
				}
				if got, err := os.ReadFile(path); err == nil && string(got) != "content" {
					t.Fatalf("partial file %q", got)
				}
				if left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); len(left) > 0 {
					t.Fatalf("left behind: %v", left)
				}
				if err := write(path, []byte("content")); err != nil {
					t.Fatalf("again without the fault: %v", err)
				}
			})
		}
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{tempPrefix + "old": time.Hour, tempPrefix + "new": 0, "kept": time.Hour} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(dir, time.Minute); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 2 || left[0].Name() != tempPrefix+"new" || left[1].Name() != "kept" {
		t.Fatalf("left %v", left)
	}
}
