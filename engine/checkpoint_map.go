package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// mapFile maps a regular file of at least one byte. Its errors name the file.
func mapFile(path string) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	size := info.Size()
	if size == 0 {
		return nil, fmt.Errorf("%s: %w", path, malformed("the file is empty"))
	}
	if size != int64(int(size)) {
		return nil, fmt.Errorf("%s: %d bytes do not fit this machine's address space", path, size)
	}
	data, free, err := mapping(f, int(size))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, errors.Join(err, free())
	}
	id := fmt.Sprintf("%s\x00%d\x00%d", abs, size, info.ModTime().UnixNano())
	return &file{name: path, data: data, id: id, free: free}, nil
}
