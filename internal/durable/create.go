package durable

import (
	"io"
	"os"
	"path/filepath"
)

// Create puts what fill writes under path, which must be free: the error is fs.ErrExist where it is not, even if it was
// when the writing began.
func Create(path string, fill func(io.Writer) error) error {
	tmp, err := stage(path, fill)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	return give(tmp, path)
}

// give gives a file that is synced a second name, which must be free.
func give(from, path string) error {
	if err := step("link", path); err != nil {
		return err
	}
	if err := os.Link(from, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Move gives a file or folder that is synced another name in the same file system. A name that is taken gives
// fs.ErrExist, unless replace says that what has it goes.
func Move(from, path string, replace bool) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case !replace && info.IsDir(): // of folders there is no second name
		err = vacant(path)
	case !replace:
		if err := give(from, path); err != nil {
			return err
		}
		return os.Remove(from)
	case info.IsDir(): // a rename does not replace a folder with files
		err = os.RemoveAll(path)
	}
	if err != nil {
		return err
	}
	if err := step("rename", path); err != nil {
		return err
	}
	if err := os.Rename(from, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
