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
// themselves are left out: there is only one candidate of either size. A drop space is climbed
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
	for i := range n {
		v := from + float64((to-from)*float64(i+1)/float64(n+1))
		t := Target{Kind: kind, Value: math.Round(v*1e4) / 1e4}
		if s.Reach(t) == nil {
			targets = append(targets, t)
		}
	}
	if targets == nil { // sizes closer together than the rounding
		targets = []Target{{Kind: TargetSize, Value: float64(s.FixedBytes) + math.Ceil(params*from/8)}}
	}
	return targets, turn
}
