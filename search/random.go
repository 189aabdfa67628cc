package search

import (
	"encoding/json"
	"fmt"
)

// randomSearch scores random candidates of a target's size, all on the same windows, which it
// draws once: the baseline of any method that learns. With several targets the steps take turns.
type randomSearch struct {
	space *Space
	moves *mover
	goals []goal
	randomState
}

type randomState struct {
	Method     string     `json:"method"`
	Space      string     `json:"space"` // digest
	SeqLen     int        `json:"seq_len"`
	Windows    int        `json:"windows"`
	Batch      int        `json:"batch"`     // trials of a step
	Minibatch  []int      `json:"minibatch"` // windows that every trial is scored on
	Rungs      []rung     `json:"rungs"`
	RNG        *generator `json:"rng"`
	NextID     int        `json:"next_id"`
	Tokens     int64      `json:"tokens"`
	Generation int        `json:"generation"` // steps told
	Round      *round     `json:"round,omitempty"`
}

// newRandom takes the widest minibatch and the offspring of a schedule.
func newRandom(job Job, schedule Schedule, targets []Target) (*randomSearch, error) {
	r := &randomSearch{space: job.Space, randomState: randomState{
		Method: methodRandom, Space: job.Space.Digest(), SeqLen: job.SeqLen, Windows: job.Windows,
		Batch: schedule.Offspring, RNG: newGenerator(job.Seed, 3),
	}}
	r.Minibatch = r.RNG.minibatch(schedule.windows(), job.Windows)
	for _, t := range targets {
		r.Rungs = append(r.Rungs, rung{Target: t})
	}
	return r, r.prepare()
}

func (r *randomSearch) prepare() (err error) {
	r.moves = newMover(r.space, 1, false)
	r.goals, err = r.space.goals(r.Rungs)
	return err
}

// Ask implements [Optimizer].
func (r *randomSearch) Ask(budget int64) []Trial {
	if r.Round == nil {
		each := int64(len(r.Minibatch)) * int64(r.SeqLen)
		if r.Tokens+int64(r.Batch)*each > budget {
			return nil
		}
		cands := make([]Candidate, r.Batch)
		for i := range cands {
			cands[i] = r.space.random(r.goals[r.Generation%len(r.goals)], r.moves, r.RNG)
		}
		r.Round = newRound(r.NextID, r.Minibatch, cands)
		r.NextID += len(cands)
	}
	return r.Round.open()
}

// Tell implements [Optimizer].
func (r *randomSearch) Tell(results []Result) error {
	if r.Round == nil {
		if len(results) == 0 {
			return nil
		}
		return fmt.Errorf("search: told a result for trial %d, no stage is open", results[0].ID)
	}
	complete, err := r.Round.tell(results)
	if err != nil || !complete {
		return err
	}
	at := &r.Rungs[r.Generation%len(r.Rungs)]
	for i, res := range r.Round.Results {
		if !res.Failed && (at.Parent == nil || res.KL < at.Best) {
			at.Parent, at.Best = r.Round.Candidates[i], res.KL
		}
	}
	at.Generations++
	r.Generation++
	r.Tokens += r.Round.tokens(r.SeqLen)
	r.Round = nil
	return nil
}

// Progress implements [Optimizer].
func (r *randomSearch) Progress() Progress {
	p := Progress{Generation: r.Generation, Stage: "random", Tokens: r.Tokens}
	at := r.Rungs[(r.Generation+len(r.Rungs)-1)%len(r.Rungs)]
	p.Best = at.Best
	if len(r.Rungs) > 1 {
		p.Stage += " at " + at.Target.String()
	}
	for _, at := range r.Rungs {
		if at.Parent != nil {
			p.Incumbents = append(p.Incumbents, at.Parent.Clone())
		}
	}
	return p
}

// State implements [Optimizer].
func (r *randomSearch) State() ([]byte, error) { return json.Marshal(r.randomState) }

// restoreRandom reads a state, which may be from anywhere.
func restoreRandom(space *Space, state []byte) (Optimizer, error) {
	r := &randomSearch{space: space}
	if err := json.Unmarshal(state, &r.randomState); err != nil {
		return nil, fmt.Errorf("search: reading a state: %w", err)
	}
	switch {
	case r.Space != space.Digest():
		return nil, fmt.Errorf("search: the state belongs to space %.16q, this is %s", r.Space, space.Digest())
	case r.RNG == nil:
		return nil, fmt.Errorf("search: state has no random generator")
	case r.SeqLen < 1 || r.SeqLen > maxText || r.Windows < 1 || r.Windows > maxText || r.Batch < 1 || r.Batch > 1<<16 || r.NextID < 0 || r.Tokens < 0 || r.Generation < 0 || len(r.Rungs) == 0:
		return nil, fmt.Errorf("search: state has numbers out of range")
	}
	if err := checkWindows(r.Minibatch, r.Windows); err != nil {
		return nil, err
	}
	if r.Round != nil {
		if err := r.Round.check(space, r.Windows); err != nil {
			return nil, err
		}
	}
	for _, at := range r.Rungs {
		if at.Parent != nil {
			if err := space.Check(at.Parent); err != nil {
				return nil, err
			}
		}
	}
	return r, r.prepare()
}
