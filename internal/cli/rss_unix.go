//go:build unix

package cli

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// peakRSS is the most memory that this process had resident, in bytes.
func peakRSS() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" { // bytes there, kilobytes elsewhere
		return int64(u.Maxrss)
	}
	return int64(u.Maxrss) * 1024
}
