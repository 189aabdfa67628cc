package evalworker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/paretopress/paretopress/workflows"
)

// heartbeatEvery is how often an activity says that it is alive and how far it is.
const heartbeatEvery = 2 * time.Second

// Activities are the methods of a [Workbench] as Temporal activities: they add heartbeats and sort their
// errors into those that a retry may mend and those that none will.
type Activities struct {
	bench   *Workbench
	every   time.Duration                 // between heartbeats
	beat    func(context.Context, ...any) // records a heartbeat
	stop    func()
	stopped context.Context
	running sync.WaitGroup
}

// errLost interrupts an activity that could not say that it is alive: Temporal's client then cancels its context, though nobody wants it cancelled, and
// a machine that is busy enough is a little late now and then.
var errLost = errors.New("evalworker: the server did not answer a heartbeat")

// errStopped interrupts activities when their worker stops: another worker goes on.
var errStopped = errors.New("evalworker: the worker was stopped")

// NewActivities returns the activities of a workbench, which must outlive them.
func NewActivities(w *Workbench) *Activities {
	a := &Activities{bench: w, every: heartbeatEvery, beat: activity.RecordHeartbeat}
	a.stopped, a.stop = context.WithCancel(context.Background())
	return a
}

// Stop interrupts the activities at work and any begun from now on.
func (a *Activities) Stop() { a.stop() }

// Wait returns when no activity is at work.
func (a *Activities) Wait() { a.running.Wait() }

// Register registers the activities under the names of package workflows.
func (a *Activities) Register(r worker.ActivityRegistry) {
	for name, f := range map[string]any{
		workflows.ActivityPrepare: a.Prepare, workflows.ActivityBuildLevels: a.BuildLevels, workflows.ActivityAdvance: a.Advance,
		workflows.ActivityEvaluate: a.Evaluate, workflows.ActivityFinalists: a.Finalists, workflows.ActivityReport: a.Report,
		workflows.ActivityPrepareFinetune: a.PrepareFinetune, workflows.ActivityTrain: a.Train, workflows.ActivityFinishFinetune: a.FinishFinetune,
		workflows.ActivityHeal: a.Heal, workflows.ActivityScoreHealed: a.ScoreHealed,
	} {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

// Prepare is [Workbench.Prepare].
func (a *Activities) Prepare(ctx context.Context, in workflows.PrepareInput) (workflows.PrepareResult, error) {
	return alive(ctx, a, in, a.bench.Prepare)
}

// BuildLevels is [Workbench.BuildLevels].
func (a *Activities) BuildLevels(ctx context.Context, in workflows.BuildLevelsInput) (workflows.BuildLevelsResult, error) {
	return alive(ctx, a, in, a.bench.BuildLevels)
}

// Advance is [Workbench.Advance].
func (a *Activities) Advance(ctx context.Context, in workflows.AdvanceInput) (workflows.AdvanceResult, error) {
	return alive(ctx, a, in, a.bench.Advance)
}

// Evaluate is [Workbench.Evaluate].
func (a *Activities) Evaluate(ctx context.Context, in workflows.EvaluateInput) (workflows.EvaluateResult, error) {
	return alive(ctx, a, in, a.bench.Evaluate)
}

// Finalists is [Workbench.Finalists].
func (a *Activities) Finalists(ctx context.Context, in workflows.FinalistsInput) (workflows.FinalistsResult, error) {
	return alive(ctx, a, in, a.bench.Finalists)
}

// Report is [Workbench.Report].
func (a *Activities) Report(ctx context.Context, in workflows.ReportInput) (workflows.ReportResult, error) {
	return alive(ctx, a, in, a.bench.Report)
}

// PrepareFinetune is [Workbench.PrepareFinetune].
func (a *Activities) PrepareFinetune(ctx context.Context, in workflows.PrepareFinetuneInput) (workflows.PrepareFinetuneResult, error) {
	return alive(ctx, a, in, a.bench.PrepareFinetune)
}

// Train is [Workbench.Train].
func (a *Activities) Train(ctx context.Context, in workflows.TrainInput) (workflows.TrainResult, error) {
	return alive(ctx, a, in, a.bench.Train)
}

// FinishFinetune is [Workbench.FinishFinetune].
func (a *Activities) FinishFinetune(ctx context.Context, in workflows.FinishFinetuneInput) (workflows.FinishFinetuneResult, error) {
	return alive(ctx, a, in, a.bench.FinishFinetune)
}

// Heal is [Workbench.Heal].
func (a *Activities) Heal(ctx context.Context, in workflows.HealInput) (workflows.HealResult, error) {
	return alive(ctx, a, in, a.bench.Heal)
}

// ScoreHealed is [Workbench.ScoreHealed].
func (a *Activities) ScoreHealed(ctx context.Context, in workflows.ScoreHealedInput) (workflows.ScoreHealedResult, error) {
	return alive(ctx, a, in, a.bench.ScoreHealed)
}

// alive does a piece of work with a heartbeat that goes on whatever the work is at.
func alive[I, O any](ctx context.Context, a *Activities, in I, do func(context.Context, I, Reporter) (O, error)) (O, error) {
	a.running.Add(1)
	defer a.running.Done()
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.stopped, cancel)()
	latest := make(chan workflows.Progress, 1) // holds the newest progress
	latest <- workflows.Progress{}
	var heart sync.WaitGroup
	heart.Go(func() {
		tick := time.NewTicker(a.every)
		defer tick.Stop()
		for {
			select {
			case <-work.Done():
				return
			case <-tick.C:
				p := <-latest
				latest <- p
				a.beat(ctx, p)
			}
		}
	})
	out, err := do(work, in, func(p workflows.Progress) {
		<-latest
		latest <- p
	})
	switch {
	case err == nil || work.Err() == nil:
	case ctx.Err() == nil:
		err = workflows.Stopped(errStopped)
	case lost(context.Cause(ctx)):
		err = workflows.Stopped(fmt.Errorf("%w: %w", errLost, context.Cause(ctx)))
	}
	cancel()
	heart.Wait()
	return out, classify(err)
}

// lost tells whether an activity's context was cancelled by the failure of a heartbeat, by its cause.
func lost(cause error) bool {
	return !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) && !temporal.IsCanceledError(cause)
}
