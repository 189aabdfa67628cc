package search

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Optimizer proposes candidates and learns from their scores. It does no IO, reads no clock and
// starts no goroutine; it is not safe for concurrent use. What it asks depends on its job and on the
// scores it was told, and on nothing else.
//
// A step is a stage of selection: Ask, score every trial on its windows, Tell.
type Optimizer interface {
	// Ask returns the trials of the current stage that have no result yet, in a fixed order. It
	// returns the same until they are told. Budget is the number of tokens the search may spend
	// in all: a generation that would go beyond it is not begun, and Ask returns nil. Asked again
	// with more, it goes on exactly as if it had had more from the start. Ask also returns nil
	// when there is nothing left to try.
	Ask(budget int64) []Trial
	// Tell takes results of the current stage, all or some, in any order. A result for a trial
	// that is not of this stage or has one already is an error, and then nothing of the call is
	// taken. A result that failed or is not finite loses against every other.
	Tell([]Result) error
	// Progress says how far the search is.
	Progress() Progress
	// State returns everything that [Restore] needs but the space: JSON that includes the random
	// generator, so that the restored search goes on exactly. It may be taken at any moment.
	State() ([]byte, error)
}

// Trial is a candidate to be scored, and the text to score it on. All trials of a stage have the
// same windows, so that they can be compared.
type Trial struct {
	ID        int       `json:"id"` // counts up from 0 over the whole search
	Candidate Candidate `json:"candidate"`
	Windows   []int     `json:"windows"` // numbers of windows of the search split, ascending
}

// Result is the score of a trial.
type Result struct {
	ID     int     `json:"id"`
	KL     float64 `json:"kl"`               // KL divergence from the dense model, mean nats a token
	NLL    float64 `json:"nll"`              // negative log-likelihood, mean nats a token
	Failed bool    `json:"failed,omitempty"` // no score could be had
}

// ok says whether r is a score that can win.
func (r Result) ok() bool {
	return !r.Failed && !math.IsNaN(r.KL) && !math.IsInf(r.KL, 0) && !math.IsNaN(r.NLL) && !math.IsInf(r.NLL, 0)
}

// Progress says how far a search is.
type Progress struct {
	Generation int         `json:"generation"`      // generations completed
	Stage      string      `json:"stage,omitempty"` // for people: "initial", "stage 2 of 3"
	Tokens     int64       `json:"tokens"`          // tokens of the trials told so far
	Best       float64     `json:"best"`            // KL of the best candidate when it was last scored; 0 before that
	Incumbents []Candidate `json:"incumbents"`      // what the search would answer now: one a target
}

// Job is what a search is to do. It decides the whole trajectory together with the scores.
type Job struct {
	Space  *Space
	Target Target // the zero Target asks for the whole front
	Seed   uint64
	// Budget is the number of tokens the search is planned for. It chooses the schedule and
	// nothing else: what may be spent is the argument of Ask.
	Budget  int64
	SeqLen  int // tokens of a window
	Windows int // windows in the search split
	// Schedule replaces the schedule that [ScheduleFor] takes for the budget, which must do for its first generation, unless it is 0.
	Schedule *Schedule
}

// maxText bounds the tokens of a window and the windows of a split.
const maxText = 1 << 24

const (
	methodEvoPress = "evopress"
	methodRandom   = "random"
)

// Methods lists the methods that [New] knows.
func Methods() []string { return []string{methodEvoPress, methodRandom} }

// ErrUnreachable is wrapped by errors about a target that no candidate of the space meets.
var ErrUnreachable = errors.New("target out of reach")

// New starts a search by the named method: evopress, the (1+λ) search of EvoPress with
// level-switch mutation and multi-stage selection, or random, which scores random candidates of the
// target's size and is there to be compared with. Without a target both search the whole front:
// several targets spread over the sizes of the space, the budget split between them.
//
// A target that no candidate meets is an error that wraps [ErrUnreachable] and names the range.
func New(method string, job Job) (Optimizer, error) {
	if !slices.Contains(Methods(), method) {
		return nil, fmt.Errorf("search: unknown method %q, want one of %q", method, Methods())
	}
	if err := job.Space.Validate(); err != nil {
		return nil, err
	}
	if job.Target != (Target{}) {
		if err := job.Space.Reach(job.Target); err != nil {
			return nil, err
		}
	}
	var schedule Schedule
	if job.SeqLen < 1 || job.SeqLen > maxText || job.Windows < 1 || job.Windows > maxText {
		return nil, fmt.Errorf("search: %d windows of %d tokens to score candidates on, want 1 to %d of both", job.Windows, job.SeqLen, maxText)
	}
	if job.Schedule != nil {
		schedule = job.Schedule.clamp(job.Windows)
		if err := schedule.afford(job.Budget, job.SeqLen); job.Budget > 0 && err != nil {
			return nil, err
		}
	} else {
		var err error
		if schedule, err = ScheduleFor(job.Space.Kind, job.Budget, job.SeqLen, job.Windows); err != nil {
			return nil, err
		}
		if job.Target == (Target{}) {
			if s, err := ScheduleFor(job.Space.Kind, job.Budget/usualRungs, job.SeqLen, job.Windows); err == nil {
				schedule = s
			}
		}
		if job.Space.Loose { // its groups differ in kind: see byGroups
			first := &schedule.Initial
			quarter := job.Budget / int64(job.SeqLen) / 4 / int64(first.Windows)
			first.Keep = max(first.Keep, int(min(quarter, 8*int64(first.Keep))))
		}
	}
	if err := schedule.Validate(); err != nil {
		return nil, err
	}
	targets, turn := []Target{job.Target}, 1
	if job.Target == (Target{}) {
		targets, turn = job.Space.ladder(schedule, job.Budget/int64(job.SeqLen))
	}
	if method == methodRandom {
		return newRandom(job, schedule, targets)
	}
	return newEvoPress(job, schedule, targets, turn)
}

// Restore goes on with a search from what [Optimizer.State] returned, on the same space.
func Restore(space *Space, state []byte) (Optimizer, error) {
	var head struct {
		Method string `json:"method"`
	}
	if err := json.Unmarshal(state, &head); err != nil {
		return nil, fmt.Errorf("search: reading a state: %w", err)
	}
	if err := space.Validate(); err != nil {
		return nil, err
	}
	switch head.Method {
	case methodEvoPress:
		return restoreEvoPress(space, state)
	case methodRandom:
		return restoreRandom(space, state)
	}
	return nil, fmt.Errorf("search: state of unknown method %q", head.Method)
}
