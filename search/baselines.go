package search

import "slices"

// Uniform returns the uniform candidate to compare c with: every unit at the same nominal level,
// the lower one where the size lies between two, and evenly spaced units raised until the size of c
// is reached. In a drop space evenly spaced sub-blocks of each type go, as many as in c. It is never
// larger than c.
func (s *Space) Uniform(c Candidate) Candidate {
	g := goal{m: s.conserved(), ideal: make([]float64, len(s.Units))}
	sets := [][]int{s.units()}
	if s.Kind == Drop {
		sets = s.groups()
	}
	for _, units := range sets {
		var have int64
		for _, u := range units {
			have += s.amount(g.m, c, u)
		}
		s.share(g.m, units, float64(have), g.ideal)
		g.sets = append(g.sets, bound{units: units, aim: have, limit: have})
	}
	even := s.even(g)
	for u := 0; s.Bytes(even) > s.Bytes(c); u = (u + 1) % len(even) { // bytes that costs do not tell
		even[u] = min(even[u]+1, len(s.Units[u].Levels)-1)
	}
	return even
}

// UniformLevels returns a candidate for each level that every unit has by the same name, from the
// largest to the smallest.
func (s *Space) UniformLevels() []Candidate {
	var out []Candidate
	for _, l := range s.Units[0].Levels {
		c := make(Candidate, len(s.Units))
		missing := false
		for u := range c {
			c[u] = slices.IndexFunc(s.Units[u].Levels, func(m Level) bool { return m.Name == l.Name })
			missing = missing || c[u] < 0
		}
		if !missing {
			out = append(out, c)
		}
	}
	return out
}

// RandomCandidates returns n candidates that meet a target, drawn at random by the seed. They
// repeat where there are fewer.
func (s *Space) RandomCandidates(t Target, n int, seed uint64) ([]Candidate, error) {
	g, err := s.goal(t)
	if err != nil {
		return nil, err
	}
	rng := newGenerator(seed, 2)
	moves := newMover(s, 1, false)
	out := make([]Candidate, n)
	for i := range out {
		out[i] = s.random(g, moves, rng)
	}
	return out, nil
}

// random fills a goal in random order and then walks away from the even levels by up to a quarter
// as many switches as there are units.
func (s *Space) random(g goal, moves *mover, rng *generator) Candidate {
	c := s.fill(g, rng.shuffled)
	for range rng.Intn(len(c)/4 + 2) {
		next := c.Clone()
		if moves.swap(next, rng.Rand) && s.meets(g, next) {
			c = next
		}
	}
	return c
}

// byGroups gives each group of units a random level, lowers and raises whole groups until they fit, and fills up what is left
// with single units. Which kinds of units are better kept is more than switches of single ones find: one that is as large as many
// others together pays off once these have found their places.
func (s *Space) byGroups(g goal, rng *generator) Candidate {
	c := make(Candidate, len(s.Units))
	groups, limit := s.groups(), g.sets[0].limit
	move := func(units []int, by int) bool {
		any := false
		for _, u := range units {
			if l := c[u] + by; l >= 0 && l < len(s.Units[u].Levels) {
				c[u] = l
				any = true
			}
		}
		return any
	}
	for _, units := range groups {
		level := rng.Intn(len(s.Units[units[0]].Levels))
		for _, u := range units {
			c[u] = min(level, len(s.Units[u].Levels)-1)
		}
	}
	for s.total(g.m, c) > limit {
		move(groups[rng.Intn(len(groups))], 1)
	}
	for _, i := range rng.Perm(len(groups)) {
		for before := c.Clone(); move(groups[i], -1); before = c.Clone() {
			if s.total(g.m, c) > limit {
				copy(c, before)
				break
			}
		}
	}
	s.fit(g, c, rng.shuffled)
	return c
}

// even fills a goal with evenly spaced units raised.
func (s *Space) even(g goal) Candidate {
	plain := s.fill(g, func(units []int) []int { return units })
	floor := s.floor(g)
	return s.fill(g, func(units []int) []int {
		raised := 0
		for _, u := range units {
			if plain[u] < floor[u] {
				raised++
			}
		}
		return spaced(units, raised)
	})
}

// spaced orders units such that the first n are spread evenly over them.
func spaced(units []int, n int) []int {
	picked := make([]bool, len(units))
	out := make([]int, 0, len(units))
	for i := range n {
		at := (2*i + 1) * len(units) / (2 * n)
		picked[at] = true
		out = append(out, units[at])
	}
	for i, u := range units {
		if !picked[i] {
			out = append(out, u)
		}
	}
	return out
}

// units lists all units.
func (s *Space) units() []int {
	all := make([]int, len(s.Units))
	for u := range all {
		all[u] = u
	}
	return all
}
