package workflows

import (
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// BuildBank builds the levels that a bank lacks, a range of blocks an activity. Its workflow id is made
// of the bank's digest, so that runs that need the same bank build it once.
func BuildBank(ctx workflow.Context, in BankInput) (BankResult, error) {
	var sum BankResult
	done := 0
	status := func() (Status, error) {
		return Status{Folder: in.Folder, Phase: PhaseBank, BankID: BankWorkflowID(in.BankID), BankDone: done, BankRanges: len(in.Ranges)}, nil
	}
	if err := workflow.SetQueryHandler(ctx, QueryStatus, status); err != nil {
		return sum, err
	}
	flight, cancel := workflow.WithCancel(ctx)
	defer cancel()
	var failed error
	left := len(in.Ranges)
	for i, r := range in.Ranges {
		workflow.Go(flight, func(ctx workflow.Context) {
			summary := fmt.Sprintf("blocks %d-%d, range %d/%d", r[0], r[1]-1, i+1, len(in.Ranges))
			res, err := do[BuildLevelsResult](ctx, in.Tuning, ActivityBuildLevels, summary, BuildLevelsInput{Folder: in.Folder, From: r[0], To: r[1]})
			if err == nil {
				sum.add(res)
				done++
				workflow.SetCurrentDetails(ctx, bankPage(in, sum, done))
			} else if failed == nil {
				failed = err
				cancel() // the rest would only delay the news
			}
			left--
		})
	}
	patient, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	if err := workflow.Await(patient, func() bool { return left == 0 }); err != nil {
		return sum, err
	}
	if ctx.Err() != nil {
		return sum, ctx.Err()
	}
	return sum, failed
}

// add adds the counters of o.
func (r *BankResult) add(o BankResult) {
	r.Units += o.Units
	r.Levels += o.Levels
	r.Bytes += o.Bytes
	r.Reused += o.Reused
	r.Seconds += o.Seconds
}

// child runs a child workflow to its end. While another workflow of the same id runs (another run
// builds the same bank, or a search that was told to end has not yet), it waits for that one to end and
// then runs its own, which finds most of the work done. started is called once the child runs.
func child(ctx workflow.Context, o workflow.ChildWorkflowOptions, name string, in, out any, started func(workflow.ChildWorkflowFuture)) error {
	o.WaitForCancellation = true
	o.ParentClosePolicy = enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL
	o.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	ctx = workflow.WithChildOptions(ctx, o)
	for wait := 2 * time.Second; ; wait = min(wait*3/2, time.Minute) {
		future := workflow.ExecuteChildWorkflow(ctx, name, in)
		err := future.GetChildWorkflowExecution().Get(ctx, nil)
		if err == nil {
			if started != nil {
				started(future)
			}
			return future.Get(ctx, out)
		}
		if !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
			return err
		}
		if err := workflow.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}
