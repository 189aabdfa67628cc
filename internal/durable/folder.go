package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Folder makes a folder at path that is either wholly there or not there at all: fill writes its files
// into a temporary folder beside it, which is synced and moved to its name. What is at path already is
// never replaced: the error is then fs.ErrExist. The folder above is created.
func Folder(path string, fill func(dir string) error) error {
	if err := vacant(path); err != nil {
		return err
	}
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	if err := step("create", path); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, tempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	if err = complete(tmp, path, fill); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return syncDir(parent)
}

// complete fills the folder tmp and moves it to path.
func complete(tmp, path string, fill func(dir string) error) error {
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return err
	}
	err := filepath.WalkDir(tmp, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return syncDir(name)
		}
		return syncFile(name)
	})
	if err != nil {
		return err
	}
	if err := vacant(path); err != nil { // a rename replaces an empty folder
		return err
	}
	if err := step("rename", path); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// vacant returns an error unless nothing is at path.
func vacant(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

// syncFile makes what was written to a file survive a power cut.
func syncFile(path string) error {
	if err := step("sync", path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Room returns an error unless the disk that a file or folder at path would lie on has so many bytes
// free. path and the folders above it need not exist. Where the system does not say, it returns nil.
func Room(path string, bytes int64) error {
	dir, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, ok := freeBytes(dir)
	if ok && free < bytes {
		return fmt.Errorf("%s: it takes %d bytes and the disk has %d free", path, bytes, free)
	}
	return nil
}
