//go:build unix

package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// flock takes the lock of an open file, which ends with the process. If wait is false and another holds it, it returns
// ErrLocked.
func flock(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		switch err := unix.Flock(int(f.Fd()), how); err {
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return ErrLocked
		default:
			return err
		}
	}
}
