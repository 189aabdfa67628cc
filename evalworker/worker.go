package evalworker

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/paretopress/paretopress/workflows"
)

// How a worker behaves towards the server. A heartbeat reaches the server at most this long after it is
// recorded, which is what a killed worker's batch loses and how late a cancellation is noticed.
const (
	heartbeatDelay = 2 * time.Second
	stopTimeout    = 10 * time.Second // for the step at work to notice that the worker stops
)

// Worker is a worker process's part in the runs of a Temporal server: it takes workflow tasks and activities.
type Worker struct {
	bench      *Workbench
	activities *Activities
	workflows  worker.Worker
	eval       worker.Worker
}

// New returns a worker, not yet started.
func New(c client.Client, o Options) (*Worker, error) {
	o = o.withDefaults()
	bench := NewWorkbench(o)
	w := &Worker{bench: bench, activities: NewActivities(bench), workflows: workflows.NewWorker(c)}
	w.eval = worker.New(c, workflows.EvalQueue, worker.Options{
		// What does not get a slot here stays in the queue, for another worker.
		MaxConcurrentActivityExecutionSize: o.Slots,
		DisableWorkflowWorker:              true,
		DisableRegistrationAliasing:        true,
		MaxHeartbeatThrottleInterval:       heartbeatDelay,
		DefaultHeartbeatThrottleInterval:   heartbeatDelay,
		WorkerStopTimeout:                  stopTimeout,
	})
	w.activities.Register(w.eval)
	return w, nil
}

// Start starts to take tasks.
func (w *Worker) Start() error {
	if err := w.workflows.Start(); err != nil {
		return fmt.Errorf("evalworker: start: %w", err)
	}
	if err := w.eval.Start(); err != nil {
		w.workflows.Stop()
		return fmt.Errorf("evalworker: start: %w", err)
	}
	return nil
}

// Stop takes no more tasks, interrupts those at work, which lose no more than the candidate that each is
// at, and lets go of models and banks. Another worker, or this one when it is started anew, goes on.
func (w *Worker) Stop() error {
	w.activities.Stop()
	w.eval.Stop()
	w.workflows.Stop()
	w.activities.Wait()
	return w.bench.Close()
}
