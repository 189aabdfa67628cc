package workflows_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	. "github.com/paretopress/paretopress/workflows"
	"github.com/paretopress/paretopress/workflows/flowtest"
)

// Steps take two minutes each here: one for Advance, one for its two batches side by side.

func TestPauseForAnHour(t *testing.T) {
	want, calls := undisturbed(t)
	for name, at := range map[string]time.Duration{"in Advance": 150 * time.Second, "in Evaluate": 210 * time.Second} {
		t.Run(name, func(t *testing.T) {
			acts := &flowtest.Activities{}
			e := newEnv(t, acts, time.Minute, time.Minute)
			e.at(at, func() { e.update(UpdatePause) })
			var paused Status
			e.at(59*time.Minute, func() { paused = e.status() })
			e.at(time.Hour, func() { e.update(UpdateResume) })
			start := e.Now()
			r := e.result(input())
			require.True(t, paused.Paused)
			require.Equal(t, PhaseSearch, paused.Phase)
			require.Less(t, paused.Search.Step, 2)
			require.Greater(t, e.Now().Sub(start), time.Hour)
			require.Equal(t, want, r)
			// Batches in flight were cancelled and sent again; nothing else was done twice.
			require.Equal(t, calls, slices.Compact(acts.Calls()))
		})
	}
}

// A pause before the search begins holds it up.
func TestPauseBeforeSearch(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, time.Minute, time.Minute)
	e.at(0, func() { e.update(UpdatePause) })
	e.at(time.Hour, func() {
		require.NotContains(t, strings.Join(acts.Calls(), "\n"), ActivityAdvance)
		e.update(UpdateResume)
	})
	require.Equal(t, 5, e.result(input()).Steps)
}

func TestStopFinishesWithTheFrontSoFar(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, time.Minute, time.Minute)
	e.at(5*time.Minute+30*time.Second, func() { e.update(UpdateStop) }) // in step 2's batches
	r := e.result(input())
	require.True(t, r.Stopped)
	require.Equal(t, 2, r.Steps)
	require.Len(t, r.Report.Front, 2)
	require.Contains(t, acts.Calls(), "Finalists {Folder:/runs/r1 Step:1}")
	require.NotNil(t, r.Report.Front[0].HeldOut)
}

func TestStopWhilePaused(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, time.Minute, time.Minute)
	e.at(3*time.Minute, func() { e.update(UpdatePause) })
	e.at(time.Hour, func() { e.update(UpdateStop) })
	require.True(t, e.result(input()).Stopped)
}

func TestExtend(t *testing.T) {
	for name, at := range map[string]time.Duration{
		"in the first step":        90 * time.Second,
		"while the last word runs": 10*time.Minute + 30*time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			acts := &flowtest.Activities{}
			e := newEnv(t, acts, time.Minute, time.Minute)
			e.at(at, func() { e.update(UpdateExtend, ExtendInput{Tokens: 2*flowtest.StepTokens + 1}) })
			r := e.result(input())
			require.Equal(t, 8, r.Steps, "budget 701: the step that crosses it is the last")
			require.EqualValues(t, 800, r.Tokens)
			require.EqualValues(t, 701, e.status().Budget)
		})
	}
}

func TestUpdatesThatMakeNoSenseAreRejected(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, time.Minute, time.Minute)
	e.OnActivity(ActivityPrepare, mock.Anything, mock.Anything).Return(acts.Prepare).After(time.Minute)
	e.at(30*time.Second, func() { e.rejected("no front yet", UpdateStop) })
	e.at(2*time.Minute, func() {
		e.rejected("not paused", UpdateResume)
		e.rejected("by 0 tokens", UpdateExtend, ExtendInput{})
		e.rejected("by -5 tokens", UpdateExtend, ExtendInput{Tokens: -5})
		e.rejected("overflow", UpdateExtend, ExtendInput{Tokens: math.MaxInt64})
		e.update(UpdatePause)
		e.rejected("already paused", UpdatePause)
		e.update(UpdateResume)
		e.update(UpdateStop)
		e.rejected("is stopping", UpdateStop)
		e.rejected("is stopping", UpdatePause)
		e.rejected("is stopping", UpdateExtend, ExtendInput{Tokens: 1})
	})
	finishing := false
	e.at(2*time.Minute+30*time.Second, func() { // held-out scoring
		if finishing = e.status().Phase == PhaseFinalists; finishing {
			e.rejected("finishing", UpdateStop)
			e.rejected("larger --budget", UpdateExtend, ExtendInput{Tokens: 1})
		}
	})
	e.result(input())
	require.True(t, finishing)
}

// One candidate that its workers die of is found by halving and recorded as failed; all others are
// scored and the run goes on.
func TestPoisonedCandidate(t *testing.T) {
	for name, poison := range map[string]func() error{
		"error": func() error { return Failed(errors.New("out of memory")) },
		"panic": func() error { panic("index out of range") },
	} {
		t.Run(name, func(t *testing.T) {
			acts := &flowtest.Activities{Hook: func(_ context.Context, _ string, in any) error {
				if ev, ok := in.(EvaluateInput); ok && ev.Ask == "log/000002.json" && ev.From <= 3 && 3 < ev.To && !ev.MarkFailed {
					return poison()
				}
				return nil
			}}
			e := newEnv(t, acts, 0, 0)
			r := e.result(input())
			require.Equal(t, 5, r.Steps)
			require.Equal(t, []string{"log/000002.json/3"}, acts.Failed())
			require.Equal(t, 1, e.status().Search.Failed)
			require.Contains(t, acts.Calls(), "Evaluate {Folder:/runs/r1 Ask:log/000002.json From:2 To:3 MarkFailed:false}")
		})
	}
}

// The run learns how its search stands, but not at every step.
func TestProgressReportsAreFew(t *testing.T) {
	e := newEnv(t, &flowtest.Activities{}, time.Second, time.Second)
	reports := 0
	e.OnUpsertTypedSearchAttributes(mock.MatchedBy(func(a temporal.SearchAttributes) bool {
		if _, ok := a.GetInt64(AttributeGeneration); ok {
			reports++ // once by the search and once by the run
		}
		return true
	})).Return(nil)
	e.at(1900*time.Second, func() {
		require.Greater(t, e.status().Search.Step, 900)
		require.Less(t, e.status().Search.Step, 950)
	})
	in := input()
	in.Attributes = true
	in.Budget = 1000 * flowtest.StepTokens
	e.result(in)
	require.Greater(t, reports/2, 80)
	require.Less(t, reports/2, 200)
}

// Finalists can be held up as well, and a run cancelled there reports what it has.
func TestPauseAndCancelWhileFinalistsAreScored(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, 0, time.Minute)
	e.at(5*time.Minute+30*time.Second, func() { // after five steps of a minute
		require.Equal(t, PhaseFinalists, e.status().Phase)
		e.update(UpdatePause)
	})
	e.at(time.Hour, func() {
		s := e.status()
		require.True(t, s.Paused)
		require.Equal(t, 0, s.BatchDone)
		require.Equal(t, flowtest.Finalists, s.Batches)
		e.update(UpdateResume)
	})
	e.at(time.Hour+30*time.Second, func() { e.CancelWorkflow() })
	require.True(t, temporal.IsCanceledError(e.failure(input())))
	require.True(t, e.status().Report.Partial)
}

// A run that is cancelled while its bank is built waits for the builder to end.
func TestCancelWhileBankIsBuilt(t *testing.T) {
	acts := &flowtest.Activities{Ranges: [][2]int{{0, 4}, {4, 8}}}
	e := newEnv(t, acts, 0, 0)
	e.OnActivity(ActivityBuildLevels, mock.Anything, mock.Anything).Return(acts.BuildLevels).After(time.Hour)
	ended := ""
	e.SetOnChildWorkflowCanceledListener(func(info *workflow.Info) { ended = info.WorkflowType.Name })
	e.at(time.Minute, func() {
		require.Equal(t, PhaseBank, e.status().Phase)
		e.CancelWorkflow()
	})
	require.True(t, temporal.IsCanceledError(e.failure(input())))
	require.Equal(t, WorkflowBuildBank, ended)
	require.NotContains(t, strings.Join(acts.Calls(), "\n"), ActivityAdvance)
}
