// Package durable writes files that are either wholly there or not there at all.
//
// A file is written under a temporary name in its own folder, synced, and moved to its name; the
// folder is synced as well, so that the name survives a power cut. A crash leaves at most a
// temporary file, which [Sweep] removes. Write replaces what a name held; Publish never does. [Folder]
// does the same for a folder of files, Finish does the last steps for a file that takes long to fill. Lock keeps
// processes apart that would write the same file.
package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrConflict is returned by [Publish] when the name already holds other bytes.
var ErrConflict = errors.New("durable: the file exists with other content")

// tempPrefix starts the name of every temporary file, so that Sweep knows them.
const tempPrefix = ".tmp-"

// Fault, when set by a test, is asked before each step ("create", "write", "sync", "rename",
// "link", "syncdir") on a path; an error it returns takes the place of that step.
var Fault func(step, path string) error

func step(name, path string) error {
	if Fault == nil {
		return nil
	}
	return Fault(name, path)
}

// Write puts data under path, replacing what was there. Folders above it are created.
func Write(path string, data []byte) error {
	return WriteFrom(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteFrom puts what fill writes under path, replacing what was there.
func WriteFrom(path string, fill func(io.Writer) error) error {
	tmp, err := stage(path, fill)
	if err != nil {
		return err
	}
	if err = step("rename", path); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Finish syncs and closes f, which was written under a name of its own in the folder of path, and moves it to path,
// replacing what was there. Where that fails f keeps its name.
func Finish(f *os.File, path string) error {
	err := step("sync", path)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := step("rename", path); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Publish puts data under path once and for all: if the name already holds the same bytes it does
// nothing, if it holds others it returns an error that wraps [ErrConflict]. Of several processes
// that publish at once exactly one writes the file.
func Publish(path string, data []byte) error {
	if done, err := published(path, data); done || err != nil {
		return err
	}
	tmp, err := stage(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := step("link", path); err != nil {
		return err
	}
	if err := os.Link(tmp, path); errors.Is(err, fs.ErrExist) {
		_, err := published(path, data)
		return err
	} else if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// published reports whether path already holds data.
func published(path string, data []byte) (bool, error) {
	old, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !bytes.Equal(old, data):
		return false, fmt.Errorf("%w: %s", ErrConflict, path)
	}
	return true, nil
}

// stage writes a synced temporary file beside path and returns its name.
func stage(path string, fill func(io.Writer) error) (name string, err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := step("create", path); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, tempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err := step("write", path); err != nil {
		return "", err
	}
	if err := fill(f); err != nil {
		return "", err
	}
	if err := step("sync", path); err != nil {
		return "", err
	}
	if err := f.Chmod(0o644); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// syncDir makes the names in dir survive a power cut.
func syncDir(dir string) error {
	if err := step("syncdir", dir); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Sweep removes temporary files and folders directly in dir that a crash left behind and that are older than
// age; a younger one may belong to a process at work.
func Sweep(dir string, age time.Duration) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < age {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
