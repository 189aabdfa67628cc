package search

import (
	"encoding/json"
	"fmt"
	"slices"
)

// evoPress is the (1+λ) search of EvoPress (Sieberling, Kuznedelev, Kurtic and Alistarh, 2024,
// arXiv:2410.14649) at one target, or at several in turn.
//
// A generation breeds λ children of the parent by level-switch mutation and lets them through stages
// of selection, each on a fresh random minibatch of windows, few windows for many candidates first.
// The parent enters the last stage only, and the best there is the next parent.
//
// Without a target the rungs are targets spread over the sizes of the space, from large to small. A
// rung begins with the solution of the one before, shifted to its size; after the last rung it is
// the first one's turn again.
type evoPress struct {
	space *Space
	moves *mover
	goals []goal // of the rungs
	evoState
}

// evoState is what a state holds.
type evoState struct {
	Method     string     `json:"method"`
	Space      string     `json:"space"` // digest
	SeqLen     int        `json:"seq_len"`
	Windows    int        `json:"windows"`
	Schedule   Schedule   `json:"schedule"`
	Turn       int        `json:"turn"` // generations at a rung before the next has its turn
	Rungs      []rung     `json:"rungs"`
	On         int        `json:"on"` // rung in turn
	RNG        *generator `json:"rng"`
	NextID     int        `json:"next_id"`
	Tokens     int64      `json:"tokens"`
	Generation int        `json:"generation"`
	// Stage is the selection stage that Pool enters next or Round is in: 0 to len(Stages)-1, or
	// initialStage before the rung has a parent. Pool is empty between generations.
	Stage int         `json:"stage"`
	Pool  []Candidate `json:"pool,omitempty"`
	Round *round      `json:"round,omitempty"`
}

const initialStage = -1

// rung is the search at one target.
type rung struct {
	Target      Target    `json:"target"`
	Parent      Candidate `json:"parent,omitempty"`
	Best        float64   `json:"best"` // KL of the parent when it was last scored
	Generations int       `json:"generations"`
	Alone       bool      `json:"alone,omitempty"` // the parent has no neighbour: nothing is left to try
}

// newEvoPress starts a search at targets that the space reaches.
func newEvoPress(job Job, schedule Schedule, targets []Target, turn int) (*evoPress, error) {
	e := &evoPress{space: job.Space, evoState: evoState{
		Method: methodEvoPress, Space: job.Space.Digest(), SeqLen: job.SeqLen, Windows: job.Windows,
		Schedule: schedule, Turn: turn, RNG: newGenerator(job.Seed, 1), Stage: initialStage,
	}}
	for _, t := range targets {
		e.Rungs = append(e.Rungs, rung{Target: t})
	}
	return e, e.prepare()
}

// prepare derives what a state does not hold.
func (e *evoPress) prepare() (err error) {
	e.moves = newMover(e.space, e.Schedule.Flips, e.Schedule.Exchange)
	e.goals, err = e.space.goals(e.Rungs)
	return err
}

// goals are those of the rungs' targets.
func (s *Space) goals(rungs []rung) ([]goal, error) {
	goals := make([]goal, len(rungs))
	for i, r := range rungs {
		var err error
		if goals[i], err = s.goal(r.Target); err != nil {
			return nil, err
		}
	}
	return goals, nil
}

// Ask implements [Optimizer].
func (e *evoPress) Ask(budget int64) []Trial {
	for e.Round == nil {
		if !e.next(budget) {
			return nil
		}
	}
	return e.Round.open()
}

// next goes on by one stage, towards an open round. It reports false if the budget or the schedule
// has no more to give.
func (e *evoPress) next(budget int64) bool {
	r := &e.Rungs[e.On]
	switch {
	case e.Stage > 0:
		e.enter(e.Pool)
	case e.Stage == initialStage:
		first := e.Schedule.Initial
		if !e.affords(first.cost(), budget) {
			return false
		}
		if starts := e.starts(); len(starts) > 1 {
			e.open(starts, first.Windows)
		} else {
			r.Parent, e.Stage = starts[0], 0
		}
	case e.ended(*r):
		return e.turn()
	case !e.affords(e.Schedule.cost(), budget):
		return false
	default:
		if pool := breed(r.Parent, e.Schedule.Offspring, e.goals[e.On], e.moves, e.RNG.Rand); len(pool) > 0 {
			e.enter(pool)
			break
		}
		r.Alone = true
		if r.Best == 0 { // there was nothing to compare it with: it has no score yet, and an answer has one
			only := r.Parent
			r.Parent, e.Stage = nil, initialStage
			e.open([]Candidate{only}, e.Schedule.Stages[len(e.Schedule.Stages)-1].Windows)
		}
	}
	return true
}

// ended says whether a rung has nothing left to do.
func (e *evoPress) ended(r rung) bool {
	return r.Alone || e.Schedule.Generations > 0 && r.Generations >= e.Schedule.Generations
}

// turn gives the turn to the next rung that has not ended, and reports whether there is one.
func (e *evoPress) turn() bool {
	for k := 1; k < len(e.Rungs); k++ {
		if on := (e.On + k) % len(e.Rungs); !e.ended(e.Rungs[on]) {
			e.on(on)
			return true
		}
	}
	return false
}

// on puts rung i in turn.
func (e *evoPress) on(i int) {
	e.On, e.Stage = i, 0
	if e.Rungs[i].Parent == nil {
		e.Stage = initialStage
	}
}

// affords says whether so many window evaluations more keep the search within a budget of tokens.
func (e *evoPress) affords(windows, budget int64) bool {
	return e.Tokens+windows*int64(e.SeqLen) <= budget
}

// starts are the candidates that the parent of a rung is picked from: the only one there is, or
// the uniform one and random ones, in a loose space most of them with a random level for each
// group, or, on a later rung, the solution of the one before shifted in random ways.
func (e *evoPress) starts() []Candidate {
	g := e.goals[e.On]
	even := e.space.even(g)
	if only, ok := e.space.forced(g); ok && e.On == 0 && !e.space.Loose {
		return []Candidate{only}
	}
	out := []Candidate{even}
	seen := map[string]bool{even.String(): true}
	for tries := 50 * e.Schedule.Initial.Keep; len(out) < e.Schedule.Initial.Keep && tries > 0; tries-- {
		var c Candidate
		switch {
		case e.On > 0:
			c = e.Rungs[e.On-1].Parent.Clone()
			e.space.fit(g, c, e.RNG.shuffled)
		case e.space.Loose && tries%4 > 0:
			c = e.space.byGroups(g, e.RNG)
		default:
			c = e.space.fill(g, e.RNG.shuffled)
		}
		if key := c.String(); !seen[key] {
			seen[key] = true
			out = append(out, c)
		}
	}
	return out
}

// enter opens the round of the current selection stage for a pool of children, the best first.
func (e *evoPress) enter(pool []Candidate) {
	parent := e.Rungs[e.On].Parent
	pool = slices.Clone(pool)
	if e.Stage == len(e.Schedule.Stages)-1 {
		pool = append(pool, parent)
	}
	e.open(pool, e.Schedule.Stages[e.Stage].Windows)
}

// merge adds to the pool what the schedule merges of the first stage's best.
func (e *evoPress) merge(first *round) {
	for _, k := range e.Schedule.Merge {
		best := survivors(first, k, e.RNG.Rand)
		c := merge(e.Rungs[e.On].Parent, best, e.moves, e.RNG.Rand)
		if !slices.ContainsFunc(e.Pool, c.Equal) && e.space.meets(e.goals[e.On], c) {
			e.Pool = append(e.Pool, c)
		}
	}
}

func (e *evoPress) open(candidates []Candidate, windows int) {
	e.Round = newRound(e.NextID, e.RNG.minibatch(windows, e.Windows), candidates)
	e.NextID += len(candidates)
	e.Pool = nil
}

// Tell implements [Optimizer].
func (e *evoPress) Tell(results []Result) error {
	if e.Round == nil {
		if len(results) == 0 {
			return nil
		}
		return fmt.Errorf("search: told a result for trial %d, no stage is open", results[0].ID)
	}
	complete, err := e.Round.tell(results)
	if err != nil || !complete {
		return err
	}
	round := e.Round
	e.Round = nil
	e.Tokens += round.tokens(e.SeqLen)
	switch {
	case e.Stage == initialStage:
		e.settle(round)
		e.Stage = 0
	case e.Stage < len(e.Schedule.Stages)-1:
		keep := e.Schedule.Stages[e.Stage].Keep
		e.Pool = survivors(round, keep, e.RNG.Rand)
		if e.Stage == 0 {
			e.merge(round)
		}
		e.Stage++
	default:
		e.settle(round)
		e.Stage = 0
		e.Generation++
		r := &e.Rungs[e.On]
		r.Generations++
		if len(e.Rungs) > 1 && r.Generations%e.Turn == 0 {
			e.on((e.On + 1) % len(e.Rungs))
		}
	}
	return nil
}

// settle makes the best of a round the parent of the rung. A parent stays where all failed.
func (e *evoPress) settle(round *round) {
	r := &e.Rungs[e.On]
	best := survivors(round, 1, e.RNG.Rand)[0]
	for i, c := range round.Candidates {
		if !c.Equal(best) {
			continue
		}
		if res := round.Results[i]; !res.Failed {
			r.Parent, r.Best = best, res.KL
		} else if r.Parent == nil {
			r.Parent = best
		}
	}
}

// Progress implements [Optimizer].
func (e *evoPress) Progress() Progress {
	p := Progress{Generation: e.Generation, Tokens: e.Tokens, Best: e.Rungs[e.On].Best, Stage: "initial"}
	if e.Stage != initialStage {
		p.Stage = fmt.Sprintf("stage %d of %d", e.Stage+1, len(e.Schedule.Stages))
	}
	if len(e.Rungs) > 1 {
		p.Stage += " at " + e.Rungs[e.On].Target.String()
	}
	for _, r := range e.Rungs {
		if r.Parent != nil {
			p.Incumbents = append(p.Incumbents, r.Parent.Clone())
		}
	}
	return p
}

// State implements [Optimizer].
func (e *evoPress) State() ([]byte, error) { return json.Marshal(e.evoState) }

// restoreEvoPress reads a state, which may be from anywhere.
func restoreEvoPress(space *Space, state []byte) (Optimizer, error) {
	e := &evoPress{space: space}
	if err := json.Unmarshal(state, &e.evoState); err != nil {
		return nil, fmt.Errorf("search: reading a state: %w", err)
	}
	switch {
	case e.Space != space.Digest():
		return nil, fmt.Errorf("search: the state belongs to space %.16q, this is %s", e.Space, space.Digest())
	case e.RNG == nil:
		return nil, fmt.Errorf("search: state has no random generator")
	case e.SeqLen < 1 || e.SeqLen > maxText || e.Windows < 1 || e.Windows > maxText || e.Turn < 1 || e.NextID < 0 || e.Tokens < 0:
		return nil, fmt.Errorf("search: state has numbers out of range")
	case len(e.Rungs) == 0 || e.On < 0 || e.On >= len(e.Rungs):
		return nil, fmt.Errorf("search: state is at target %d of %d", e.On, len(e.Rungs))
	}
	if err := e.Schedule.Validate(); err != nil {
		return nil, err
	}
	if e.Stage < initialStage || e.Stage >= len(e.Schedule.Stages) || e.Stage > 0 && e.Round == nil && len(e.Pool) == 0 {
		return nil, fmt.Errorf("search: state is at stage %d of %d with %d candidates", e.Stage, len(e.Schedule.Stages), len(e.Pool))
	}
	if (e.Stage == initialStage) != (e.Rungs[e.On].Parent == nil) {
		return nil, fmt.Errorf("search: state is at stage %d and its parent does not fit that", e.Stage)
	}
	if e.Round != nil {
		if err := e.Round.check(space, e.Windows); err != nil {
			return nil, err
		}
	}
	cands := slices.Clone(e.Pool)
	for i, r := range e.Rungs {
		if r.Parent != nil {
			cands = append(cands, r.Parent)
		} else if i < e.On {
			return nil, fmt.Errorf("search: state is at target %d and has no solution at target %d", e.On, i)
		}
	}
	for _, c := range cands {
		if err := space.Check(c); err != nil {
			return nil, err
		}
	}
	return e, e.prepare()
}
