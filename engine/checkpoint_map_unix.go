//go:build unix

package engine

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapping maps the first size bytes of f read-only and shared.
func mapping(f *os.File, size int) (data []byte, free func() error, err error) {
	data, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, os.NewSyscallError("mmap", err)
	}
	return data, func() error { return unix.Munmap(data) }, nil
}
