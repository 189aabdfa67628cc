//go:build !unix

package bank

import "os"

// mapFile reads a file: a mapped one could not be replaced here.
func mapFile(path string) (data []byte, info os.FileInfo, unmap func() error, err error) {
	if info, err = os.Stat(path); err != nil {
		return nil, nil, nil, err
	}
	data, err = os.ReadFile(path)
	return data, info, func() error { return nil }, err
}
