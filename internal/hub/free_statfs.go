//go:build linux || darwin || freebsd

package hub

import "golang.org/x/sys/unix"

// freeBytes is the room that a user's files have in the file system of dir; ok is false where it is not known.
func freeBytes(dir string) (n int64, ok bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
