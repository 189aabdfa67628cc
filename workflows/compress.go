package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Compress is the whole of a run: prepare the folder, build the bank, search, score the finalists on
// held-out text, heal points of the front where the job says so, report. It resumes from what the folder holds. When it is cancelled or fails it still
// derives the front from what has been scored.
func Compress(ctx workflow.Context, in RunInput) (RunResult, error) {
	p := &pipeline{in: in, control: Control{Budget: in.Budget}}
	p.status = Status{Folder: in.Folder, Phase: PhasePrepare, Model: in.Model, Space: in.Space}
	p.batches = batches{ // of the finalists, which a stop does not hold up
		folder: in.Folder, tuning: in.Tuning,
		paused:  func() bool { return p.control.Paused },
		stopped: func() bool { return false },
	}
	if err := p.handle(ctx); err != nil {
		return RunResult{}, err
	}
	res, err := p.run(ctx)
	if err != nil {
		p.salvage(ctx)
	}
	if ctx.Err() != nil {
		return res, ctx.Err()
	}
	return res, err
}

// pipeline is a run in progress.
type pipeline struct {
	in      RunInput
	status  Status
	control Control
	batches batches
	child   workflow.ChildWorkflowFuture // the search or the training at work; nil: none
	sent    int                          // Control.Seq that it knows
}

// run goes through the phases.
func (p *pipeline) run(ctx workflow.Context) (RunResult, error) {
	if err := p.enter(ctx, PhasePrepare); err != nil {
		return RunResult{}, err
	}
	prepared, err := do[PrepareResult](ctx, p.in.Tuning, ActivityPrepare, "model, text and space", PrepareInput{Folder: p.in.Folder})
	if err != nil {
		return RunResult{}, err
	}
	p.status.Prepared = &prepared
	if len(prepared.Ranges) > 0 {
		if err := p.bank(ctx); err != nil {
			return RunResult{}, err
		}
	}
	st, err := p.searchAll(ctx)
	if err != nil {
		return RunResult{}, err
	}
	if err := p.finalists(ctx, st.Step); err != nil {
		return RunResult{}, err
	}
	if p.in.Heal != "" && !p.control.Stop {
		if err := p.heal(ctx, st.Step); err != nil {
			return RunResult{}, err
		}
	}
	if err := p.enter(ctx, PhaseReport); err != nil {
		return RunResult{}, err
	}
	report, err := do[ReportResult](ctx, p.in.Tuning, ActivityReport, "front.json", ReportInput{Folder: p.in.Folder, Step: st.Step})
	if err != nil {
		return RunResult{}, err
	}
	p.status.Report = &report
	err = p.enter(ctx, PhaseDone)
	return RunResult{Folder: p.in.Folder, Steps: st.Step + 1, Tokens: st.Tokens, Stopped: st.Control.Stop, Report: report}, err
}

// enter begins a phase and shows it.
func (p *pipeline) enter(ctx workflow.Context, phase string) error {
	p.status.Phase = phase
	p.show(ctx)
	return upsert(ctx, p.in, phase, p.status.Search)
}

// show brings the status and the page in the UI up to date.
func (p *pipeline) show(ctx workflow.Context) {
	p.status.Paused, p.status.Stopping, p.status.Budget = p.control.Paused, p.control.Stop, p.control.Budget
	workflow.SetCurrentDetails(ctx, runPage(p.in, p.status))
}

// bank has the missing levels built by the workflow that every run shares that needs this bank.
func (p *pipeline) bank(ctx workflow.Context) error {
	prepared := p.status.Prepared
	p.status.BankID = BankWorkflowID(prepared.BankID)
	p.status.BankRanges = len(prepared.Ranges)
	if err := p.enter(ctx, PhaseBank); err != nil {
		return err
	}
	o := workflow.ChildWorkflowOptions{
		WorkflowID:    p.status.BankID,
		StaticSummary: "bank for " + prepared.Model,
	}
	if p.in.Attributes {
		o.TypedSearchAttributes = temporal.NewSearchAttributes(AttributeModel.ValueSet(p.in.Model), AttributePhase.ValueSet(PhaseBank))
	}
	in := BankInput{Folder: p.in.Folder, BankID: prepared.BankID, Ranges: prepared.Ranges, Tuning: p.in.Tuning}
	var res BankResult
	if err := child(ctx, o, WorkflowBuildBank, in, &res, nil); err != nil {
		return err
	}
	p.status.Bank, p.status.BankDone = &res, len(prepared.Ranges)
	return nil
}

// searchAll searches until the budget, as it stands when the search ends, is spent.
func (p *pipeline) searchAll(ctx workflow.Context) (State, error) {
	// The last step of the log may not be scored yet: ask for it again, which changes nothing.
	st := State{Step: max(p.status.Prepared.Step-1, -1)}
	for {
		st.Control = p.control
		p.status.Search = &st
		if err := p.enter(ctx, PhaseSearch); err != nil {
			return st, err
		}
		o := workflow.ChildWorkflowOptions{WorkflowID: SearchID(p.in.ID)}
		if p.in.Attributes {
			o.TypedSearchAttributes = temporal.NewSearchAttributes(AttributeModel.ValueSet(p.in.Model), AttributePhase.ValueSet(PhaseSearch))
		}
		p.sent = st.Control.Seq
		var res SearchResult
		err := child(ctx, o, WorkflowSearch, SearchInput{Run: p.in, State: st}, &res, func(f workflow.ChildWorkflowFuture) { p.child = f })
		p.child = nil
		if err != nil {
			return st, err
		}
		st = res.State
		p.status.Search = &st
		if p.control.Stop || p.control.Budget <= st.Control.Budget {
			return st, nil
		}
	}
}

// finalists scores the front, the dense model and the baselines on held-out windows.
func (p *pipeline) finalists(ctx workflow.Context, step int) error {
	if err := p.enter(ctx, PhaseFinalists); err != nil {
		return err
	}
	in := FinalistsInput{Folder: p.in.Folder, Step: step}
	fin, err := do[FinalistsResult](ctx, p.in.Tuning, ActivityFinalists, fmt.Sprintf("front of steps 0-%d and its baselines", step), in)
	if err != nil {
		return err
	}
	_, _, err = p.batches.run(ctx, fin.Ask, "held-out", fin.Batches)
	return err
}

// salvage derives what can be from the scores of a run that was cancelled or failed. Its own failure
// is not reported: the scores stay in the folder, and what ended the run is the news.
func (p *pipeline) salvage(ctx workflow.Context) {
	switch p.status.Phase {
	case PhasePrepare, PhaseBank:
		return // nothing is scored
	}
	patient, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	in := ReportInput{Folder: p.in.Folder, Step: -1, Partial: true}
	report, err := attempt[ReportResult](patient, p.in.Tuning, ActivityReport, "front.json of what is scored", 2, in)
	if err != nil {
		workflow.GetLogger(ctx).Warn("no report of the unfinished run", "error", err)
		return
	}
	p.status.Report = &report
	p.show(patient)
}
