package workflows

import (
	"context"

	"go.temporal.io/sdk/client"
)

// Start starts the run, or attaches to it if a workflow of its id is running. A run that ended may be
// started again: it goes on from its folder.
func Start(ctx context.Context, c client.Client, in RunInput) (client.WorkflowRun, error) {
	return nil, nil
}

// AskStatus asks a run how it stands, and its search while it searches. It works on runs that ended too,
// as long as a workflow worker is there to answer.
func AskStatus(ctx context.Context, c client.Client, id string) (Status, error) {
	return Status{}, nil
}

// Update sends UpdatePause, UpdateResume, UpdateStop or UpdateExtend (with its argument) to a run and
// returns what the run is now asked to do. A rejection is an error that says why.
func Update(ctx context.Context, c client.Client, id, update string, args ...any) (Control, error) {
	return Control{}, nil
}

// Cancel asks a run to end. It finishes its files before it does.
func Cancel(ctx context.Context, c client.Client, id string) error { return nil }

// RegisterAttributes adds the search attributes of this package to a namespace that lacks them.
func RegisterAttributes(ctx context.Context, c client.Client, namespace string) error { return nil }
