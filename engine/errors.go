package engine

import (
	"errors"
	"fmt"
)

// Kinds of errors that opening or running a model can give; test for them with errors.Is.
var (
	// ErrMalformed marks a file that is truncated, inconsistent or hostile.
	ErrMalformed = errors.New("engine: malformed model file")
	// ErrUnsupported marks a sound file that asks for something this package does not do.
	ErrUnsupported = errors.New("engine: unsupported model")
	// ErrNotFinite marks weights or results that hold a NaN or an infinity.
	ErrNotFinite = errors.New("engine: not finite")
)

// fault is an error of one of the kinds above. The kind is not part of its text.
type fault struct {
	kind error
	text string
}

func (f *fault) Error() string        { return f.text }
func (f *fault) Is(target error) bool { return target == f.kind }

func malformed(format string, args ...any) error {
	return &fault{ErrMalformed, fmt.Sprintf(format, args...)}
}

func unsupported(format string, args ...any) error {
	return &fault{ErrUnsupported, "unsupported: " + fmt.Sprintf(format, args...)}
}

func notFiniteErr(format string, args ...any) error {
	return &fault{ErrNotFinite, "engine: " + fmt.Sprintf(format, args...)}
}
