package search

import (
	"cmp"
	"errors"
	"math/rand"
	"slices"

	"github.com/MaxHalford/eaopt"
)

// genome is a candidate as eaopt's populations hold it. Eaopt's own loop is not used: it calls for
// scores where ours are told, and it seeds itself from the clock.
type genome struct {
	Candidate
	base  Candidate // what it was mutated from
	moves *mover
}

// Evaluate is part of [eaopt.Genome]: an individual without a score stays without.
func (g *genome) Evaluate() (float64, error) { return 0, errors.New("search: scores are told") }

// Mutate makes a level-switch mutation.
func (g *genome) Mutate(rng *rand.Rand) {
	if !g.moves.mutate(g.Candidate, rng) {
		copy(g.Candidate, g.base)
	}
}

// Crossover takes over what the mate changed of the base, if none of it has been changed here. Both
// are of the size of the base, so the result is as well.
func (g *genome) Crossover(mate eaopt.Genome, _ *rand.Rand) {
	m := mate.(*genome)
	for u, l := range m.Candidate {
		if l != g.base[u] && g.Candidate[u] != g.base[u] {
			return
		}
	}
	for u, l := range m.Candidate {
		if l != g.base[u] {
			g.Candidate[u] = l
		}
	}
}

// Clone implements [eaopt.Genome].
func (g *genome) Clone() eaopt.Genome {
	return &genome{Candidate: g.Candidate.Clone(), base: g.base, moves: g.moves}
}

// breed returns up to n distinct children of a parent that differ from it and meet the goal. There
// are fewer where the parent has not so many neighbours.
func breed(parent Candidate, n int, g goal, moves *mover, rng *rand.Rand) []Candidate {
	if moves.space.Loose {
		moves.aim = g.sets[0].aim
	}
	individual := eaopt.NewIndividual(&genome{Candidate: parent, base: parent, moves: moves}, rng)
	seen := map[string]bool{parent.String(): true}
	var out []Candidate
	for tries := 100 + 50*n; len(out) < n && tries > 0; tries-- {
		child := individual.Clone(rng)
		child.Mutate(rng)
		c := child.Genome.(*genome).Candidate
		if moves.space.Loose {
			moves.space.topUp(g, c, parent, rng)
		}
		if key := c.String(); !seen[key] && moves.space.meets(g, c) {
			seen[key] = true
			out = append(out, c)
		}
	}
	return out
}

// merge unites the changes that candidates, the best first, made to their parent.
func merge(parent Candidate, cands []Candidate, moves *mover, rng *rand.Rand) Candidate {
	merged := eaopt.NewIndividual(&genome{Candidate: parent.Clone(), base: parent, moves: moves}, rng)
	for _, c := range cands {
		merged.Crossover(eaopt.NewIndividual(&genome{Candidate: c, base: parent, moves: moves}, rng), rng)
	}
	return merged.Genome.(*genome).Candidate
}

// survivors returns the keep best of a stage, best first. Of equal scores the earlier trial wins;
// whatever failed comes last, in the order of ids.
func survivors(r *round, keep int, rng *rand.Rand) []Candidate {
	order := make([]int, len(r.Candidates))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := r.Results[a], r.Results[b]
		if x.Failed != y.Failed {
			if x.Failed {
				return 1
			}
			return -1
		}
		if !x.Failed && x.KL != y.KL {
			return cmp.Compare(x.KL, y.KL)
		}
		return cmp.Compare(a, b)
	})
	// The fitness that eaopt sorts by is the place in this order: its sort is not stable, and a
	// failed trial has no number.
	pop := make(eaopt.Individuals, len(order))
	for place, i := range order {
		pop[i] = eaopt.NewIndividual(&genome{Candidate: r.Candidates[i]}, rng)
		pop[i].Fitness, pop[i].Evaluated = float64(place), true
	}
	best, _, err := eaopt.SelElitism{}.Apply(uint(min(keep, len(pop))), pop, rng)
	if err != nil {
		panic("search: elitist selection: " + err.Error())
	}
	out := make([]Candidate, len(best))
	for i := range best {
		out[i] = best[i].Genome.(*genome).Candidate
	}
	return out
}
