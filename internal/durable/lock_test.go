package durable

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("TryLock of what is locked: %v", err)
	}
	taken := make(chan func())
	go func() {
		second, err := Lock(path)
		if err != nil {
			t.Error(err)
		}
		taken <- second
	}()
	select {
	case <-taken:
		t.Fatal("two have the lock")
	case <-time.After(20 * time.Millisecond):
	}
	unlock()
	(<-taken)()
	unlock, err = TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := Lock(filepath.Join(path, "below a file")); err == nil {
		t.Fatal("locked a file that cannot be")
	}
}

// A lock file that its holder removes on the way out, as others' programs do, still locks one at a time.
func TestLockOfRemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan func())
	go func() {
		second, err := Lock(path)
		if err != nil {
			t.Error(err)
		}
		taken <- second
	}()
	time.Sleep(20 * time.Millisecond) // the other waits for the file that is about to go
	if err := os.Remove(path); err != nil {
		t.Skipf("a file that is open cannot be removed here: %v", err)
	}
	unlock()
	second := <-taken
	defer second()
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("TryLock: %v, want ErrLocked: the other locked a file that has no name", err)
	}
}
