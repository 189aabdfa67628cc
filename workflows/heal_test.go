package workflows_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	. "github.com/paretopress/paretopress/workflows"
	"github.com/paretopress/paretopress/workflows/flowtest"
)

// healing is a run that heals two points.
func healing() RunInput {
	in := input()
	in.Heal = HealFront
	return in
}

func TestHeal(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, 0, 0)
	r := e.result(healing())
	calls := strings.Join(acts.Calls(), "\n")
	for _, want := range []string{"Report {Folder:/runs/r1 Step:4 Healing:true Partial:false}", "Report {Folder:/runs/r1 Step:4 Healing:false Partial:false}",
		"FinishFinetune {Folder:/runs/r1/heal/c000000}", "FinishFinetune {Folder:/runs/r1/heal/c000001}",
		"ScoreHealed {Folder:/runs/r1 ID:c000000}", "ScoreHealed {Folder:/runs/r1 ID:c000001}"} {
		require.Contains(t, calls, want)
	}
	require.Equal(t, 5, r.Steps)
	s := e.status()
	require.Equal(t, PhaseDone, s.Phase)
	require.Equal(t, Healing{Done: 2, Total: 2, Steps: flowtest.TrainSteps}, *s.Healing)

	// Started again it heals nothing twice.
	again := newEnv(t, acts, 0, 0)
	again.result(healing())
	require.Equal(t, 2, strings.Count(strings.Join(acts.Calls(), "\n"), ActivityFinishFinetune))
	require.Equal(t, 2, again.status().Healing.Done)
}

// A point that cannot be healed is left as it was, and the run says so.
func TestHealDiverges(t *testing.T) {
	acts := &flowtest.Activities{}
	acts.Hook = func(_ context.Context, name string, in any) error {
		if train, ok := in.(TrainInput); ok && strings.HasSuffix(train.Folder, "c000000") {
			return Permanent(ErrBadSpec, errors.New("step 3: the loss is NaN"))
		}
		return nil
	}
	e := newEnv(t, acts, 0, 0)
	e.result(healing())
	s := e.status()
	require.Equal(t, PhaseDone, s.Phase)
	require.Equal(t, 1, s.Healing.Done)
	require.Equal(t, []string{"c000000: step 3: the loss is NaN"}, s.Healing.Failed)
}

// What may be mended fails the run, which goes on from there.
func TestHealFails(t *testing.T) {
	acts := &flowtest.Activities{Hook: failFirst(ActivityFinishFinetune, 1<<20, errors.New("no space left on device"))}
	err := newEnv(t, acts, 0, 0).failure(healing())
	require.Equal(t, "no space left on device", Cause(err).Error())
	require.Contains(t, strings.Join(acts.Calls(), "\n"), "Partial:true")
	acts.Hook = nil
	newEnv(t, acts, 0, 0).result(healing())
	require.Equal(t, 3, strings.Count(strings.Join(acts.Calls(), "\n"), "/heal/c000000 To:"), "its steps are not made twice")
}

// A pause holds the training at work; a stop ends it with what it has, and leaves the other point.
func TestPauseAndStopWhileHealing(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newTraining(t, acts, time.Minute)
	e.at(90*time.Second, func() {
		require.Equal(t, PhaseHeal, e.status().Phase)
		require.Equal(t, HealID("r1", "c000000"), e.status().Healing.Flow)
		e.rejected("larger --budget", UpdateExtend, ExtendInput{Tokens: 1})
		e.update(UpdatePause)
	})
	e.at(time.Hour, func() {
		require.True(t, e.status().Paused)
		e.update(UpdateStop)
	})
	e.result(healing())
	calls := strings.Join(acts.Calls(), "\n")
	require.Contains(t, calls, "ScoreHealed {Folder:/runs/r1 ID:c000000}")
	require.NotContains(t, calls, "c000001}")
	require.GreaterOrEqual(t, acts.Trained(folder+"/heal/c000000"), flowtest.TrainStop)
	require.Less(t, acts.Trained(folder+"/heal/c000000"), flowtest.TrainSteps)
}

// A run that was stopped in its search heals nothing.
func TestStoppedRunDoesNotHeal(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newEnv(t, acts, time.Minute, time.Minute)
	e.at(150*time.Second, func() { e.update(UpdateStop) })
	require.True(t, e.result(healing()).Stopped)
	require.NotContains(t, strings.Join(acts.Calls(), "\n"), "Heal ")
}

func TestCancelWhileHealing(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newTraining(t, acts, time.Minute)
	e.at(90*time.Second, func() { e.CancelWorkflow() })
	require.True(t, temporal.IsCanceledError(e.failure(healing())))
	require.True(t, e.status().Report.Partial)
}
