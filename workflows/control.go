package workflows

import (
	"errors"
	"fmt"
	"math"

	"go.temporal.io/sdk/workflow"
)

// handle sets up the queries and updates of a run and takes in what its search says.
func (p *pipeline) handle(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, QueryStatus, func() (Status, error) { return p.current(), nil }); err != nil {
		return err
	}
	if err := workflow.SetQueryHandler(ctx, QueryFront, func() ([]FrontRow, error) { return p.status.Front(), nil }); err != nil {
		return err
	}
	plain := []struct {
		name, what string
		check      func() error
		apply      func()
	}{
		{UpdatePause, "give the machines back until resumed", p.mayPause, func() { p.control.Paused = true }},
		{UpdateResume, "go on after a pause", p.mayResume, func() { p.control.Paused = false }},
		{UpdateStop, "finish now with the front so far", p.mayStop, func() { p.control.Stop, p.control.Paused = true, false }},
	}
	for _, u := range plain {
		err := workflow.SetUpdateHandlerWithOptions(ctx, u.name, func(ctx workflow.Context) (Control, error) {
			return p.change(ctx, u.apply), nil
		}, workflow.UpdateHandlerOptions{Description: u.what, Validator: u.check})
		if err != nil {
			return err
		}
	}
	err := workflow.SetUpdateHandlerWithOptions(ctx, UpdateExtend, func(ctx workflow.Context, in ExtendInput) (Control, error) {
		return p.change(ctx, func() { p.control.Budget += in.Tokens }), nil
	}, workflow.UpdateHandlerOptions{Description: "add tokens to the budget", Validator: p.mayExtend})
	if err != nil {
		return err
	}
	workflow.Go(ctx, p.listen)
	workflow.Go(ctx, p.forward)
	return nil
}

// current is the run as it stands.
func (p *pipeline) current() Status {
	s := p.status
	s.BatchDone, s.Batches = p.batches.done, p.batches.total
	return s
}

// change applies a change to the control and shows it.
func (p *pipeline) change(ctx workflow.Context, apply func()) Control {
	apply()
	p.control.Seq++
	p.show(ctx)
	return p.control
}

// over says why a run that is past its search can no longer change, or nil.
func (p *pipeline) over(what string) error {
	switch {
	case p.status.Phase == PhaseReport || p.status.Phase == PhaseDone:
		return fmt.Errorf("cannot %s: the run is finishing", what)
	case p.control.Stop:
		return fmt.Errorf("cannot %s: the run is stopping", what)
	}
	return nil
}

func (p *pipeline) mayPause() error {
	if p.control.Paused {
		return errors.New("already paused")
	}
	return p.over("pause")
}

func (p *pipeline) mayResume() error {
	if !p.control.Paused {
		return errors.New("not paused")
	}
	return nil
}

func (p *pipeline) mayStop() error {
	if p.status.Phase == PhasePrepare || p.status.Phase == PhaseBank {
		return fmt.Errorf("cannot stop in phase %s: there is no front yet; cancel the run instead", p.status.Phase)
	}
	if p.status.Phase == PhaseFinalists {
		return errors.New("cannot stop: the run is finishing")
	}
	return p.over("stop")
}

func (p *pipeline) mayExtend(in ExtendInput) error {
	if in.Tokens <= 0 {
		return fmt.Errorf("cannot extend by %d tokens: want at least 1", in.Tokens)
	}
	if in.Tokens > math.MaxInt64-p.control.Budget {
		return fmt.Errorf("cannot extend by %d tokens: the budget would overflow", in.Tokens)
	}
	if p.status.Phase == PhaseFinalists || p.status.Phase == PhaseHeal {
		return errors.New("cannot extend: the search is over; run again with --resume and a larger --budget")
	}
	return p.over("extend")
}

// listen takes in the states that the search reports.
func (p *pipeline) listen(ctx workflow.Context) {
	reports := workflow.GetSignalChannel(ctx, signalProgress)
	for {
		var st State
		reports.Receive(ctx, &st)
		if p.status.Phase != PhaseSearch {
			continue // the search has ended and its result says more
		}
		p.status.Search = &st
		p.show(ctx)
		if err := upsert(ctx, p.in, PhaseSearch, &st); err != nil {
			workflow.GetLogger(ctx).Warn("search attributes not set", "error", err)
		}
	}
}

// forward sends every change of the control to the search or the training while one runs. One that has ended
// meanwhile does not get it; the pipeline looks at the control again when it takes its result.
func (p *pipeline) forward(ctx workflow.Context) {
	for {
		if workflow.Await(ctx, func() bool { return p.child != nil && p.control.Seq > p.sent }) != nil {
			return // cancelled: the search is, too
		}
		c := p.control
		p.sent = c.Seq
		if err := p.child.SignalChildWorkflow(ctx, signalControl, c).Get(ctx, nil); err != nil {
			workflow.GetLogger(ctx).Info("the search or training has ended before it could be told", "error", err)
		}
	}
}
