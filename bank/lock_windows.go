package bank

import (
	"os"

	"golang.org/x/sys/windows"
)

// flock takes the lock of an open file, which ends with the process. If wait is false it returns an error where another
// holds it.
func flock(f *os.File, wait bool) error {
	flags := uint32(windows.LOCKFILE_EXCLUSIVE_LOCK)
	if !wait {
		flags |= windows.LOCKFILE_FAIL_IMMEDIATELY
	}
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
}
