package evalworker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/hub"
	"github.com/paretopress/paretopress/workflows"
)

// Classes of errors that no retry can mend.
var (
	// ErrJob marks a job that asks for what cannot be: a target out of reach, a text too short, a level
	// that does not exist.
	ErrJob = errors.New("evalworker: the job cannot be done")
	// ErrCandidate marks an ask with a candidate that does not fit the space.
	ErrCandidate = errors.New("evalworker: the candidate does not fit the space")
	// ErrChanged marks a model or text that is not the one that the run began with.
	ErrChanged = errors.New("evalworker: an input changed since the run began")
	// ErrDamaged marks a file of the run folder that does not hold what its name says.
	ErrDamaged = errors.New("evalworker: the file is damaged")
)

// marked is an error that belongs to a class without saying so in its text.
type marked struct {
	error
	class error
}

func (m marked) Unwrap() []error { return []error{m.error, m.class} }

// mark makes errors.Is(err, class) true without changing err's text.
func mark(class, err error) error {
	if err == nil {
		return nil
	}
	return marked{err, class}
}

// jobErrorf is an error of class ErrJob.
func jobErrorf(format string, args ...any) error {
	return mark(ErrJob, fmt.Errorf("evalworker: "+format, args...))
}

// classify turns an error of an activity into what Temporal retries or does not. This is the one place
// that decides it: everything that is not listed (a full disk, a network that is away, a lost mount) may
// be gone at the next attempt. Cancellation passes as it is.
func classify(err error) error {
	kinds := []struct {
		is       error
		typeName string
	}{
		{ErrChanged, workflows.ErrOtherModel}, // before the conflict that showed it
		{durable.ErrConflict, workflows.ErrLogConflict},
		{bank.ErrOtherModel, workflows.ErrOtherModel},
		{bank.ErrOtherBuild, workflows.ErrOtherModel},
		{bank.ErrCorrupt, workflows.ErrCorrupt},
		{ErrDamaged, workflows.ErrCorrupt},
		{ErrCandidate, workflows.ErrBadCandidate},
		{ErrJob, workflows.ErrBadSpec},
		{hub.ErrPermanent, workflows.ErrBadSpec},
		{engine.ErrMalformed, workflows.ErrBadSpec},
		{engine.ErrUnsupported, workflows.ErrBadSpec},
		{engine.ErrNotFinite, workflows.ErrBadSpec},
		{fs.ErrPermission, workflows.ErrBadSpec},
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	for _, k := range kinds {
		if errors.Is(err, k.is) {
			return workflows.Permanent(k.typeName, err)
		}
	}
	return err
}
