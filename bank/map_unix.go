//go:build unix

package bank

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps a file read-only, or reads it where it cannot be mapped.
func mapFile(path string) (data []byte, info os.FileInfo, unmap func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, nil, err
	}
	if n := int(info.Size()); n > 0 && int64(n) == info.Size() {
		if data, err := unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ, unix.MAP_SHARED); err == nil {
			return data, info, func() error { return unix.Munmap(data) }, nil
		}
	}
	data, err = os.ReadFile(path)
	return data, info, func() error { return nil }, err
}
