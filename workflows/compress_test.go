package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	. "github.com/paretopress/paretopress/workflows"
	"github.com/paretopress/paretopress/workflows/flowtest"
)

func TestRunFromStartToReport(t *testing.T) {
	acts := &flowtest.Activities{Ranges: [][2]int{{0, 3}, {3, 8}}}
	e := newEnv(t, acts, 0, 0)
	r := e.result(input())
	require.Equal(t, 5, r.Steps)
	require.EqualValues(t, 500, r.Tokens)
	require.False(t, r.Stopped)
	require.Len(t, r.Report.Front, 5)
	require.Equal(t, folder+"/front.json", r.Report.FrontPath)

	calls := acts.Calls()
	count := func(name string) (n int) {
		for _, c := range calls {
			if strings.HasPrefix(c, name+" ") {
				n++
			}
		}
		return n
	}
	require.Equal(t, 1, count(ActivityPrepare))
	require.Equal(t, 2, count(ActivityBuildLevels))
	require.Equal(t, 6, count(ActivityAdvance), "five steps and the word that the budget is spent")
	require.Equal(t, 5*2+flowtest.Finalists, count(ActivityEvaluate))
	require.Equal(t, 1, count(ActivityFinalists))
	require.Equal(t, 1, count(ActivityReport))

	s := e.status()
	require.Equal(t, PhaseDone, s.Phase)
	require.Equal(t, 8, s.Bank.Levels)
	require.EqualValues(t, 20, s.Search.Candidates)
	require.Equal(t, flowtest.Finalists, s.Batches)
	v, err := e.QueryWorkflow(QueryFront)
	require.NoError(t, err)
	var front []FrontRow
	require.NoError(t, v.Get(&front))
	require.Equal(t, r.Report.Front, front)
}

// A bank that is complete is not built again.
func TestNoBankNeeded(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, 0, 0)
	e.result(input())
	require.Empty(t, e.status().BankID)
}

// A log whose last step is not scored is taken up at that step: it is asked for again, scored, and the
// search goes on to the same end.
func TestResumeFromLog(t *testing.T) {
	want, _ := undisturbed(t)
	acts := &flowtest.Activities{Step: 3}
	r := newEnv(t, acts, 0, 0).result(input())
	require.Equal(t, want, r)
	for _, c := range acts.Calls() {
		for step := range 3 {
			require.NotContains(t, c, fmt.Sprintf("Ask:log/%06d.json", step), "scored again")
		}
	}
}

func TestRetriesWithBackoffChangeNothing(t *testing.T) {
	want, calls := undisturbed(t)
	for _, name := range []string{ActivityPrepare, ActivityAdvance, ActivityEvaluate, ActivityFinalists, ActivityReport} {
		t.Run(name, func(t *testing.T) {
			acts := &flowtest.Activities{Hook: failFirst(name, 4, errors.New("connection lost"))}
			e := newEnv(t, acts, 0, 0)
			start := e.Now()
			require.Equal(t, want, e.result(input()))
			require.Equal(t, calls, acts.Calls())
			// Two Evaluate run side by side and share the failures: 1 s + 2 s each. Elsewhere 1+2+4+8.
			least := 15 * time.Second
			if name == ActivityEvaluate {
				least = 3 * time.Second
			}
			require.GreaterOrEqual(t, e.Now().Sub(start), least)
		})
	}
}

// However often workers are stopped, and a good many times if they are killed, the run goes on.
func TestWorkersThatEndAreNoFailures(t *testing.T) {
	want, calls := undisturbed(t)
	killed := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, nil)
	for name, c := range map[string]struct {
		activity string
		times    int32
		err      error
	}{
		"stopped in Prepare":  {ActivityPrepare, 33, Stopped(errors.New("worker stopped"))},
		"stopped in Evaluate": {ActivityEvaluate, 33, Stopped(errors.New("worker stopped"))},
		"killed in Advance":   {ActivityAdvance, 24, killed},
		"killed in Evaluate":  {ActivityEvaluate, 8, killed},
	} {
		t.Run(name, func(t *testing.T) {
			acts := &flowtest.Activities{Hook: failFirst(c.activity, c.times, c.err)}
			require.Equal(t, want, newEnv(t, acts, 0, 0).result(input()))
			require.Equal(t, calls, acts.Calls())
			require.Empty(t, acts.Failed())
		})
	}
	acts := &flowtest.Activities{Hook: failFirst(ActivityAdvance, 25, killed)}
	require.True(t, temporal.IsTimeoutError(newEnv(t, acts, 0, 0).failure(input())), "it must end some time")
}

func TestLastingFailureEndsTheRun(t *testing.T) {
	acts := &flowtest.Activities{Hook: failFirst(ActivityEvaluate, 1<<20, errors.New("write scores: no space left on device"))}
	err := newEnv(t, acts, 0, 0).failure(input())
	require.Equal(t, "write scores: no space left on device", Cause(err).Error())
	require.Empty(t, acts.Failed(), "no candidate is to blame")
	require.Contains(t, strings.Join(acts.Calls(), "\n"), "Partial:true", "the front so far is derived")
}

func TestPermanentErrorsAreNotRetried(t *testing.T) {
	for _, kind := range []string{ErrBadSpec, ErrBadCandidate, ErrLogConflict, ErrCorrupt, ErrOtherModel} {
		t.Run(kind, func(t *testing.T) {
			var mu sync.Mutex
			n := 0
			acts := &flowtest.Activities{Hook: func(_ context.Context, name string, _ any) error {
				mu.Lock()
				defer mu.Unlock()
				if name != ActivityAdvance {
					return nil
				}
				n++
				return Permanent(kind, fmt.Errorf("model.gguf: %w", context.DeadlineExceeded))
			}}
			err := newEnv(t, acts, 0, 0).failure(input())
			var app *temporal.ApplicationError
			require.ErrorAs(t, Cause(err), &app)
			require.Equal(t, kind, app.Type())
			require.Equal(t, "model.gguf: context deadline exceeded", Cause(err).Error())
			require.Equal(t, 1, n)
		})
	}
}

func TestCauseOfPlainErrors(t *testing.T) {
	err := errors.New("plain")
	require.Equal(t, err, Cause(err))
	require.NoError(t, Cause(nil))
}

// A step that does not follow the last would run for ever.
func TestStepOutOfOrder(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, 0, 0)
	e.OnActivity(ActivityAdvance, mock.Anything, mock.Anything).Return(AdvanceResult{Step: 7, Ask: "log/000007.json"}, nil)
	require.ErrorContains(t, e.failure(input()), "step 7 was to follow -1")
}

func TestCancelledRunStillReports(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, time.Minute, time.Minute)
	e.at(150*time.Second, func() { e.CancelWorkflow() }) // in the second step
	err := e.failure(input())
	require.True(t, temporal.IsCanceledError(err), "%v", err)
	calls := acts.Calls()
	require.Contains(t, calls[len(calls)-1], "Report {Folder:/runs/r1 Step:-1 Healing:false Partial:true}")
	s := e.status()
	require.Equal(t, PhaseSearch, s.Phase)
	require.True(t, s.Report.Partial)
}

func TestCancelBeforeSearchReportsNothing(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, 0, 0)
	e.OnActivity(ActivityPrepare, mock.Anything, mock.Anything).Return(acts.Prepare).After(time.Minute)
	e.at(time.Second, func() { e.CancelWorkflow() })
	require.True(t, temporal.IsCanceledError(e.failure(input())))
	require.NotContains(t, strings.Join(acts.Calls(), "\n"), ActivityReport)
}

// While another run builds the same bank a run waits for it, and then finds it built.
func TestBankIsShared(t *testing.T) {
	acts := &flowtest.Activities{Ranges: [][2]int{{0, 8}}}
	held := time.Duration(0)
	holder := func(ctx workflow.Context) error { return workflow.Sleep(ctx, 10*time.Minute) }
	both := func(ctx workflow.Context) error {
		other := workflow.ExecuteChildWorkflow(workflow.WithWorkflowID(ctx, BankWorkflowID("b0")), "Holder")
		if err := other.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
			return err
		}
		start := workflow.Now(ctx)
		err := workflow.ExecuteChildWorkflow(workflow.WithWorkflowID(ctx, "r1"), WorkflowCompress, input()).Get(ctx, nil)
		held = workflow.Now(ctx).Sub(start)
		return err
	}
	e := newEnv(t, acts, 0, 0, func(e *env) {
		e.RegisterWorkflowWithOptions(holder, workflow.RegisterOptions{Name: "Holder"})
		e.RegisterWorkflowWithOptions(both, workflow.RegisterOptions{Name: "Both"})
	})
	e.ExecuteWorkflow("Both")
	require.NoError(t, e.GetWorkflowError())
	require.GreaterOrEqual(t, held, 10*time.Minute, "built while the other run did")
	require.Less(t, held, 12*time.Minute)
	require.Contains(t, acts.Calls(), "BuildLevels {Folder:/runs/r1 From:0 To:8}")
}

func TestBankStopsAtFirstFailure(t *testing.T) {
	acts := &flowtest.Activities{Ranges: [][2]int{{0, 4}, {4, 8}}, Hook: func(_ context.Context, name string, in any) error {
		if b, ok := in.(BuildLevelsInput); ok && b.From == 4 {
			return Permanent(ErrOtherModel, errors.New("bank: of another model"))
		}
		return nil
	}}
	e := newEnv(t, acts, 0, 0)
	e.OnActivity(ActivityBuildLevels, mock.Anything, BuildLevelsInput{Folder: folder, From: 0, To: 4}).Return(acts.BuildLevels).After(24 * time.Hour)
	e.OnActivity(ActivityBuildLevels, mock.Anything, mock.Anything).Return(acts.BuildLevels)
	start := e.Now()
	require.Equal(t, "bank: of another model", Cause(e.failure(input())).Error())
	require.Less(t, e.Now().Sub(start), time.Hour, "waited for the other range")
}

// However the search is cut into runs of the workflow, it does the same.
func TestContinueAsNewChangesNothing(t *testing.T) {
	search := func(stepsPerRun int, suggest bool) (runs int, last SearchResult, calls []string) {
		acts := &flowtest.Activities{}
		in := SearchInput{Run: input(), State: State{Step: -1, Control: Control{Budget: input().Budget}}}
		in.Run.Tuning.StepsPerRun = stepsPerRun
		for {
			runs++
			e := newEnv(t, acts, 0, 0)
			e.SetContinueAsNewSuggested(suggest)
			e.ExecuteWorkflow(WorkflowSearch, in)
			var next *workflow.ContinueAsNewError
			if errors.As(e.GetWorkflowError(), &next) {
				in = SearchInput{}
				require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
				continue
			}
			require.NoError(t, e.GetWorkflowError())
			require.NoError(t, e.GetWorkflowResult(&last))
			return runs, last, acts.Calls()
		}
	}
	runs, want, calls := search(0, false)
	require.Equal(t, 1, runs)
	for _, c := range []struct {
		steps   int
		suggest bool
		runs    int
	}{{1, false, 6}, {2, false, 3}, {0, true, 6}} {
		runs, got, gotCalls := search(c.steps, c.suggest)
		require.Equal(t, c.runs, runs)
		got.Started, got.Reported = want.Started, want.Reported
		require.Equal(t, want, got)
		require.Equal(t, calls, gotCalls)
	}
}

// Attributes are set only where the namespace has them.
func TestSearchAttributes(t *testing.T) {
	for _, on := range []bool{false, true} {
		e := newEnv(t, &flowtest.Activities{Ranges: [][2]int{{0, 8}}}, time.Second, time.Second)
		phases := map[string]bool{}
		e.OnUpsertTypedSearchAttributes(mock.MatchedBy(func(a temporal.SearchAttributes) bool {
			phase, ok := a.GetKeyword(AttributePhase)
			phases[phase] = true
			return ok
		})).Return(nil)
		in := input()
		in.Attributes = on
		e.result(in)
		if on {
			require.Len(t, phases, 6, "%v", phases)
		} else {
			require.Empty(t, phases)
		}
	}
	require.Equal(t, enumspb.INDEXED_VALUE_TYPE_DOUBLE, Attributes()["PPBest"])
}
