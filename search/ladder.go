package search

import "math"

// Rungs of a search without a target: at least minRungs, at most maxRungs, as many as get
// turnGenerations generations each in the first round. The schedule is one for the budget of a rung
// where there are usualRungs of them.
const (
	minRungs        = 2
	maxRungs        = 8
	usualRungs      = 4
	turnGenerations = 6
)

// ladder spreads targets evenly over the sizes of s, from large to small, for a budget of window
// evaluations, and says how many generations each gets before the next has its turn. The extremes
// themselves are left out, as there is only one candidate of either size, and so are targets that
// come to the same size as the one before. A drop space is climbed
// down to half of its sub-blocks, beyond which a model without training says nothing.
func (s *Space) ladder(schedule Schedule, budget int64) (targets []Target, turn int) {
	first := schedule.Initial.cost()
	n := min(max(budget/(first+turnGenerations*schedule.cost()), minRungs), maxRungs)
	turn = max(1, int((budget/n-first)/schedule.cost()))

	all := s.units()
	params := float64(s.Params())
	kind, from, to := TargetBits, 0.0, 0.0
	switch {
	case s.Kind == Drop:
		kind, from, to = TargetDrop, 0, 0.5+0.5/float64(n)
	case s.Kind == Sparsity && s.costed():
		low, high := s.span(byCost, all)
		kind, from, to = TargetSparsity, -high/params, -low/params
	default:
		low, high := s.span(byBytes, all)
		from, to = 8*high/params, 8*low/params
	}
	smallest, before := make(Candidate, len(all)), s.Bytes(make(Candidate, len(all)))
	for u := range smallest {
		smallest[u] = len(s.Units[u].Levels) - 1
	}
	for i := range n {
		v := from + float64((to-from)*float64(i+1)/float64(n+1))
		t := Target{Kind: kind, Value: math.Round(v*1e4) / 1e4}
		g, err := s.goal(t)
		if err != nil {
			continue // out of reach by its rounding
		}
		if size := s.Bytes(s.even(g)); size < before && size > s.Bytes(smallest) {
			before, targets = size, append(targets, t)
		}
	}
	if targets == nil { // a space of few sizes: any
		targets = []Target{{Kind: TargetSize, Value: float64(s.Bytes(make(Candidate, len(all))))}}
	}
	return targets, turn
}
