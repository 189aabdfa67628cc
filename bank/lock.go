package bank

import (
	"fmt"
	"os"
	"path/filepath"
)

// lock waits until no other process or goroutine writes to the bank in dir. A writer holds it for the
// time of one write, and loses it when its process ends.
func lock(dir string) (unlock func(), err error) { return takeLock(dir, true) }

// tryLock is lock without waiting: it returns an error if another holds the lock.
func tryLock(dir string) (unlock func(), err error) { return takeLock(dir, false) }

func takeLock(dir string, wait bool) (unlock func(), err error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("bank: %w", err)
	}
	if err := flock(f, wait); err != nil {
		f.Close()
		return nil, fmt.Errorf("bank: lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
