//go:build !unix

package engine

import (
	"io"
	"os"
)

// mapping reads the first size bytes of f into memory.
func mapping(f *os.File, size int) (data []byte, free func() error, err error) {
	data = make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, nil, err
	}
	return data, func() error { return nil }, nil
}
