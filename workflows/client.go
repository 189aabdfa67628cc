package workflows

import (
	"context"
	"errors"
	"fmt"
	"maps"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
)

// Start starts the run, or attaches to it if a workflow of its id is running. A run that ended may be
// started again: it goes on from its folder.
func Start(ctx context.Context, c client.Client, in RunInput) (client.WorkflowRun, error) {
	o := startOptions(in.ID, in.Model, in.Attributes)
	o.StaticSummary = fmt.Sprintf("%s %s %s", in.Model, in.Space, in.Target)
	o.Memo = map[string]any{"folder": in.Folder, "model": in.Model, "space": in.Space, "target": in.Target,
		"method": in.Method, "seed": in.Seed, "budget": in.Budget}
	run, err := c.ExecuteWorkflow(ctx, o, WorkflowCompress, in)
	if err != nil {
		return nil, fmt.Errorf("workflows: start run %s: %w", in.ID, err)
	}
	return run, nil
}

// StartFinetune starts the training, or attaches to it if a workflow of its id is running. One that ended may be started again: it goes on from
// its folder.
func StartFinetune(ctx context.Context, c client.Client, in FinetuneInput) (client.WorkflowRun, error) {
	o := startOptions(in.ID, in.Model, in.Attributes)
	o.StaticSummary = fmt.Sprintf("%s %s", in.Model, in.Method)
	o.Memo = map[string]any{"folder": in.Folder, "model": in.Model, "method": in.Method, "objective": in.Objective, "steps": in.Steps}
	run, err := c.ExecuteWorkflow(ctx, o, WorkflowFinetune, in)
	if err != nil {
		return nil, fmt.Errorf("workflows: start training %s: %w", in.ID, err)
	}
	return run, nil
}

// startOptions are those of a job: who starts it again attaches to it or, when it has ended, has it go on.
func startOptions(id, model string, attributes bool) client.StartWorkflowOptions {
	o := client.StartWorkflowOptions{
		ID:                       id,
		TaskQueue:                WorkflowQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}
	if attributes {
		o.TypedSearchAttributes = temporal.NewSearchAttributes(AttributeModel.ValueSet(model), AttributePhase.ValueSet(PhasePrepare))
	}
	return o
}

// AskStatus asks a run or a training how it stands, and the workflow that works for it at present: its search, the
// builder of its bank or the training that heals a point. It also fills in Status.Pending. It works on runs that ended too, as long as a
// workflow worker is there to answer.
func AskStatus(ctx context.Context, c client.Client, id string) (Status, error) {
	s, err := query(ctx, c, id)
	if err != nil {
		return s, fmt.Errorf("workflows: status of run %s: %w", id, err)
	}
	at := id // where activities are pending
	switch s.Phase {
	case PhaseBank:
		if b, err := query(ctx, c, s.BankID); err == nil {
			s.BankDone, s.BankRanges = b.BankDone, b.BankRanges
			at = s.BankID
		}
	case PhaseSearch:
		// Between a search's start and end there may be nobody to ask; the run's own word stands then.
		if q, err := query(ctx, c, SearchID(id)); err == nil {
			s.Search, s.BatchDone, s.Batches = q.Search, q.BatchDone, q.Batches
			at = SearchID(id)
		}
	case PhaseHeal:
		if h := s.Healing; h != nil && h.Flow != "" {
			if q, err := query(ctx, c, h.Flow); err == nil && q.Phase != PhaseDone {
				h.Training = q.Training
				at = h.Flow
			}
		}
	}
	s.Pending, err = pending(ctx, c, at)
	if err != nil {
		return s, fmt.Errorf("workflows: activities of %s: %w", at, err)
	}
	t := s.Training
	if s.Healing != nil {
		t = s.Healing.Training
	}
	for _, a := range s.Pending {
		if t != nil && a.Activity == ActivityTrain {
			t.Step = max(t.Step, int(a.Progress.Done))
		}
	}
	return s, nil
}

// query asks a workflow for its status.
func query(ctx context.Context, c client.Client, id string) (Status, error) {
	var s Status
	v, err := c.QueryWorkflow(ctx, id, "", QueryStatus)
	if err != nil {
		return s, err
	}
	return s, v.Get(&s)
}

// pending lists the activities of a workflow that are not done.
func pending(ctx context.Context, c client.Client, id string) ([]Pending, error) {
	d, err := c.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return nil, err
	}
	var list []Pending
	for _, a := range d.GetPendingActivities() {
		list = append(list, pendingOf(a))
	}
	return list, nil
}

// pendingOf is an activity as the server describes it.
func pendingOf(a *workflowpb.PendingActivityInfo) Pending {
	p := Pending{
		Activity: a.GetActivityType().GetName(),
		Attempt:  int(a.GetAttempt()),
		Running:  a.GetState() == enumspb.PENDING_ACTIVITY_STATE_STARTED,
		Failure:  a.GetLastFailure().GetMessage(),
		Worker:   a.GetLastWorkerIdentity(),
	}
	// Before an attempt is due it is not in the queue.
	if a.GetState() == enumspb.PENDING_ACTIVITY_STATE_SCHEDULED && a.GetNextAttemptScheduleTime() == nil && a.GetScheduledTime() != nil {
		p.Queued = a.GetScheduledTime().AsTime()
	}
	if details := a.GetHeartbeatDetails(); details != nil {
		// A heartbeat without Progress is another program's: it shows as no progress.
		_ = converter.GetDefaultDataConverter().FromPayloads(details, &p.Progress)
	}
	return p
}

// Update sends UpdatePause, UpdateResume, UpdateStop or UpdateExtend (with its argument) to a run and
// returns what the run is now asked to do. A rejection is an error that says why.
func Update(ctx context.Context, c client.Client, id, update string, args ...any) (Control, error) {
	var out Control
	h, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: update, Args: args, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = h.Get(ctx, &out)
	}
	if err != nil {
		var app *temporal.ApplicationError
		if errors.As(err, &app) {
			err = errors.New(app.Message())
		}
		return out, fmt.Errorf("workflows: %s run %s: %w", update, id, err)
	}
	return out, nil
}

// Cancel asks a run to end. It finishes its files before it does.
func Cancel(ctx context.Context, c client.Client, id string) error {
	if err := c.CancelWorkflow(ctx, id, ""); err != nil {
		return fmt.Errorf("workflows: cancel run %s: %w", id, err)
	}
	return nil
}

// Attributes returns the search attributes of this package with their types, for a server that
// registers them when it makes its namespace.
func Attributes() map[string]enumspb.IndexedValueType {
	return map[string]enumspb.IndexedValueType{
		AttributeModel.GetName():      AttributeModel.GetValueType(),
		AttributePhase.GetName():      AttributePhase.GetValueType(),
		AttributeGeneration.GetName(): AttributeGeneration.GetValueType(),
		AttributeBest.GetName():       AttributeBest.GetValueType(),
	}
}

// RegisterAttributes adds the search attributes of this package to a namespace that lacks them. Where
// it fails (the caller may not be allowed to), runs must be started with RunInput.Attributes false.
func RegisterAttributes(ctx context.Context, c client.Client, namespace string) error {
	op := c.OperatorService()
	have, err := op.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("workflows: search attributes of namespace %s: %w", namespace, err)
	}
	missing := Attributes()
	maps.DeleteFunc(missing, func(name string, _ enumspb.IndexedValueType) bool {
		_, ok := have.GetCustomAttributes()[name]
		return ok
	})
	if len(missing) == 0 {
		return nil
	}
	_, err = op.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	var exists *serviceerror.AlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("workflows: search attributes of namespace %s: %w", namespace, err)
	}
	return nil
}

// Workers reports whether a worker polls the evaluation queue, so that a client can say that a run
// waits for one.
func Workers(ctx context.Context, c client.Client, namespace string) (bool, error) {
	d, err := c.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
		Namespace: namespace, TaskQueue: &taskqueue.TaskQueue{Name: EvalQueue}, TaskQueueType: enumspb.TASK_QUEUE_TYPE_ACTIVITY})
	if err != nil {
		return false, fmt.Errorf("workflows: queue %s: %w", EvalQueue, err)
	}
	return len(d.GetPollers()) > 0, nil
}
