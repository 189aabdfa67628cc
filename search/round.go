package search

import "fmt"

// round is a stage that is being scored: its trials and the results told so far.
type round struct {
	First      int         `json:"first"` // id of the first candidate; the others follow
	Windows    []int       `json:"windows"`
	Candidates []Candidate `json:"candidates"`
	Results    []*Result   `json:"results"` // null where none is told yet
}

func newRound(first int, windows []int, candidates []Candidate) *round {
	return &round{First: first, Windows: windows, Candidates: candidates, Results: make([]*Result, len(candidates))}
}

// open lists the trials without a result.
func (r *round) open() []Trial {
	var out []Trial
	for i, c := range r.Candidates {
		if r.Results[i] == nil {
			out = append(out, Trial{ID: r.First + i, Candidate: c.Clone(), Windows: append([]int(nil), r.Windows...)})
		}
	}
	return out
}

// tell files results and says whether the round is complete. It takes all of them or, with an
// error, none.
func (r *round) tell(results []Result) (complete bool, err error) {
	given := make(map[int]bool, len(results))
	for _, res := range results {
		i := res.ID - r.First
		if i < 0 || i >= len(r.Candidates) {
			return false, fmt.Errorf("search: told a result for trial %d, the stage has trials %d to %d", res.ID, r.First, r.First+len(r.Candidates)-1)
		}
		if r.Results[i] != nil || given[res.ID] {
			return false, fmt.Errorf("search: told a second result for trial %d", res.ID)
		}
		given[res.ID] = true
	}
	for _, res := range results {
		if !res.ok() {
			res = Result{ID: res.ID, Failed: true} // JSON has no NaN
		}
		r.Results[res.ID-r.First] = &res
	}
	for _, res := range r.Results {
		if res == nil {
			return false, nil
		}
	}
	return true, nil
}

// tokens is what scoring the round takes.
func (r *round) tokens(seqLen int) int64 {
	return int64(len(r.Candidates)) * int64(len(r.Windows)) * int64(seqLen)
}

// check says what is wrong with a round that was read from a state.
func (r *round) check(s *Space, windows int) error {
	if len(r.Results) != len(r.Candidates) || len(r.Candidates) == 0 || r.First < 0 {
		return fmt.Errorf("search: state has a stage of %d candidates from %d on with %d results", len(r.Candidates), r.First, len(r.Results))
	}
	for _, c := range r.Candidates {
		if err := s.Check(c); err != nil {
			return err
		}
	}
	if err := checkWindows(r.Windows, windows); err != nil {
		return err
	}
	open := 0
	for i, res := range r.Results {
		if res == nil {
			open++
		} else if res.ID != r.First+i || !res.Failed && !res.ok() {
			return fmt.Errorf("search: state has result %d for trial %d", res.ID, r.First+i)
		}
	}
	if open == 0 {
		return fmt.Errorf("search: state has a stage that is complete but not decided")
	}
	return nil
}

// checkWindows says whether a list names windows that exist, at least one, in ascending order.
func checkWindows(list []int, windows int) error {
	for i, w := range list {
		if w < 0 || w >= windows || i > 0 && w <= list[i-1] {
			return fmt.Errorf("search: state has window %d among %d of %d", w, len(list), windows)
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("search: state has a stage without windows")
	}
	return nil
}
