package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Search runs the steps of a search: Advance tells the optimiser the last scores and asks it for
// candidates, Evaluate scores them, again and again until the budget is spent or the user stops it.
// It continues as new when its history grows long.
func Search(ctx workflow.Context, in SearchInput) (SearchResult, error) {
	s := &searcher{in: in.Run, st: in.State}
	s.batches = batches{
		folder: in.Run.Folder, tuning: in.Run.Tuning,
		paused:  func() bool { return s.st.Control.Paused },
		stopped: func() bool { return s.st.Control.Stop },
	}
	if s.st.Started.IsZero() {
		s.st.Started = workflow.Now(ctx)
	}
	if err := s.handle(ctx); err != nil {
		return SearchResult{}, err
	}
	if err := s.publish(ctx); err != nil {
		return SearchResult{}, err
	}
	more, err := s.loop(ctx)
	if err == nil && more {
		in.State = s.st
		return SearchResult{}, workflow.NewContinueAsNewError(ctx, WorkflowSearch, in)
	}
	s.tellRun(ctx)
	return SearchResult{s.st}, err
}

// searcher is a running search.
type searcher struct {
	in      RunInput
	st      State
	batches batches
	signals workflow.ReceiveChannel
}

// handle sets up the queries and takes in what the run says.
func (s *searcher) handle(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, QueryStatus, func() (Status, error) { return s.status(), nil }); err != nil {
		return err
	}
	if err := workflow.SetQueryHandler(ctx, QueryFront, func() ([]FrontRow, error) { return s.st.Front, nil }); err != nil {
		return err
	}
	s.signals = workflow.GetSignalChannel(ctx, signalControl)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var c Control
			s.signals.Receive(ctx, &c)
			s.obey(ctx, c)
		}
	})
	return nil
}

// obey takes over a control that is newer than the present one.
func (s *searcher) obey(ctx workflow.Context, c Control) {
	if c.Seq > s.st.Control.Seq {
		s.st.Control = c
		workflow.SetCurrentDetails(ctx, searchPage(s.status()))
	}
}

// drain obeys the signals that have come in and not been taken yet.
func (s *searcher) drain(ctx workflow.Context) {
	var c Control
	for s.signals.ReceiveAsync(&c) {
		s.obey(ctx, c)
	}
}

// loop does step after step. It returns more true when the workflow is to continue as new.
func (s *searcher) loop(ctx workflow.Context) (more bool, err error) {
	for steps := 0; ; {
		if err := s.batches.waitResumed(ctx); err != nil || s.st.Control.Stop {
			return false, err
		}
		budget := s.st.Control.Budget
		adv, err := do[AdvanceResult](ctx, s.in.Tuning, ActivityAdvance, fmt.Sprintf("step %d", s.st.Step+1),
			AdvanceInput{Folder: s.in.Folder, Step: s.st.Step, Budget: budget})
		if err != nil {
			return false, err
		}
		s.take(adv)
		if err := s.publish(ctx); err != nil {
			return false, err
		}
		if adv.Done {
			if s.drain(ctx); s.st.Control.Budget > budget && !s.st.Control.Stop {
				continue // extended just in time
			}
			return false, nil
		}
		if adv.Step != s.st.Step+1 {
			return false, temporal.NewNonRetryableApplicationError(
				fmt.Sprintf("workflows: step %d was to follow %d", adv.Step, s.st.Step), ErrLogConflict, nil)
		}
		label := fmt.Sprintf("gen %d", adv.Generation)
		if adv.Stage != "" {
			label += " " + adv.Stage
		}
		res, complete, err := s.batches.run(ctx, adv.Ask, label, adv.Batches)
		s.st.Failed += res.Failed
		if err != nil || !complete {
			return false, err
		}
		s.st.Step = adv.Step
		s.st.Steps++
		steps++
		if (s.in.Tuning.StepsPerRun > 0 && steps >= s.in.Tuning.StepsPerRun) || workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			s.drain(ctx)
			return true, nil
		}
	}
}

// take notes what Advance says of the search.
func (s *searcher) take(adv AdvanceResult) {
	s.st.Generation, s.st.Stage = adv.Generation, adv.Stage
	s.st.Tokens, s.st.Best = adv.Tokens, adv.Best
	s.st.Candidates += int64(adv.Candidates)
	s.st.Front = adv.Front[:min(len(adv.Front), FrontRows)]
}

// publish brings the page in the UI up to date, and now and then the search attributes and the run.
// The time between two words to the run is a fiftieth of the time searched, so that a search of
// weeks adds only some hundred events to the run's history.
func (s *searcher) publish(ctx workflow.Context) error {
	workflow.SetCurrentDetails(ctx, searchPage(s.status()))
	now := workflow.Now(ctx)
	if !s.st.Reported.IsZero() && now.Sub(s.st.Reported) < max(5*time.Second, now.Sub(s.st.Started)/50) {
		return nil
	}
	s.st.Reported = now
	s.tellRun(ctx)
	return upsert(ctx, s.in, PhaseSearch, &s.st)
}

// tellRun sends the state to the run that this search belongs to. It waits for nothing: the run learns
// the end from the result.
func (s *searcher) tellRun(ctx workflow.Context) {
	parent := workflow.GetInfo(ctx).ParentWorkflowExecution
	if parent == nil {
		return
	}
	patient, _ := workflow.NewDisconnectedContext(ctx)
	workflow.SignalExternalWorkflow(patient, parent.ID, "", signalProgress, s.st)
}

// status is the search as it stands.
func (s *searcher) status() Status {
	return Status{
		Folder: s.in.Folder, Phase: PhaseSearch, Model: s.in.Model, Space: s.in.Space,
		Paused: s.st.Control.Paused, Stopping: s.st.Control.Stop, Budget: s.st.Control.Budget,
		Search: &s.st, BatchDone: s.batches.done, Batches: s.batches.total,
	}
}

// upsert sets the search attributes of a workflow of a run.
func upsert(ctx workflow.Context, in RunInput, phase string, st *State) error {
	if !in.Attributes {
		return nil
	}
	u := []temporal.SearchAttributeUpdate{AttributePhase.ValueSet(phase)}
	if st != nil && len(st.Front) > 0 {
		u = append(u, AttributeGeneration.ValueSet(int64(st.Generation)), AttributeBest.ValueSet(st.Best))
	}
	return workflow.UpsertTypedSearchAttributes(ctx, u...)
}
