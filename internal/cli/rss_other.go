//go:build !unix

package cli

import "runtime"

// peakRSS is the memory that the Go runtime has asked for, in bytes: the nearest that is known here.
func peakRSS() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
