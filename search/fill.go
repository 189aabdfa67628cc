package search

import (
	"cmp"
	"math/rand"
	"slices"
)

// fill builds a candidate that meets a goal: every unit at the level just below its share, then
// units raised a level in the order given as far as their group's share goes, then whatever still
// fits. Order is called with sets of units.
func (s *Space) fill(g goal, order func(units []int) []int) Candidate {
	c := s.floor(g)
	for _, group := range s.groups() {
		var room float64
		for _, u := range group {
			room += g.ideal[u] + s.slack(g.m) - float64(s.amount(g.m, c, u))
		}
		for _, u := range order(group) {
			if float64(s.amount(g.m, c, u)) >= g.ideal[u]-s.slack(g.m) {
				continue // it has its share
			}
			if up := s.up(g.m, c, u); up > 0 && float64(up) <= room {
				c[u]--
				room -= float64(up)
			}
		}
	}
	s.fit(g, c, order)
	return c
}

// floor takes for each unit the largest level that is not above its share.
func (s *Space) floor(g goal) Candidate {
	c := make(Candidate, len(s.Units))
	for u := range c {
		for c[u] < len(s.Units[u].Levels)-1 && float64(s.amount(g.m, c, u)) > g.ideal[u]+s.slack(g.m) {
			c[u]++
		}
	}
	return c
}

// fit changes c as little as it takes to meet a goal: in each set units are lowered in turn while
// it is above the limit, then raised while that leaves it within the aim: larger steps first, and of
// equal ones the unit farthest below its share.
func (s *Space) fit(g goal, c Candidate, order func(units []int) []int) {
	for _, set := range g.sets {
		var have int64
		for _, u := range set.units {
			have += s.amount(g.m, c, u)
		}
		for have > set.limit {
			for _, u := range order(set.units) {
				if have > set.limit && c[u] < len(s.Units[u].Levels)-1 {
					c[u]++
					have -= s.up(g.m, c, u)
				}
			}
		}
		for raised := true; raised; {
			raised = false
			turn := slices.Clone(order(set.units))
			slices.SortStableFunc(turn, func(a, b int) int {
				return cmp.Or(cmp.Compare(s.up(g.m, c, b), s.up(g.m, c, a)), cmp.Compare(s.excess(g, c, a), s.excess(g, c, b)))
			})
			for _, u := range turn {
				if up := s.up(g.m, c, u); up > 0 && have+up <= set.aim {
					c[u]--
					have += up
					raised = true
				}
			}
		}
	}
}

// topUp raises units of c at random, but none that was lowered since before, while that leaves c within
// the aim of the goal.
func (s *Space) topUp(g goal, c, before Candidate, rng *rand.Rand) {
	for _, set := range g.sets {
		room := set.aim
		for _, u := range set.units {
			room -= s.amount(g.m, c, u)
		}
		for raised := true; raised; {
			raised = false
			for _, i := range rng.Perm(len(set.units)) {
				u := set.units[i]
				if up := s.up(g.m, c, u); up > 0 && up <= room && c[u] <= before[u] {
					c[u]--
					room -= up
					raised = true
				}
			}
		}
	}
}

// excess is how far unit u is above its share, for a weight of it.
func (s *Space) excess(g goal, c Candidate, u int) float64 {
	return (float64(s.amount(g.m, c, u)) - g.ideal[u]) / float64(s.Units[u].Params)
}

// meets says whether c keeps to every limit of the goal.
func (s *Space) meets(g goal, c Candidate) bool {
	for _, set := range g.sets {
		var have int64
		for _, u := range set.units {
			have += s.amount(g.m, c, u)
		}
		if have > set.limit {
			return false
		}
	}
	return true
}

// amount is the measure of unit u at its level in c.
func (s *Space) amount(m measure, c Candidate, u int) int64 {
	return m.of(s.Units[u].Levels[c[u]])
}

// up is what unit u of c gains when it goes one level up; 0 if it is at its largest.
func (s *Space) up(m measure, c Candidate, u int) int64 {
	if c[u] == 0 {
		return 0
	}
	levels := s.Units[u].Levels
	return m.of(levels[c[u]-1]) - m.of(levels[c[u]])
}

// down is what unit u of c loses when it goes one level down; 0 if it is at its smallest.
func (s *Space) down(m measure, c Candidate, u int) int64 {
	levels := s.Units[u].Levels
	if c[u] == len(levels)-1 {
		return 0
	}
	return m.of(levels[c[u]]) - m.of(levels[c[u]+1])
}

// forced is the only way to fill a goal, where there is but one: no unit is raised that could have
// been another.
func (s *Space) forced(g goal) (Candidate, bool) {
	first := s.fill(g, func(units []int) []int { return units })
	last := s.fill(g, func(units []int) []int {
		units = slices.Clone(units)
		slices.Reverse(units)
		return units
	})
	return first, first.Equal(last)
}
