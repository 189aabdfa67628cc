package bank

import (
	"fmt"
	"path/filepath"

	"github.com/paretopress/paretopress/internal/durable"
)

// lock waits until no other process or goroutine writes to the bank in dir. A writer holds it for the
// time of one write, and loses it when its process ends.
func lock(dir string) (unlock func(), err error) {
	return locked(durable.Lock(filepath.Join(dir, lockName)))
}

// tryLock is lock without waiting: it returns an error if another holds the lock.
func tryLock(dir string) (unlock func(), err error) {
	return locked(durable.TryLock(filepath.Join(dir, lockName)))
}

func locked(unlock func(), err error) (func(), error) {
	if err != nil {
		return nil, fmt.Errorf("bank: %w", err)
	}
	return unlock, nil
}
