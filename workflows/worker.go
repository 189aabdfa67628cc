package workflows

import (
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// Register registers the workflows of this package under their stable names.
func Register(r worker.WorkflowRegistry) {
	r.RegisterWorkflowWithOptions(Compress, workflow.RegisterOptions{Name: WorkflowCompress})
	r.RegisterWorkflowWithOptions(BuildBank, workflow.RegisterOptions{Name: WorkflowBuildBank})
	r.RegisterWorkflowWithOptions(Search, workflow.RegisterOptions{Name: WorkflowSearch})
	r.RegisterWorkflowWithOptions(Finetune, workflow.RegisterOptions{Name: WorkflowFinetune})
}

// NewWorker returns a worker for the workflows (no activities), not yet started.
func NewWorker(c client.Client) worker.Worker {
	w := worker.New(c, WorkflowQueue, worker.Options{
		LocalActivityWorkerOnly:          true,
		MaxConcurrentWorkflowTaskPollers: 4,
		StickyScheduleToStartTimeout:     time.Second, // a killed worker's sticky queue is given up quickly
		DisableRegistrationAliasing:      true,
		WorkerStopTimeout:                5 * time.Second,
	})
	Register(w)
	return w
}
