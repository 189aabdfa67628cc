//go:build unix

package kernel

import (
	"os"
	"syscall"
	"testing"
)

// fenced copies data to the end of a page after which there is none, so that reading past its end is a fault.
func fenced(t *testing.T, data []byte) []byte {
	t.Helper()
	page := os.Getpagesize()
	size := (len(data) + page - 1) / page * page
	all, err := syscall.Mmap(-1, 0, size+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(all); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Mprotect(all[size:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	s := all[size-len(data) : size : size]
	copy(s, data)
	return s
}
