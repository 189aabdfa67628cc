package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestCreate holds that a name that is taken stays as it is, and that what fails leaves nothing.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "a")
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, s)
			return err
		}
	}
	if err := Create(path, text("one")); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, text("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	full := func(w io.Writer) error {
		if err := text("half")(w); err != nil {
			return err
		}
		return syscall.ENOSPC
	}
	if err := Create(filepath.Join(dir, "new", "b"), full); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("no room: %v", err)
	}
	if got, err := os.ReadFile(path); string(got) != "one" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "new")); len(left) != 1 || err != nil {
		t.Errorf("%v, %v", left, err)
	}
}

// TestMove moves files and folders onto names that are free and taken.
func TestMove(t *testing.T) {
	for _, folder := range []bool{false, true} {
		dir := t.TempDir()
		make := func(name, content string) string {
			path := filepath.Join(dir, name)
			file := path
			if folder {
				file = filepath.Join(path, "f")
				if err := os.Mkdir(path, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			return path
		}
		read := func(path string) string {
			if folder {
				path = filepath.Join(path, "f")
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		to := filepath.Join(dir, "to")
		if err := Move(make("a", "one"), to, false); err != nil || read(to) != "one" {
			t.Errorf("folder %v: %v", folder, err)
		}
		second := make("b", "two")
		if err := Move(second, to, false); !errors.Is(err, fs.ErrExist) || read(to) != "one" || read(second) != "two" {
			t.Errorf("folder %v, taken: %v", folder, err)
		}
		if err := Move(second, to, true); err != nil || read(to) != "two" {
			t.Errorf("folder %v, replaced: %v", folder, err)
		}
		if left, err := os.ReadDir(dir); len(left) != 1 || err != nil {
			t.Errorf("folder %v: %v, %v", folder, left, err)
		}
	}
}
