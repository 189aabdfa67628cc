package workflows_test

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	. "github.com/paretopress/paretopress/workflows"
	"github.com/paretopress/paretopress/workflows/flowtest"
)

const folder = "/runs/r1"

// quiet keeps the test environment's log out of the output.
var quiet = sdklog.NewStructuredLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))

// env is a test environment whose clock skips ahead when nothing is left to do.
type env struct {
	*testsuite.TestWorkflowEnvironment
	t    *testing.T
	acts *flowtest.Activities
}

// newEnv returns an environment with the workflows and acts registered. Advance and Evaluate take
// the given time on its clock (0: none), so that something can happen meanwhile.
//
// The environment wants everything registered before the first mock: extra registers more workflows.
func newEnv(t *testing.T, acts *flowtest.Activities, advance, evaluate time.Duration, extra ...func(*env)) *env {
	var s testsuite.WorkflowTestSuite
	s.SetLogger(quiet)
	e := &env{TestWorkflowEnvironment: s.NewTestWorkflowEnvironment(), t: t, acts: acts}
	e.SetTestTimeout(20 * time.Second)
	Register(e)
	acts.Register(e)
	for _, f := range extra {
		f(e)
	}
	if advance > 0 {
		e.OnActivity(ActivityAdvance, mock.Anything, mock.Anything).Return(acts.Advance).After(advance)
	}
	if evaluate > 0 {
		e.OnActivity(ActivityEvaluate, mock.Anything, mock.Anything).Return(acts.Evaluate).After(evaluate)
	}
	return e
}

// input is a run that takes five steps.
func input() RunInput {
	return RunInput{Folder: folder, ID: "r1", Model: "pretended", Space: SpaceQuant, Target: "bpw=3", Method: MethodEvoPress, Budget: 5 * flowtest.StepTokens}
}

// at calls f when the given time has passed on the environment's clock.
func (e *env) at(d time.Duration, f func()) { e.RegisterDelayedCallback(f, d) }

// update sends an update that must be accepted.
func (e *env) update(name string, args ...any) {
	e.UpdateWorkflowNoRejection(name, name+e.Now().String(), e.t, args...)
}

// rejected sends an update that must be rejected, before the test ends, with an error that contains want.
func (e *env) rejected(want, name string, args ...any) {
	called := false
	e.UpdateWorkflow(name, name+want, &testsuite.TestUpdateCallback{
		OnReject: func(err error) {
			called = true
			require.ErrorContains(e.t, err, want)
		},
		OnAccept:   func() { e.t.Errorf("%s was accepted, want %q", name, want) },
		OnComplete: func(any, error) {},
	}, args...)
	e.t.Cleanup(func() { require.True(e.t, called, "%s was not rejected: %s", name, want) })
}

// status asks the run.
func (e *env) status() Status {
	v, err := e.QueryWorkflow(QueryStatus)
	require.NoError(e.t, err)
	var s Status
	require.NoError(e.t, v.Get(&s))
	return s
}

// result runs to the end, which must be a success, and returns the result.
func (e *env) result(in RunInput) RunResult {
	e.ExecuteWorkflow(WorkflowCompress, in)
	require.True(e.t, e.IsWorkflowCompleted())
	require.NoError(e.t, e.GetWorkflowError())
	var r RunResult
	require.NoError(e.t, e.GetWorkflowResult(&r))
	return r
}

// failure runs to the end, which must be an error, and returns it.
func (e *env) failure(in RunInput) error {
	e.ExecuteWorkflow(WorkflowCompress, in)
	require.True(e.t, e.IsWorkflowCompleted())
	require.Error(e.t, e.GetWorkflowError())
	return e.GetWorkflowError()
}

// undisturbed are the activities of a run that nothing happened to.
func undisturbed(t *testing.T) (RunResult, []string) {
	acts := &flowtest.Activities{}
	r := newEnv(t, acts, 0, 0).result(input())
	return r, acts.Calls()
}

// failFirst returns a hook that fails the first n calls of an activity.
func failFirst(name string, n int32, err error) func(context.Context, string, any) error {
	var calls atomic.Int32
	return func(_ context.Context, called string, _ any) error {
		if called == name && calls.Add(1) <= n {
			return err
		}
		return nil
	}
}
