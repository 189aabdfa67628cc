package durable

import (
	"errors"
	"fmt"
	"os"
)

// ErrLocked is wrapped by the error of [TryLock] where another has the lock.
var ErrLocked = errors.New("durable: the file is locked")

// Lock waits until no other process or goroutine has the lock of the file at path, which it creates if need be,
// and takes it. The lock is the kernel's and ends with the process.
func Lock(path string) (unlock func(), err error) { return takeLock(path, true) }

// TryLock is Lock without waiting.
func TryLock(path string) (unlock func(), err error) { return takeLock(path, false) }

func takeLock(path string, wait bool) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := flock(f, wait); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if same(f, path) {
			return func() { f.Close() }, nil
		}
		f.Close()
	}
}

// same reports whether path still names f. Some programs remove a lock file when they let it go: the lock of a
// file that no one else finds locks nobody out.
func same(f *os.File, path string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(have, named)
}
