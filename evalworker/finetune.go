package evalworker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/hub"
	"github.com/paretopress/paretopress/sparseft"
	"github.com/paretopress/paretopress/workflows"
)

// segment is about how many tokens an activity learns from.
const segment = 1 << 18

// PrepareFinetune opens the model and the text of a training folder, measures the model on the held-out examples as it is before the training and
// pins the folder to them.
func (w *Workbench) PrepareFinetune(ctx context.Context, in workflows.PrepareFinetuneInput, report Reporter) (workflows.PrepareFinetuneResult, error) {
	var out workflows.PrepareFinetuneResult
	report(workflows.Progress{Total: 1, Unit: "files", Note: "opening the model"})
	t, err := w.training(ctx, in.Folder)
	if err != nil {
		return out, err
	}
	defer t.close()
	trainer, _, err := t.restore() // whether the options fit the targets
	if err != nil {
		return out, err
	}
	p, err := t.prepared()
	if errors.Is(err, errNotPrepared) {
		p, err = t.pin(ctx, report)
	}
	if err != nil {
		return out, err
	}
	out = workflows.PrepareFinetuneResult{
		ModelDigest: p.Model, Model: modelName(workflows.Job{Model: t.job.Model}, t.slot.model.Config()), Trainable: trainer.Trainable(), Targets: len(t.targets),
		Examples: len(t.train.tokens), Cut: t.train.cut, Before: p.Before, Bytes: p.Bytes, Stops: t.stops(),
	}
	out.Step, _ = trainer.Cursor()
	if t.train.cut > 0 || t.train.left > 0 {
		out.Note = fmt.Sprintf("%d examples are longer than %d tokens and were cut, %d were left out since nothing to predict is within", t.train.cut, t.job.SeqLen, t.train.left)
	}
	return out, nil
}

// errNotPrepared says that there is no prepared.json yet.
var errNotPrepared = errors.New("evalworker: the training is not prepared")

// prepared reads what the folder is pinned to and compares it with what is there now.
func (t *training) prepared() (preparedTraining, error) {
	var p preparedTraining
	err := readJSON(filepath.Join(t.folder, preparedFile), &p)
	if errors.Is(err, fs.ErrNotExist) {
		return p, errNotPrepared
	}
	if err != nil {
		return p, err
	}
	now := t.identity()
	now.Before, now.Bytes = p.Before, p.Bytes
	if now != p {
		return p, mark(ErrChanged, fmt.Errorf("evalworker: model, levels, text or options are not those that the training in %s began with", t.folder))
	}
	return p, nil
}

// identity is what decides the outcome of a training.
func (t *training) identity() preparedTraining {
	p := preparedTraining{Model: t.slot.checkpoint.digest, Examples: t.train.digest(), HeldOut: t.heldOut.digest(), Options: t.options, Regrow: t.regrow}
	if len(t.base) > 0 {
		var parts [][]byte
		for _, unit := range slices.Sorted(maps.Keys(t.base)) {
			parts = append(parts, []byte(unit+" "+t.base[unit].Name+"\n"))
		}
		p.Levels = digest(parts...)
	}
	return p
}

// pin measures the model and writes prepared.json.
func (t *training) pin(ctx context.Context, report Reporter) (preparedTraining, error) {
	p := t.identity()
	var err error
	if p.Bytes, _, err = storedBytes(t.slot.model.Config(), t.levels); err != nil {
		return p, err
	}
	if p.Before, err = t.measure(ctx, t.base, noted(report, "held-out, before")); err != nil {
		return p, err
	}
	return p, publishJSON(t.folder, preparedFile, p)
}

// stops are the steps after which an activity ends: about every segment, where a method that chooses its support anew has just done so, and no
// sums are under way.
func (t *training) stops() []int {
	perStep := t.job.Batch * t.options.Accumulation * t.job.SeqLen
	each := max(1, segment/perStep)
	shift := 0
	if m := t.options.Method; m == sparseft.SpIELAG || m == sparseft.SpIELMA {
		s := t.options.ReselectionSteps
		each, shift = max(1, (each+s/2)/s)*s, t.options.SelectionAccumulationSteps
	}
	var stops []int
	for at := each + shift; at < t.options.Steps; at += each {
		stops = append(stops, at)
	}
	return append(stops, t.options.Steps)
}

// measure scores a candidate on the held-out examples.
func (t *training) measure(ctx context.Context, c engine.Candidate, report Reporter) (workflows.Measured, error) {
	var nll, kl []float64
	var counts []int
	progress := workflows.Progress{Total: int64(len(t.heldOut.tokens)), Unit: "windows"}
	for i := range t.heldOut.tokens { // one at a time: the dense model's predictions take memory, and may not be kept
		report(progress)
		e := t.heldOut.pick([]int{i})
		teacher, err := t.teach(ctx, e)
		if err != nil {
			return workflows.Measured{}, err
		}
		loss := engine.Loss{Teacher: teacher, Counted: e.counted, Predictions: 1}
		value, err := t.slot.model.Gradient(ctx, e.tokens, c, loss, func(string) bool { return false }, nil)
		if err != nil {
			return workflows.Measured{}, err
		}
		nll, kl, counts = append(nll, value.NLL), append(kl, value.KL), append(counts, value.Counted)
		progress.Done++
	}
	report(progress)
	n, k := meanOf(nll, counts), meanOf(kl, counts)
	return workflows.Measured{NLL: n.Value, NLLError: n.Error, KL: k.Value, KLError: k.Error, Windows: len(counts)}, nil
}

// FinishFinetune writes what was trained as a delta, and measures the model with it as it is deployed: pruned and dense modules with the delta merged into
// their 16-bit numbers, others with it beside them.
func (w *Workbench) FinishFinetune(ctx context.Context, in workflows.FinishFinetuneInput, report Reporter) (workflows.FinishFinetuneResult, error) {
	var out workflows.FinishFinetuneResult
	t, err := w.training(ctx, in.Folder)
	if err != nil {
		return out, err
	}
	defer t.close()
	p, err := t.prepared()
	if err != nil {
		return out, err
	}
	trainer, kept, err := t.restore()
	if err != nil {
		return out, err
	}
	if step, _ := trainer.Cursor(); step == 0 {
		return out, jobErrorf("%s: no step was made yet, there is nothing to write", in.Folder)
	}
	trainer.Threads = w.models.threads
	delta := trainer.Delta()
	out = workflows.FinishFinetuneResult{
		Delta: filepath.Join(in.Folder, deltaFile), DeltaBytes: delta.Bytes(), Bytes: p.Bytes, Trainable: trainer.Trainable(), Steps: delta.Steps,
		Tokens: kept.Tokens, Loss: trainer.Loss(), Before: p.Before,
	}
	if err := durable.WriteFrom(out.Delta, func(w io.Writer) error { return delta.Write(w) }); err != nil {
		return out, fmt.Errorf("evalworker: %w", err)
	}
	if out.PEFT, err = t.peft(delta); err != nil {
		return out, err
	}
	written, err := readDelta(out.Delta, t.slot)
	if err != nil {
		return out, err
	}
	c, more, err := written.apply(t.slot, t.base)
	if err != nil {
		return out, err
	}
	out.Bytes, out.Beside, out.Regrown = out.Bytes+more.beside+more.regrown, more.beside, more.regrown
	if out.After, err = t.measure(ctx, c, noted(report, "held-out, after")); err != nil {
		return out, err
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return out, fmt.Errorf("evalworker: %s: %w", resultFile, err)
	}
	return out, durable.Write(filepath.Join(in.Folder, resultFile), append(data, '\n'))
}

// ReadFinetuneResult reads what came of a training.
func ReadFinetuneResult(folder string) (out workflows.FinishFinetuneResult, err error) {
	return out, readJSON(filepath.Join(folder, resultFile), &out)
}

// peft writes the delta as an adapter of Hugging Face PEFT, where PEFT has a layout for it, and returns the folder. Its base is the model as it is
// compressed, which Python must be given by itself.
func (t *training) peft(delta *sparseft.Delta) (string, error) {
	base := t.job.Model
	if r, err := hub.Parse(base); err == nil {
		base = r.Owner + "/" + r.Name
	}
	adapter, err := delta.PEFT(base)
	if err != nil {
		return "", nil // there is no layout for deltas of this method
	}
	dir := filepath.Join(t.folder, peftDir)
	return dir, writePEFT(dir, adapter)
}
