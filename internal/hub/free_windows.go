package hub

import (
	"math"

	"golang.org/x/sys/windows"
)

// freeBytes is the room that a user's files have in the file system of dir; ok is false where it is not known.
func freeBytes(dir string) (n int64, ok bool) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, false
	}
	return int64(min(free, math.MaxInt64)), true
}
