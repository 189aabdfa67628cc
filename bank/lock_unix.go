//go:build unix

package bank

import (
	"os"

	"golang.org/x/sys/unix"
)

// flock takes the lock of an open file, which ends with the process. If wait is false it returns an error where another
// holds it.
func flock(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}
