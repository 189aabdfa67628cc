package durable

import "syscall"

// freeBytes is the space that is left to this user on the file system of dir.
func freeBytes(dir string) (n int64, ok bool) {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
