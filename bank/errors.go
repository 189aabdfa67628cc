package bank

import (
	"errors"
	"fmt"
)

var (
	// ErrCorrupt is wrapped by errors about files that are damaged, truncated or not of this format.
	ErrCorrupt = errors.New("bank: corrupt")
	// ErrOtherModel is wrapped when a bank, or a file in it, belongs to another model.
	ErrOtherModel = errors.New("bank: belongs to another model")
	// ErrOtherBuild is wrapped when a bank, or a file in it, belongs to the same model but to another
	// calibration or other versions of the operators.
	ErrOtherBuild = errors.New("bank: belongs to another calibration or other operators")
	// ErrNotFound is wrapped when a folder is no bank, or a bank lacks a level.
	ErrNotFound = errors.New("bank: not found")
)

// corrupt returns an error about a file that wraps ErrCorrupt.
func corrupt(path, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrCorrupt, path, fmt.Sprintf(format, args...))
}
