package evalworker

import (
	"fmt"

	"github.com/paretopress/paretopress/search"
)

// stage is a step of the log with its scores.
type stage struct {
	step
	scores []Score // of the trials, in order
}

// readStage reads a step and the scores of all its trials. part is the search split. It fails if a trial has no
// score: then the step is not complete.
func (r *run) readStage(n int, part Windows) (stage, error) {
	st := stage{}
	var err error
	if st.step, err = r.readStep(n); err != nil {
		return st, err
	}
	for i, t := range st.Trials {
		digest, err := r.trialDigest(t, part)
		if err != nil {
			return st, err
		}
		s, ok, err := r.readScore(digest)
		if err != nil {
			return st, err
		}
		if !ok {
			return st, &incompleteError{step: n, candidate: i}
		}
		st.scores = append(st.scores, s)
	}
	return st, nil
}

// incompleteError says that a candidate of a step has no score.
type incompleteError struct{ step, candidate int }

func (e *incompleteError) Error() string {
	return fmt.Sprintf("evalworker: candidate %d of step %d has no score", e.candidate, e.step)
}

// evaluations are the stage's scores as the archive takes them.
func (r *run) evaluations(st stage) []search.Evaluation {
	list := make([]search.Evaluation, len(st.Trials))
	for i, t := range st.Trials {
		e := search.Evaluation{Candidate: t.Candidate, Digest: r.space.Phenotype(t.Candidate), Bytes: r.space.Bytes(t.Candidate)}
		if s := st.scores[i]; s.Failed != "" {
			e.Failed = true
		} else {
			e.KL, e.NLL, e.Tokens = s.kl().Value, s.nll().Value, s.total()
		}
		list[i] = e
	}
	return list
}

// results are the stage's scores as the optimiser takes them.
func (st stage) results() []search.Result {
	list := make([]search.Result, len(st.Trials))
	for i, t := range st.Trials {
		s := st.scores[i]
		list[i] = search.Result{ID: t.ID, Failed: s.Failed != ""}
		if s.Failed == "" {
			list[i].KL, list[i].NLL = s.kl().Value, s.nll().Value
		}
	}
	return list
}

// history is the archive of a run up to a step.
type history struct {
	identity string // of the run
	archive  *search.Archive
	step     int // the last step in it
}

// history returns the archive of the steps 0 to n. It is kept from call to call and read anew
// where it does not fit: steps and scores never change.
func (w *Workbench) history(r *run, n int, part Windows) (*search.Archive, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	identity := digest(encodeJSON(r.prepared), encodeJSON(r.job))
	h := w.histories[r.folder]
	if h == nil || h.identity != identity || h.step > n {
		h = &history{identity: identity, archive: search.NewArchive(), step: -1}
		w.histories[r.folder] = h
	}
	for h.step < n {
		st, err := r.readStage(h.step+1, part)
		if err != nil {
			return nil, err
		}
		h.archive.Add(r.evaluations(st))
		h.step++
	}
	return h.archive, nil
}
