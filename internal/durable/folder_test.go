package durable

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func fillTwo(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("one"), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "b"), []byte("two"), 0o644)
}

func TestFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x", "model")
	if err := Folder(path, fillTwo); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(path, "b")); string(got) != "two" {
		t.Fatalf("got %q, %v", got, err)
	}
	filled := false
	err := Folder(path, func(string) error { filled = true; return nil })
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) || filled {
		t.Errorf("onto itself: %v, filled %v; want ErrExist before anything is written", err, filled)
	}
}

// TestFolderFails leaves nothing, whichever step fails.
func TestFolderFails(t *testing.T) {
	t.Cleanup(func() { Fault = nil })
	for _, failing := range []string{"create", "sync", "syncdir", "rename"} {
		parent := t.TempDir()
		Fault = func(step, path string) error {
			if step == failing && path != parent {
				return syscall.ENOSPC
			}
			return nil
		}
		err := Folder(filepath.Join(parent, "model"), fillTwo)
		left, _ := os.ReadDir(parent)
		if !errors.Is(err, syscall.ENOSPC) || len(left) > 0 {
			t.Errorf("%s fails: %v, and %d entries are left", failing, err, len(left))
		}
	}
}

func TestFolderNeverReplacesAnEmptyFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model")
	err := Folder(path, func(dir string) error { return errors.Join(fillTwo(dir), os.Mkdir(path, 0o755)) })
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, want ErrExist", err)
	}
}

func TestSweepRemovesFolders(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, tempPrefix+"model-1")
	if err := errors.Join(os.Mkdir(left, 0o755), fillTwo(left), Sweep(dir, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary folder is still there: %v", err)
	}
}

func TestRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "such", "folder")
	if err := Room(path, 1); err != nil {
		t.Error(err)
	}
	if _, ok := freeBytes(t.TempDir()); !ok {
		t.Skip("this system does not say how much space is free")
	}
	if err := Room(path, math.MaxInt64); err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, want one line with the path", err)
	}
}
