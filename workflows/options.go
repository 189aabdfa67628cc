package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// withDefaults fills in the fields that were left zero.
func (t Tuning) withDefaults() Tuning {
	set(&t.Heartbeat, 10*time.Second)
	set(&t.Timeout, 6*time.Hour)
	set(&t.Retry, time.Second)
	set(&t.Attempts, 5)
	return t
}

// activity returns ctx with the options that every activity of this package runs under. A cancelled
// activity is waited for: it stores what it has, and nothing of it runs on behind the workflow's back.
func (t Tuning) activity(ctx workflow.Context, summary string, attempts int) workflow.Context {
	t = t.withDefaults()
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           EvalQueue,
		StartToCloseTimeout: t.Timeout,
		HeartbeatTimeout:    t.Heartbeat,
		WaitForCancellation: true,
		Summary:             summary,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:        t.Retry,
			BackoffCoefficient:     2,
			MaximumInterval:        max(30*time.Second, t.Retry),
			MaximumAttempts:        int32(attempts),
			NonRetryableErrorTypes: permanentTypes,
		},
	})
}

// rounds is how often an activity whose worker died at every attempt is sent again: workers may have been
// killed for reasons of their own, but one that needs more memory than there is must end some time.
const rounds = 5

// do runs one activity and waits for its result. That its worker was stopped or killed does not count
// as an attempt within reason: a run of days outlives many restarts.
func do[R any](ctx workflow.Context, t Tuning, name, summary string, in any) (R, error) {
	for round := 1; ; round++ {
		out, err := attempt[R](ctx, t, name, summary, t.withDefaults().Attempts, in)
		if err == nil || !temporal.IsTimeoutError(err) || round == rounds || ctx.Err() != nil {
			return out, err
		}
	}
}

// attempt runs one activity with the given number of attempts, and with as many again if the last was
// ended by the stop of its worker.
func attempt[R any](ctx workflow.Context, t Tuning, name, summary string, attempts int, in any) (R, error) {
	ctx = t.activity(ctx, summary, attempts)
	for {
		var out R
		err := workflow.ExecuteActivity(ctx, name, in).Get(ctx, &out)
		if err == nil || errorType(err) != ErrStopped || ctx.Err() != nil {
			return out, err
		}
	}
}

// errorType is the type of an activity's error, empty if it is no application error.
func errorType(err error) string {
	if app, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return app.Type()
	}
	return ""
}

// blamesCandidates reports whether an error of Evaluate that outlived its retries may be the doing of
// the candidates: their worker died or hung (a time-out), it panicked, or it says so. Anything else,
// a full disk say, would befall every other batch as well.
func blamesCandidates(err error) bool {
	return temporal.IsTimeoutError(err) || temporal.IsPanicError(err) || errorType(err) == ErrCandidateFailed
}

// Cause returns what ended a run, without the names of the workflows and activities that passed it on:
// the error of an activity with its text, or err itself if there is none.
func Cause(err error) error {
	// What an application error wraps is in its text already.
	if app, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return &cause{app}
	}
	return err
}

// cause prints an application error as what was said, without its type and retryability.
type cause struct{ app *temporal.ApplicationError }

func (c *cause) Error() string { return c.app.Message() }
func (c *cause) Unwrap() error { return c.app }
