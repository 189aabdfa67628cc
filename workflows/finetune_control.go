package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/workflow"
)

func (t *training) paused() bool  { return t.st.Control.Paused || t.st.Parent.Paused }
func (t *training) stopped() bool { return t.st.Control.Stop || t.st.Parent.Stop }

// handle sets up the query and the updates of a training and takes in what the run says that it belongs to.
func (t *training) handle(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, QueryStatus, func() (Status, error) { return t.status(), nil }); err != nil {
		return err
	}
	for _, u := range []struct {
		name, what string
		check      func() error
		apply      func(*Control)
	}{
		{UpdatePause, "give the machine back until resumed", t.mayPause, func(c *Control) { c.Paused = true }},
		{UpdateResume, "go on after a pause", t.mayResume, func(c *Control) { c.Paused = false }},
		{UpdateStop, "finish now with what is trained", t.mayStop, func(c *Control) { c.Stop, c.Paused = true, false }},
	} {
		err := workflow.SetUpdateHandlerWithOptions(ctx, u.name, func(ctx workflow.Context) (Control, error) {
			u.apply(&t.st.Control)
			t.st.Control.Seq++
			t.show(ctx)
			return t.st.Control, nil
		}, workflow.UpdateHandlerOptions{Description: u.what, Validator: u.check})
		if err != nil {
			return err
		}
	}
	err := workflow.SetUpdateHandlerWithOptions(ctx, UpdateExtend, func(workflow.Context, ExtendInput) (Control, error) { return t.st.Control, nil },
		workflow.UpdateHandlerOptions{Validator: func(ExtendInput) error {
			return errors.New("cannot extend a training, whose learning rate falls to its last step: train what came of it anew")
		}})
	if err != nil {
		return err
	}
	t.signals = workflow.GetSignalChannel(ctx, signalControl)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var c Control
			t.signals.Receive(ctx, &c)
			t.obey(ctx, c)
		}
	})
	return nil
}

// obey takes over what the run wants, if that is newer than what is known.
func (t *training) obey(ctx workflow.Context, c Control) {
	if c.Seq > t.st.Parent.Seq {
		t.st.Parent = c
		t.show(ctx)
	}
}

// drain obeys the signals that have come in and not been taken yet.
func (t *training) drain(ctx workflow.Context) {
	var c Control
	for t.signals.ReceiveAsync(&c) {
		t.obey(ctx, c)
	}
}

// over says why a training can no longer change, or nil.
func (t *training) over(what string) error {
	switch {
	case t.phase == PhaseFinish || t.phase == PhaseDone:
		return fmt.Errorf("cannot %s: the training is finishing", what)
	case t.stopped():
		return fmt.Errorf("cannot %s: the training is stopping", what)
	}
	return nil
}

func (t *training) mayPause() error {
	if t.paused() {
		return errors.New("already paused")
	}
	return t.over("pause")
}

func (t *training) mayResume() error {
	switch {
	case t.st.Control.Paused:
		return nil
	case t.st.Parent.Paused:
		return errors.New("the run that this training belongs to is paused: resume that")
	}
	return errors.New("not paused")
}

func (t *training) mayStop() error {
	if t.phase == PhasePrepare {
		return errors.New("cannot stop: nothing is trained yet; cancel the training instead")
	}
	return t.over("stop")
}
