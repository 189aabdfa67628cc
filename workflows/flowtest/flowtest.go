// Package flowtest has activities that only pretend to compress a model, for tests of the workflows
// and of the server that runs them.
//
//	acts := &flowtest.Activities{Steps: 5}
//	acts.Register(worker)
//
// They keep in memory what the real ones keep in the run folder, follow the same rules (a step is
// told only when all its candidates are scored, what is scored is never scored again), and make up
// numbers that depend on nothing but the step.
package flowtest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/paretopress/paretopress/workflows"
)

// Sizes of the pretended work.
const (
	StepTokens = 100 // tokens that each step spends
	Candidates = 4   // of each step
	BatchSize  = 2   // candidates of a batch
	Finalists  = 3   // candidates of the final scoring, in one batch each
)

// Activities is one pretended run folder. The zero value is ready.
type Activities struct {
	Ranges [][2]int // that Prepare says are to be built
	Step   int      // last step of the log that Prepare finds; the zero value stands for -1
	// Hook, if not nil, is called before each activity does anything; its error is returned.
	Hook func(ctx context.Context, name string, in any) error

	mu     sync.Mutex
	trains map[string]int  // steps of a training folder's last checkpoint
	scored map[string]bool // "ask/candidate"
	failed map[string]bool
	calls  []string
}

// Register registers the activities under the names that the workflows call.
func (a *Activities) Register(r worker.ActivityRegistry) {
	for name, f := range map[string]any{
		workflows.ActivityPrepare:     a.Prepare,
		workflows.ActivityBuildLevels: a.BuildLevels,
		workflows.ActivityAdvance:     a.Advance,
		workflows.ActivityEvaluate:    a.Evaluate,
		workflows.ActivityFinalists:   a.Finalists,
		workflows.ActivityReport:      a.Report,

		workflows.ActivityPrepareFinetune: a.PrepareFinetune,
		workflows.ActivityTrain:           a.Train,
		workflows.ActivityFinishFinetune:  a.FinishFinetune,
		workflows.ActivityHeal:            a.Heal,
		workflows.ActivityScoreHealed:     a.ScoreHealed,
	} {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

// Calls returns the activities that succeeded, with their inputs, sorted.
func (a *Activities) Calls() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(slices.Values(a.calls))
}

// Failed returns the candidates that were recorded as failed, sorted.
func (a *Activities) Failed() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []string
	for c := range a.failed {
		list = append(list, c)
	}
	slices.Sort(list)
	return list
}

// enter runs the hook and, if it has nothing against it, notes the call.
func (a *Activities) enter(ctx context.Context, name string, in any) error {
	if a.Hook != nil {
		if err := a.Hook(ctx, name, in); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, fmt.Sprintf("%s %+v", name, in))
	return nil
}

// Prepare pretends to look at the folder.
func (a *Activities) Prepare(ctx context.Context, in workflows.PrepareInput) (workflows.PrepareResult, error) {
	err := a.enter(ctx, workflows.ActivityPrepare, in)
	a.Fill()
	step := a.Step
	if step == 0 {
		step = -1
	}
	return workflows.PrepareResult{
		ModelDigest: "m0", BankID: "b0", BankDir: in.Folder + "/bank", Blocks: 8, Ranges: a.Ranges, Step: step,
		Model: "pretended", SpaceText: "4 units x 2 levels", DenseBytes: 8e6,
	}, err
}

// Fill scores what a folder whose log ends with step Step holds the scores of: all steps but the last.
func (a *Activities) Fill() {
	for s := range a.Step {
		for c := range Candidates {
			a.score(logName(s), c, false)
		}
	}
}

// BuildLevels pretends to build one level of one unit a block.
func (a *Activities) BuildLevels(ctx context.Context, in workflows.BuildLevelsInput) (workflows.BuildLevelsResult, error) {
	err := a.enter(ctx, workflows.ActivityBuildLevels, in)
	n := in.To - in.From
	return workflows.BuildLevelsResult{Units: n, Levels: n, Bytes: int64(n) * 1000}, err
}

// Advance asks for the next step if the last one is scored and the budget not spent.
func (a *Activities) Advance(ctx context.Context, in workflows.AdvanceInput) (workflows.AdvanceResult, error) {
	if err := a.enter(ctx, workflows.ActivityAdvance, in); err != nil {
		return workflows.AdvanceResult{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range Candidates {
		if in.Step >= 0 && !a.scored[key(logName(in.Step), c)] {
			return workflows.AdvanceResult{}, workflows.Permanent(workflows.ErrCorrupt, fmt.Errorf("step %d, candidate %d has no score", in.Step, c))
		}
	}
	out := workflows.AdvanceResult{
		Step: in.Step, Tokens: int64(in.Step+1) * StepTokens, Generation: (in.Step + 1) / 2, Stage: fmt.Sprintf("stage %d", (in.Step+1)%2),
		Front: front(in.Step, false),
	}
	if len(out.Front) > 0 {
		out.Best = out.Front[0].KL
	}
	if out.Done = out.Tokens >= in.Budget; out.Done {
		return out, nil
	}
	out.Step++
	out.Ask, out.Candidates = logName(out.Step), Candidates
	for c := 0; c < Candidates; c += BatchSize {
		out.Batches = append(out.Batches, [2]int{c, c + BatchSize})
	}
	return out, nil
}

// Evaluate scores candidates one by one and stops between two when it is cancelled.
func (a *Activities) Evaluate(ctx context.Context, in workflows.EvaluateInput) (workflows.EvaluateResult, error) {
	var out workflows.EvaluateResult
	if err := a.enter(ctx, workflows.ActivityEvaluate, in); err != nil {
		return out, err
	}
	for c := in.From; c < in.To; c++ {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		switch {
		case !a.score(in.Ask, c, in.MarkFailed):
			out.Reused++
		case in.MarkFailed:
			out.Failed++
		default:
			out.Scored++
			out.Tokens += StepTokens / Candidates
		}
		activity.RecordHeartbeat(ctx, workflows.Progress{Done: int64(c - in.From + 1), Total: int64(in.To - in.From), Unit: "candidates"})
	}
	return out, nil
}

// score notes a score and reports whether it is new.
func (a *Activities) score(ask string, c int, failed bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.scored == nil {
		a.scored, a.failed = map[string]bool{}, map[string]bool{}
	}
	k := key(ask, c)
	if a.scored[k] {
		return false
	}
	a.scored[k] = true
	if failed {
		a.failed[k] = true
	}
	return true
}

// Finalists asks for the final scoring.
func (a *Activities) Finalists(ctx context.Context, in workflows.FinalistsInput) (workflows.FinalistsResult, error) {
	err := a.enter(ctx, workflows.ActivityFinalists, in)
	out := workflows.FinalistsResult{Ask: "final.json", Candidates: Finalists}
	for c := range Finalists {
		out.Batches = append(out.Batches, [2]int{c, c + 1})
	}
	return out, err
}

// Report tells the front.
func (a *Activities) Report(ctx context.Context, in workflows.ReportInput) (workflows.ReportResult, error) {
	err := a.enter(ctx, workflows.ActivityReport, in)
	rows := front(in.Step, !in.Partial)
	return workflows.ReportResult{Front: rows, Points: len(rows), FrontPath: in.Folder + "/front.json", Partial: in.Partial}, err
}

// front is a made-up front after a step: a point for each of the last five steps.
func front(step int, held bool) []workflows.FrontRow {
	var rows []workflows.FrontRow
	for s := max(0, step-4); s <= step; s++ {
		r := workflows.FrontRow{ID: fmt.Sprintf("c%06d", s), Bytes: 1e6 + int64(s)*1e4, Bits: 3, KL: 1 / float64(s+1), NLL: 3 + 1/float64(s+1)}
		if held {
			r.HeldOut = &workflows.HeldOut{NLL: r.NLL + 0.1, NLLErr: 0.01}
			r.Uniform = &workflows.HeldOut{NLL: r.NLL + 0.3, NLLErr: 0.01}
			r.Gain, r.GainErr = 0.2, 0.02
		}
		rows = append(rows, r)
	}
	return rows
}

func logName(step int) string      { return fmt.Sprintf("log/%06d.json", step) }
func key(ask string, c int) string { return fmt.Sprintf("%s/%d", ask, c) }
