package workflows_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	. "github.com/paretopress/paretopress/workflows"
	"github.com/paretopress/paretopress/workflows/flowtest"
)

// tuned is a training of ten steps in three activities.
func tuned() FinetuneInput {
	return FinetuneInput{Folder: folder, ID: "t1", Model: "pretended", Method: "spiel-ag", Objective: ObjectiveKL, Steps: flowtest.TrainSteps}
}

// newTraining returns an environment in which a segment of a training takes the given time.
func newTraining(t *testing.T, acts *flowtest.Activities, train time.Duration) *env {
	e := newEnv(t, acts, 0, 0)
	if train > 0 {
		e.OnActivity(ActivityTrain, mock.Anything, mock.Anything).Return(acts.Train).After(train)
	}
	return e
}

// trained trains to the end, which must be a success.
func (e *env) trained(in FinetuneInput) FinishFinetuneResult {
	e.ExecuteWorkflow(WorkflowFinetune, in)
	require.True(e.t, e.IsWorkflowCompleted())
	require.NoError(e.t, e.GetWorkflowError())
	var r FinishFinetuneResult
	require.NoError(e.t, e.GetWorkflowResult(&r))
	return r
}

// untrained trains to the end, which must be an error.
func (e *env) untrained(in FinetuneInput) error {
	e.ExecuteWorkflow(WorkflowFinetune, in)
	require.True(e.t, e.IsWorkflowCompleted())
	require.Error(e.t, e.GetWorkflowError())
	return e.GetWorkflowError()
}

func TestFinetune(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newTraining(t, acts, 0)
	r := e.trained(tuned())
	require.Equal(t, flowtest.TrainSteps, r.Steps)
	require.Equal(t, []string{
		"FinishFinetune {Folder:/runs/r1}", "PrepareFinetune {Folder:/runs/r1}",
		"Train {Folder:/runs/r1 To:10}", "Train {Folder:/runs/r1 To:4}", "Train {Folder:/runs/r1 To:8}",
	}, acts.Calls())
	s := e.status()
	require.Equal(t, PhaseDone, s.Phase)
	require.Equal(t, flowtest.TrainSteps, s.Training.Step)
	require.EqualValues(t, flowtest.TrainSteps*flowtest.TrainTokens, s.Training.Tokens)
	require.Equal(t, 0.3, s.Training.Finished.After.KL)
}

// A folder with a checkpoint is gone on with from there.
func TestFinetuneResumes(t *testing.T) {
	acts := &flowtest.Activities{}
	stop := errors.New("stop")
	acts.Hook = func(_ context.Context, name string, in any) error {
		if name == "step" && in.(int) == 5 {
			return Permanent(ErrBadSpec, stop)
		}
		return nil
	}
	require.ErrorContains(t, newTraining(t, acts, 0).untrained(tuned()), "stop")
	require.Equal(t, 5, acts.Trained(folder))
	acts.Hook = nil
	e := newTraining(t, acts, 0)
	require.Equal(t, flowtest.TrainSteps, e.trained(tuned()).Steps)
	require.Equal(t, 5, e.status().Training.Trained, "steps of this workflow")
	require.Equal(t, 1, strings.Count(strings.Join(acts.Calls(), "\n"), "To:4"))
}

// A worker that is stopped or fails costs no step.
func TestFinetuneRetries(t *testing.T) {
	for name, err := range map[string]error{"stopped": Stopped(errors.New("worker stopped")), "failed": errors.New("no space left on device")} {
		t.Run(name, func(t *testing.T) {
			fails := 3
			acts := &flowtest.Activities{}
			acts.Hook = func(_ context.Context, name string, in any) error {
				if name == "step" && in.(int) == 6 && fails > 0 {
					fails--
					return err
				}
				return nil
			}
			r := newTraining(t, acts, 0).trained(tuned())
			require.Equal(t, flowtest.TrainSteps, r.Steps)
			require.EqualValues(t, flowtest.TrainSteps*flowtest.TrainTokens, r.Tokens)
		})
	}
}

func TestFinetuneContinuesAsNew(t *testing.T) {
	acts := &flowtest.Activities{}
	in := tuned()
	in.Tuning.StepsPerRun = 2
	err := newTraining(t, acts, 0).untrained(in)
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, err, &again)
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &in))
	require.Equal(t, 8, in.Training.Step)
	e := newTraining(t, acts, 0)
	require.Equal(t, flowtest.TrainSteps, e.trained(in).Steps)
	require.Equal(t, flowtest.TrainSteps, e.status().Training.Trained)
	require.Equal(t, 1, strings.Count(strings.Join(acts.Calls(), "\n"), ActivityPrepareFinetune))
}

// A paused training gives its machine back, and goes on when it is resumed.
func TestFinetunePauses(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newTraining(t, acts, time.Minute)
	e.at(90*time.Second, func() { e.update(UpdatePause) })
	e.at(time.Hour, func() {
		s := e.status()
		require.True(t, s.Paused)
		require.Equal(t, PhaseTrain, s.Phase)
		require.Equal(t, 4, s.Training.Step)
		e.rejected("already paused", UpdatePause)
		e.update(UpdateResume)
	})
	e.at(time.Hour+time.Second, func() { e.rejected("not paused", UpdateResume) })
	began := e.Now()
	require.Equal(t, flowtest.TrainSteps, e.trained(tuned()).Steps)
	require.Greater(t, e.Now().Sub(began), time.Hour)
}

// A training that is stopped finishes with what it has.
func TestFinetuneStops(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newTraining(t, acts, time.Minute)
	e.OnActivity(ActivityPrepareFinetune, mock.Anything, mock.Anything).Return(acts.PrepareFinetune).After(time.Minute)
	e.at(time.Second, func() { e.rejected("nothing is trained yet", UpdateStop) })
	e.at(150*time.Second, func() {
		e.update(UpdatePause)
		e.rejected("cannot extend a training", UpdateExtend, ExtendInput{Tokens: 5})
		e.update(UpdateStop)
		e.rejected("is stopping", UpdateStop)
	})
	n := e.trained(tuned()).Steps
	require.GreaterOrEqual(t, n, flowtest.TrainStop)
	require.Less(t, n, flowtest.TrainSteps)
	s := e.status()
	require.False(t, s.Paused)
	require.True(t, s.Stopping)
	require.Equal(t, n, s.Training.Step)
}

// What the run wants that a training belongs to counts as much as what is wanted of the training, and an old word of it does not.
func TestFinetuneObeysItsRun(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newTraining(t, acts, time.Minute)
	e.at(30*time.Second, func() { e.SignalWorkflow("control", Control{Seq: 2, Paused: true}) })
	e.at(time.Hour, func() {
		e.SignalWorkflow("control", Control{Seq: 1})
		require.True(t, e.status().Paused)
		e.rejected("the run that this training belongs to is paused", UpdateResume)
	})
	e.at(2*time.Hour, func() { e.SignalWorkflow("control", Control{Seq: 3, Stop: true}) })
	require.Less(t, e.trained(tuned()).Steps, flowtest.TrainSteps)
}

func TestFinetuneCancelled(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newTraining(t, acts, time.Minute)
	e.at(90*time.Second, func() { e.CancelWorkflow() })
	require.True(t, temporal.IsCanceledError(e.untrained(tuned())))
	require.NotContains(t, strings.Join(acts.Calls(), "\n"), ActivityFinishFinetune)
}

// A loss that is not finite ends a training at once, with the words of the activity.
func TestFinetuneDiverges(t *testing.T) {
	acts := &flowtest.Activities{}
	acts.Hook = func(_ context.Context, name string, in any) error {
		if name == "step" && in.(int) == 5 {
			return Permanent(ErrBadSpec, errors.New("step 6: the loss is NaN"))
		}
		return nil
	}
	err := newTraining(t, acts, 0).untrained(tuned())
	require.Equal(t, "step 6: the loss is NaN", Cause(err).Error())
}

// An activity that comes back before its stop would be sent for ever.
func TestFinetuneShortOfItsStop(t *testing.T) {
	acts := &flowtest.Activities{}
	e := newTraining(t, acts, 0)
	e.OnActivity(ActivityTrain, mock.Anything, mock.Anything).Return(TrainResult{Step: 3}, nil)
	require.ErrorContains(t, e.untrained(tuned()), "step 4 was to be reached")
}
