package workflows

import "go.temporal.io/sdk/workflow"

// Compress is the whole of a run: prepare, build the bank, search, score the finalists, report.
func Compress(ctx workflow.Context, in RunInput) (RunResult, error) {
	return RunResult{}, nil
}

// BuildBank builds the levels that a bank lacks.
func BuildBank(ctx workflow.Context, in BankInput) (BankResult, error) { return BankResult{}, nil }

// Search runs the search of a run.
func Search(ctx workflow.Context, in SearchInput) (SearchResult, error) { return SearchResult{}, nil }
