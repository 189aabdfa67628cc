package hub

import (
	"errors"
	"fmt"
	"time"
)

// ErrPermanent marks what trying again does not mend: a reference that names nothing, a token that does not open the
// repository, a model in a format that is not read here, no copy of it where no request may be sent.
var ErrPermanent = errors.New("hub: the model is not to be had")

// permanent is an error that matches ErrPermanent without saying so in its text.
type permanent struct{ error }

func (permanent) Is(target error) bool { return target == ErrPermanent }
func (p permanent) Unwrap() error      { return p.error }

func permanentf(format string, args ...any) error { return permanent{fmt.Errorf(format, args...)} }

// passing is an error that may be gone when the request is sent again.
type passing struct {
	error
	after time.Duration // that the server asks to wait; 0: it does not say
	past  bool          // the bytes asked for begin after the file's end
}

func (p passing) Unwrap() error { return p.error }

// isPassing reports whether err is an error that may be gone soon.
func isPassing(err error) bool { return errors.As(err, new(passing)) }
