package evalworker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// Sizes of batches: what a batch should take, and how many a slot should get in a step so that slots
// that are faster take more.
const (
	batchSeconds   = 60
	batchesPerSlot = 2
	maxBatch       = 32
)

// Advance tells the optimiser the scores of a step, asks it for the next candidates and writes them, with
// its state, as the next step of the log. It is a pure function of the folder and the budget: done again,
// by whomever, it writes the same bytes, or finds them there. When nothing is asked any more it is done and
// writes nothing, so that it may be called again with a larger budget.
//
// How the candidates are divided into batches follows how fast the last ones were, and decides nothing.
func (w *Workbench) Advance(ctx context.Context, in workflows.AdvanceInput, report Reporter) (workflows.AdvanceResult, error) {
	out := workflows.AdvanceResult{Step: in.Step}
	r, err := openRun(in.Folder)
	if err != nil {
		return out, err
	}
	part, err := r.windows(partSearch)
	if err != nil {
		return out, err
	}
	var optimizer search.Optimizer
	var last stage
	if in.Step < 0 {
		optimizer, err = r.begin()
	} else {
		last, optimizer, err = r.tell(in.Step, part)
	}
	if err != nil {
		return out, err
	}
	trials := optimizer.Ask(in.Budget)
	progress := optimizer.Progress()
	out.Tokens, out.Generation, out.Stage = progress.Tokens, progress.Generation, progress.Stage
	if out.Best = progress.Best; math.IsNaN(out.Best) || math.IsInf(out.Best, 0) {
		out.Best = 0
	}
	if in.Step >= 0 {
		archive, err := w.history(r, in.Step, part)
		if err != nil {
			return out, err
		}
		for _, e := range archive.Finalists(workflows.FrontRows) {
			out.Front = append(out.Front, r.row(e))
		}
	}
	if len(trials) == 0 {
		out.Done = true
		return out, nil
	}
	state, err := optimizer.State()
	if err != nil {
		return out, err
	}
	out.Step++
	out.Ask, out.Candidates = stepFile(out.Step), len(trials)
	out.Batches = r.batches(trials, secondsPerToken(last.scores))
	return out, publishJSON(r.folder, out.Ask, step{Step: out.Step, State: state, ask: ask{Part: partSearch, Trials: trials}})
}

// begin starts the optimiser, or restores it as it was started: the budget of the job may have been raised
// since then, and the schedule of a search is that of its first budget.
func (r *run) begin() (search.Optimizer, error) {
	first, err := r.readStep(0)
	if errors.Is(err, fs.ErrNotExist) {
		o, err := search.New(r.job.Method, r.searchJob())
		return o, mark(ErrJob, err)
	}
	if err != nil {
		return nil, err
	}
	return r.restore(first)
}

// restore is the optimiser as it was when it had asked a step.
func (r *run) restore(s step) (search.Optimizer, error) {
	o, err := search.Restore(r.space, s.State)
	if err != nil {
		return nil, mark(ErrDamaged, fmt.Errorf("evalworker: %s: %w", stepFile(s.Step), err))
	}
	return o, nil
}

// tell restores the optimiser of a step and tells it the step's scores.
func (r *run) tell(n int, part Windows) (stage, search.Optimizer, error) {
	st, err := r.readStage(n, part)
	if err != nil {
		return st, nil, err
	}
	optimizer, err := r.restore(st.step)
	if err != nil {
		return st, nil, err
	}
	if err := optimizer.Tell(st.results()); err != nil {
		return st, nil, mark(ErrDamaged, fmt.Errorf("evalworker: %s: %w", stepFile(n), err))
	}
	return st, optimizer, nil
}

// row is a point of the front as payloads show it.
func (r *run) row(e search.Evaluation) workflows.FrontRow {
	return workflows.FrontRow{ID: pointID(e.Digest), Bytes: e.Bytes, Bits: r.space.BitsPerWeight(e.Candidate), KL: e.KL, NLL: e.NLL}
}

// batches divides trials into ranges: of about batchSeconds each, but enough of them for every slot.
func (r *run) batches(trials []search.Trial, seconds float64) [][2]int {
	tokens := 0
	for _, t := range trials {
		tokens += len(t.Windows) * r.prepared.SeqLen
	}
	each := seconds * float64(tokens) / float64(len(trials)) // of a trial
	size := maxBatch
	if each > 0 {
		size = int(min(maxBatch, math.Ceil(batchSeconds/each)))
	}
	if slots := r.job.Workers; slots > 1 {
		size = min(size, (len(trials)+slots*batchesPerSlot-1)/(slots*batchesPerSlot))
	}
	var list [][2]int
	for from := 0; from < len(trials); from += size {
		list = append(list, [2]int{from, min(from+size, len(trials))})
	}
	return list
}

// secondsPerToken is the median speed of scores, 0 if there are none.
func secondsPerToken(scores []Score) float64 {
	var list []float64
	for _, s := range scores {
		if n := s.total(); n > 0 && s.Failed == "" {
			list = append(list, s.Seconds/float64(n))
		}
	}
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}
