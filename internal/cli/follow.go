package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"github.com/paretopress/paretopress/workflows"
)

const (
	pollInterval = 500 * time.Millisecond
	// silence is how long a server may leave a follower without an answer: long enough to be restarted.
	silence = time.Minute
)

// follow shows the progress of a run until it ends, and returns the error that ended it.
func (s *session) follow(ctx context.Context, b *backend, id string) error {
	p := s.newProgress()
	defer p.close()
	ended := make(chan error, 1)
	go func() { ended <- b.client.GetWorkflow(ctx, id, "").Get(ctx, nil) }()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	answered := time.Now()
	var last workflows.Status
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				if status, err := workflows.AskStatus(ctx, b.client, id); err == nil {
					p.show(status)
				}
				p.finishAll()
			}
			return runError(err)
		case <-tick.C:
		}
		status, err := workflows.AskStatus(ctx, b.client, id)
		var unavailable *serviceerror.Unavailable
		switch {
		case err == nil:
			answered = time.Now()
			p.show(status)
			last = status
		case errors.As(err, &unavailable) && time.Since(answered) > silence:
			return fmt.Errorf("the server at %s no longer answers (phase %s): %w", b.address, last.Phase, err)
		}
	}
}

// show reports a status: a task for each phase.
func (p *progress) show(st workflows.Status) {
	note := activityNote(st.Pending)
	switch {
	case st.Paused:
		note = "paused"
	case st.Waiting(p.now()):
		note = joined(waitsForWorker, note)
	}
	if st.Training != nil {
		p.showTraining(st, note)
		return
	}
	switch st.Phase {
	case workflows.PhasePrepare:
		done, total, unit := pendingProgress(st.Pending)
		p.report("prepare", unit, done, total, note)
	case workflows.PhaseBank:
		p.finish("prepare", prepared(st))
		done, total, unit := pendingProgress(st.Pending)
		p.report("bank", unit, done, total, note)
	case workflows.PhaseSearch:
		p.finish("prepare", prepared(st))
		p.finish("bank", "")
		if st.Search == nil {
			return
		}
		if !st.Paused && note == "" {
			note = fmt.Sprintf("generation %d", st.Search.Generation)
			if st.Search.Stage != "" {
				note += ", " + st.Search.Stage
			}
			if st.Search.Best > 0 {
				note += fmt.Sprintf(", best KL %.4f", st.Search.Best)
			}
		}
		p.report("search", "tokens", st.Search.Tokens, st.Budget, note)
	case workflows.PhaseFinalists:
		p.finish("search", "")
		done, total, unit := pendingProgress(st.Pending)
		if st.Batches > 1 {
			done, total, unit = int64(st.BatchDone), int64(st.Batches), "batches"
		}
		p.report("held-out", unit, done, total, note)
	case workflows.PhaseHeal:
		p.finish("held-out", "")
		p.showHealing(st, note)
	case workflows.PhaseReport, workflows.PhaseDone:
		p.finish("held-out", "")
		p.finish("heal", notHealed(st.Healing))
	}
}

// showHealing reports how far the points are healed, in steps of all trainings together.
func (p *progress) showHealing(st workflows.Status, note string) {
	h := st.Healing
	if h == nil || h.Total == 0 {
		return
	}
	done := 0
	if h.Training != nil {
		done = h.Training.Step
	}
	if h.Point != "" && note != "" {
		note = h.Point + ": " + note
	}
	p.report("heal", "steps", int64((h.Done+len(h.Failed))*h.Steps+done), int64(h.Total*h.Steps), note)
}

// notHealed says which points could not be healed, and why.
func notHealed(h *workflows.Healing) string {
	if h == nil || len(h.Failed) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d points not healed: %s", len(h.Failed), h.Total, strings.Join(h.Failed, "; "))
}

// showTraining reports the status of a training.
func (p *progress) showTraining(st workflows.Status, note string) {
	done, total, unit := pendingProgress(st.Pending)
	t := st.Training
	switch st.Phase {
	case workflows.PhasePrepare:
		p.report("prepare", unit, done, total, note)
	case workflows.PhaseTrain:
		p.finish("prepare", trainingPrepared(t))
		if t.Prepared == nil {
			return
		}
		p.report("train", "steps", int64(t.Step), int64(t.Steps), note)
	case workflows.PhaseFinish:
		p.finish("train", "")
		p.report("held-out", unit, done, total, note)
	case workflows.PhaseDone:
		p.finish("held-out", "")
	}
}

// trainingPrepared says what was prepared.
func trainingPrepared(t *workflows.Training) string {
	if t.Prepared == nil {
		return ""
	}
	text := fmt.Sprintf("%s; %s trainable weights, %d examples, KL %.4f", t.Prepared.Model, count(t.Prepared.Trainable), t.Prepared.Examples, t.Prepared.Before.KL)
	if t.Prepared.Note != "" {
		text += "; " + t.Prepared.Note
	}
	return text
}

// finishAll ends every task.
func (p *progress) finishAll() {
	for _, label := range []string{"prepare", "bank", "search", "train", "held-out", "heal"} {
		p.finish(label, "")
	}
}

// prepared says what was prepared.
func prepared(st workflows.Status) string {
	if st.Prepared == nil {
		return ""
	}
	return st.Prepared.Model + "; " + st.Prepared.SpaceText
}

// pendingProgress adds up the heartbeats of activities at work.
func pendingProgress(list []workflows.Pending) (done, total int64, unit string) {
	unit = "steps"
	for _, a := range list {
		if a.Progress.Unit != "" {
			unit = a.Progress.Unit
		}
		done += a.Progress.Done
		total += a.Progress.Total
	}
	return done, total, unit
}

// activityNote says what keeps a run from moving: an activity that failed and is tried again.
func activityNote(list []workflows.Pending) string {
	for _, a := range list {
		if a.Attempt > 1 && a.Failure != "" {
			return fmt.Sprintf("%s, attempt %d: %s", a.Activity, a.Attempt, a.Failure)
		}
	}
	for _, a := range list {
		if a.Progress.Note != "" {
			return a.Progress.Note
		}
	}
	return ""
}

// waitsForWorker says that no worker is free for a job.
const waitsForWorker = "waits for a worker"

// joined is two notes in one.
func joined(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}

// runError turns what a workflow ended with into an error for people.
func runError(err error) error {
	if err == nil {
		return nil
	}
	var canceled *temporal.CanceledError
	if errors.As(err, &canceled) {
		return errors.New("the run was cancelled")
	}
	var terminated *temporal.TerminatedError
	if errors.As(err, &terminated) {
		return errors.New("the run was terminated in Temporal")
	}
	return workflows.Cause(err)
}

// running reports whether a workflow of this id is at work.
func (b *backend) running(ctx context.Context, id string) (bool, error) {
	d, err := b.client.DescribeWorkflowExecution(ctx, id, "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return d.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
}

// warnWithoutWorkers says so when nobody would carry the run out.
func (s *session) warnWithoutWorkers(ctx context.Context, b *backend) {
	if ok, err := workflows.Workers(ctx, b.client, b.namespace); err == nil && !ok {
		s.say("no worker is connected to %s yet; start one with: paretopress worker%s", b.address, s.serverFlags())
	}
}

// tuning shortens how long a silent worker is waited for, where the environment says so.
func (s *session) tuning() workflows.Tuning {
	d, err := time.ParseDuration(s.Getenv("PARETOPRESS_HEARTBEAT"))
	if err != nil || d <= 0 {
		return workflows.Tuning{}
	}
	return workflows.Tuning{Heartbeat: d}
}
