package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// FinetuneInput is the input of [Finetune]. It says where the training folder is; the job itself is in the folder's finetune.yaml, which the
// activities read. What repeats the job here is for people.
type FinetuneInput struct {
	Folder     string   `json:"folder"` // absolute path of the training folder, the same on every worker
	ID         string   `json:"id"`     // the training's id, which is the workflow's id
	Model      string   `json:"model"`  // short name of the model
	Method     string   `json:"method"`
	Objective  string   `json:"objective"`
	Steps      int      `json:"steps"`
	Tuning     Tuning   `json:"tuning,omitzero"`
	Attributes bool     `json:"attributes,omitempty"` // see [RunInput]
	Training   Training `json:"training,omitzero"`    // how far it is: continued as new, or under the control of a run
}

// Training is what a training carries over continue-as-new, and what there is to show of it. Weights and random state are in its folder.
type Training struct {
	Prepared *PrepareFinetuneResult `json:"prepared,omitempty"`
	Step     int                    `json:"step"`              // after the last activity that ended
	Steps    int                    `json:"steps"`             // of the training in all
	Loss     float64                `json:"loss,omitempty"`    // of the last step
	Trained  int                    `json:"trained,omitempty"` // steps of this workflow, over all its runs
	Tokens   int64                  `json:"tokens,omitempty"`  // learnt from in these
	Seconds  float64                `json:"seconds,omitempty"` // that they took
	Finished *FinishFinetuneResult  `json:"finished,omitempty"`
	Control  Control                `json:"control"` // what the user wants of it
	Parent   Control                `json:"parent"`  // what the user wants of the run that it belongs to
}

// Remaining is how many seconds the steps that are left will take by the speed of those that were made, 0 if none was.
func (t Training) Remaining() float64 {
	if t.Trained == 0 || t.Step >= t.Steps {
		return 0
	}
	return t.Seconds / float64(t.Trained) * float64(t.Steps-t.Step)
}

// Finetune is a whole training: prepare the folder, train from one stop to the next, measure and write what was trained. It goes on from the
// last checkpoint in the folder.
func Finetune(ctx workflow.Context, in FinetuneInput) (FinishFinetuneResult, error) {
	t := &training{in: in, st: in.Training, phase: PhasePrepare}
	t.st.Steps = in.Steps
	if err := t.handle(ctx); err != nil {
		return FinishFinetuneResult{}, err
	}
	more, err := t.run(ctx)
	if err == nil && more {
		in.Training = t.st
		return FinishFinetuneResult{}, workflow.NewContinueAsNewError(ctx, WorkflowFinetune, in)
	}
	if err != nil {
		return FinishFinetuneResult{}, err
	}
	return *t.st.Finished, nil
}

// training is a training in progress.
type training struct {
	in      FinetuneInput
	st      Training
	phase   string
	signals workflow.ReceiveChannel
}

// run goes through the phases. It returns more true when the workflow is to continue as new.
func (t *training) run(ctx workflow.Context) (more bool, err error) {
	if t.st.Prepared == nil {
		if err := t.enter(ctx, PhasePrepare); err != nil {
			return false, err
		}
		prepared, err := do[PrepareFinetuneResult](ctx, t.in.Tuning, ActivityPrepareFinetune, "model, text and held-out scores", PrepareFinetuneInput{Folder: t.in.Folder})
		if err != nil {
			return false, err
		}
		t.st.Prepared, t.st.Step = &prepared, prepared.Step
	}
	if err := t.enter(ctx, PhaseTrain); err != nil {
		return false, err
	}
	for segments := 0; ; segments++ {
		if err := workflow.Await(ctx, func() bool { return !t.paused() || t.stopped() }); err != nil {
			return false, err
		}
		to, left := t.next()
		if t.stopped() || !left {
			break
		}
		if n := t.in.Tuning.StepsPerRun; n > 0 && segments >= n || workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			t.drain(ctx)
			return true, nil
		}
		if err := t.train(ctx, to); err != nil {
			return false, err
		}
	}
	if err := t.enter(ctx, PhaseFinish); err != nil {
		return false, err
	}
	out, err := do[FinishFinetuneResult](ctx, t.in.Tuning, ActivityFinishFinetune, "held-out scores and the delta", FinishFinetuneInput{Folder: t.in.Folder})
	if err != nil {
		return false, err
	}
	t.st.Finished, t.st.Step, t.st.Loss = &out, out.Steps, out.Loss
	return false, t.enter(ctx, PhaseDone)
}

// next is the stop after the present step; left is false if there is none.
func (t *training) next() (stop int, left bool) {
	for _, stop := range t.st.Prepared.Stops {
		if stop > t.st.Step {
			return stop, true
		}
	}
	return 0, false
}

// train has the steps up to a stop made. A pause or a stop takes hold at once: the activity is cancelled, which costs at most what it has
// learnt since its last checkpoint.
func (t *training) train(ctx workflow.Context, to int) error {
	flight, cancel := workflow.WithCancel(ctx)
	defer cancel()
	var res TrainResult
	var failed error
	ended := false
	workflow.Go(flight, func(ctx workflow.Context) {
		summary := fmt.Sprintf("steps %d-%d of %d", t.st.Step+1, to, t.st.Steps)
		res, failed = do[TrainResult](ctx, t.in.Tuning, ActivityTrain, summary, TrainInput{Folder: t.in.Folder, To: to})
		ended = true
	})
	// The error of a cancelled ctx is taken up below, when the activity has ended.
	_ = workflow.Await(ctx, func() bool { return ended || t.paused() || t.stopped() })
	interrupted := !ended
	cancel()
	patient, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	if err := workflow.Await(patient, func() bool { return ended }); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failed == nil && res.Step < to:
		return temporal.NewNonRetryableApplicationError(fmt.Sprintf("workflows: step %d was to be reached, the training is at %d", to, res.Step), ErrLogConflict, nil)
	case failed == nil:
		t.take(res)
		t.show(ctx)
	case !interrupted:
		return failed
	}
	return nil // interrupted, whatever it died of
}

// take adds what an activity has learnt.
func (t *training) take(res TrainResult) {
	t.st.Trained += res.Step - t.st.Step
	t.st.Step, t.st.Loss = res.Step, res.Loss
	t.st.Tokens += res.Tokens
	t.st.Seconds += res.Seconds
}

// enter begins a phase and shows it.
func (t *training) enter(ctx workflow.Context, phase string) error {
	t.phase = phase
	t.show(ctx)
	if !t.in.Attributes {
		return nil
	}
	return workflow.UpsertTypedSearchAttributes(ctx, AttributePhase.ValueSet(phase))
}

// show brings the page in the UI up to date.
func (t *training) show(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, trainingPage(t.in, t.status()))
}

// status is the training as it stands.
func (t *training) status() Status {
	return Status{Folder: t.in.Folder, Phase: t.phase, Model: t.in.Model, Paused: t.paused(), Stopping: t.stopped(), Training: &t.st}
}
