package evalworker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// TestWorkflow holds workflow Compress with these activities to the run without Temporal: the same files.
func TestWorkflow(t *testing.T) {
	model := tiny(t)
	change := func(j *workflows.Job) { j.QuantMethod, j.Budget, j.Workers = "gptq", 1100, 2 }
	plain := newFolder(t, model, change)
	runLocal(t, plain, Options{})

	folder := newFolder(t, model, change)
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	workflows.Register(env)
	w := NewWorkbench(Options{Threads: 1})
	defer w.Close()
	NewActivities(w).Register(env)
	env.ExecuteWorkflow(workflows.WorkflowCompress, workflows.RunInput{Folder: folder, ID: "test", Budget: 1100})
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	var res workflows.RunResult
	require.NoError(t, env.GetWorkflowResult(&res))
	f := decodeFront(t, folder)
	require.Equal(t, f.Tokens, res.Tokens)
	require.Equal(t, f.Steps, res.Steps)
	require.Equal(t, len(f.Points), res.Report.Points)
	require.Equal(t, f.Dense.NLL.Value, res.Report.Dense.NLL)
	same(t, "workflow", derived(t, folder), derived(t, plain))
}

// activityEnvironment is an environment with the activities of a workbench.
func activityEnvironment(t *testing.T) (*testsuite.TestActivityEnvironment, *Activities) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	w := NewWorkbench(Options{Threads: 1})
	a := NewActivities(w)
	a.Register(env)
	t.Cleanup(func() {
		a.Stop()
		a.Wait()
		w.Close()
	})
	return env, a
}

func TestActivityErrors(t *testing.T) {
	env, _ := activityEnvironment(t)
	folder := t.TempDir()
	_, err := env.ExecuteActivity(workflows.ActivityPrepare, workflows.PrepareInput{Folder: folder})
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.Equal(t, workflows.ErrBadSpec, app.Type())
	require.True(t, app.NonRetryable())
	require.Contains(t, app.Error(), folder)
}

// TestStop holds that an activity that is at work when its worker stops ends soon, with an error that is
// retried, and that what it had scored stays.
func TestStop(t *testing.T) {
	env, a := activityEnvironment(t)
	folder := newFolder(t, tiny(t), nil)
	_, err := env.ExecuteActivity(workflows.ActivityPrepare, workflows.PrepareInput{Folder: folder})
	require.NoError(t, err)
	value, err := env.ExecuteActivity(workflows.ActivityAdvance, workflows.AdvanceInput{Folder: folder, Step: -1, Budget: 1 << 40})
	require.NoError(t, err)
	var adv workflows.AdvanceResult
	require.NoError(t, value.Get(&adv))
	a.Stop()
	_, err = env.ExecuteActivity(workflows.ActivityEvaluate, workflows.EvaluateInput{Folder: folder, Ask: adv.Ask, To: adv.Candidates})
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.False(t, app.NonRetryable())
	require.Contains(t, app.Error(), "worker was stopped")
}

// TestHeartbeat holds that an activity that is busy with one thing for long goes on to say that it is alive,
// and how far it is.
func TestHeartbeat(t *testing.T) {
	_, a := activityEnvironment(t)
	beats, done := make(chan any), make(chan struct{})
	a.every, a.beat = time.Millisecond, func(_ context.Context, details ...any) {
		select {
		case beats <- details[0]:
		case <-done:
		}
	}
	want := workflows.Progress{Done: 1, Total: 2, Unit: "windows"}
	_, err := alive(context.Background(), a, 0, func(_ context.Context, _ int, report Reporter) (int, error) {
		defer close(done)
		require.Equal(t, workflows.Progress{}, <-beats)
		report(want)
		for got := range beats {
			if got == want { // the one before it may have been on its way
				break
			}
		}
		require.Equal(t, want, <-beats)
		return 0, nil
	})
	require.NoError(t, err)
}

// TestLostHeartbeat holds that an activity that Temporal's client ends since a heartbeat was not answered is sent again however often that happens, and that
// one that was cancelled is not.
func TestLostHeartbeat(t *testing.T) {
	_, a := activityEnvironment(t)
	for _, c := range []struct {
		cause error
		lost  bool
	}{
		{serviceerror.NewDeadlineExceeded("context deadline exceeded"), true},
		{serviceerror.NewUnavailable("connection refused"), true},
		{temporal.NewCanceledError(), false},
		{context.Canceled, false},
	} {
		ctx, cancel := context.WithCancelCause(context.Background())
		_, err := alive(ctx, a, 0, func(ctx context.Context, _ int, _ Reporter) (int, error) {
			cancel(c.cause)
			return 0, ctx.Err()
		})
		var app *temporal.ApplicationError
		if got := errors.As(err, &app) && app.Type() == workflows.ErrStopped; got != c.lost {
			t.Errorf("cancelled by %v the error is %v", c.cause, err)
		}
	}
}

func TestClassify(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("while testing: %w", err) }
	for _, c := range []struct {
		err  error
		want string // type; empty: retried
	}{
		{durable.ErrConflict, workflows.ErrLogConflict},
		{mark(ErrChanged, wrap(durable.ErrConflict)), workflows.ErrOtherModel},
		{ErrDamaged, workflows.ErrCorrupt},
		{bank.ErrCorrupt, workflows.ErrCorrupt},
		{bank.ErrOtherModel, workflows.ErrOtherModel},
		{bank.ErrOtherBuild, workflows.ErrOtherModel},
		{ErrCandidate, workflows.ErrBadCandidate},
		{mark(ErrJob, search.ErrUnreachable), workflows.ErrBadSpec},
		{engine.ErrMalformed, workflows.ErrBadSpec},
		{engine.ErrUnsupported, workflows.ErrBadSpec},
		{engine.ErrNotFinite, workflows.ErrBadSpec},
		{fs.ErrPermission, workflows.ErrBadSpec},
		{fs.ErrNotExist, ""}, // a mount that is away
		{errors.New("no space left on device"), ""},
		{errStopped, ""},
	} {
		got := classify(wrap(c.err))
		var app *temporal.ApplicationError
		if ok := errors.As(got, &app); ok != (c.want != "") || ok && (app.Type() != c.want || !app.NonRetryable()) {
			t.Errorf("%v: %v, want type %q", c.err, got, c.want)
		}
		if !errors.Is(got, c.err) {
			t.Errorf("%v is lost in %v", c.err, got)
		}
	}
	if err := classify(wrap(context.Canceled)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if classify(nil) != nil {
		t.Error("no error is an error")
	}
}
