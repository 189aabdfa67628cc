package evalworker

import (
	"context"

	"github.com/paretopress/paretopress/internal/hub"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/sparseft"
	"github.com/paretopress/paretopress/workflows"
)

// FinetunePlan is what a training will do, as far as that is known before it begins.
type FinetunePlan struct {
	Model        string  `json:"model"` // for people
	Method       string  `json:"method"`
	Objective    string  `json:"objective"`
	LearningRate float64 `json:"learning_rate"`  // largest of the schedule
	Trainable    int64   `json:"trainable"`      // parameters
	Targets      int     `json:"targets"`        // matrices
	Examples     int     `json:"examples"`       // windows or instructions to learn from
	HeldOut      int     `json:"held_out"`       // examples to measure on
	Cut          int     `json:"cut,omitempty"`  // examples that are longer than a window
	Left         int     `json:"left,omitempty"` // examples left out: nothing to predict is within
	Steps        int     `json:"steps"`
	Tokens       int64   `json:"tokens"`           // to learn from, each forward and backward; of instructions by their mean length
	DeltaBytes   int64   `json:"delta_bytes"`      // of values, indices and factors
	Regrow       int64   `json:"regrow,omitempty"` // weights of DeltaBytes, at most, that were pruned before, with 2 bytes each
	Bytes        int64   `json:"bytes"`            // of the model as it is stored before
	Beside       int64   `json:"beside"`           // what the training adds to them: the part of the delta that cannot be merged
}

// PlanFinetune says what a training's job on its model, levels and text comes to, before there is a folder. Its errors are those that PrepareFinetune would
// find. A model of h, the Hugging Face hub, is fetched if need be.
func PlanFinetune(ctx context.Context, job workflows.FinetuneJob, h *hub.Client) (FinetunePlan, error) {
	w := NewWorkbench(Options{Cache: -1, Hub: h})
	defer w.Close() // everything was read
	t, err := w.openTraining(ctx, "", job)
	if err != nil {
		return FinetunePlan{}, err
	}
	defer t.close()
	trainer, err := sparseft.New(t.targets, t.options)
	if err != nil {
		return FinetunePlan{}, mark(ErrJob, err)
	}
	p := FinetunePlan{
		Model: modelName(workflows.Job{Model: job.Model}, t.slot.model.Config()), Method: job.Method, Objective: job.Objective, LearningRate: t.options.LearningRate,
		Trainable: trainer.Trainable(), Targets: len(t.targets), Examples: len(t.train.tokens), HeldOut: len(t.heldOut.tokens), Cut: t.train.cut, Left: t.train.left,
		Steps: t.options.Steps, Tokens: t.train.total() * int64(t.options.Steps) * int64(t.options.Accumulation) * int64(job.Batch) / int64(len(t.train.tokens)),
		Regrow: min(t.regrow, trainer.Trainable()),
	}
	for i := range t.targets {
		n := trainer.DeltaBytes(i)
		p.DeltaBytes += n
		if !t.merges(i) {
			p.Beside += n
		}
	}
	p.Bytes, _, err = storedBytes(t.slot.model.Config(), t.levels)
	return p, err
}

// merges tells whether a target takes in what it is trained to, as deploy decides once that is known.
func (t *training) merges(target int) bool {
	level, leveled := t.base[t.targets[target].Name]
	if _, pruned := level.Weights.(*kernel.Bitmask); pruned {
		low := t.options.Method == sparseft.LoRA || t.options.Method == sparseft.DSEE
		return !low || t.options.LowRank == sparseft.MergedMasked
	}
	return !leveled
}

// total is the number of tokens of all examples.
func (e examples) total() (n int64) {
	for _, tokens := range e.tokens {
		n += int64(len(tokens))
	}
	return n
}
