package search

import (
	"math/rand"
	"slices"
)

// mover changes candidates of a space so that their size stays exactly as it is or, in a loose space, does
// not grow.
type mover struct {
	space    *Space
	m        measure
	groups   [][]int
	group    []int // of each unit
	flips    int
	exchange bool
	aim      int64 // of a loose space: the size up to which a candidate may grow
}

func newMover(s *Space, flips int, exchange bool) *mover {
	v := &mover{space: s, m: s.conserved(), groups: s.groups(), group: make([]int, len(s.Units)), flips: flips}
	v.exchange = exchange && len(v.groups) > 1
	for g, units := range v.groups {
		for _, u := range units {
			v.group[u] = g
		}
	}
	return v
}

// mutate makes min(U, U) moves, U uniform in 1 to flips, which favours few. It reports whether all
// of them could be made; together they may still cancel out.
func (v *mover) mutate(c Candidate, rng *rand.Rand) bool {
	for range 1 + min(rng.Intn(v.flips), rng.Intn(v.flips)) {
		if v.exchange && rng.Intn(4) == 0 && v.trade(c, rng) {
			continue
		}
		if !v.swap(c, rng) {
			return false
		}
	}
	return true
}

// swap raises one unit by a level and lowers another of its group by a level of the same size. For
// a drop space that moves a hole in the mask of one type of sub-block. A group is picked as often
// as it has units; where it is all at one extreme the next one that is not takes its place.
func (v *mover) swap(c Candidate, rng *rand.Rand) bool {
	first := v.group[rng.Intn(len(c))]
	for g := range v.groups {
		if v.swapWithin(v.groups[(first+g)%len(v.groups)], c, rng) {
			return true
		}
	}
	return false
}

func (v *mover) swapWithin(units []int, c Candidate, rng *rand.Rand) bool {
	var ups, downs []int
	for _, u := range units {
		if c[u] > 0 {
			ups = append(ups, u)
		}
	}
	for len(ups) > 0 {
		k := rng.Intn(len(ups))
		step := v.space.up(v.m, c, ups[k])
		downs = downs[:0]
		for _, u := range units {
			if u != ups[k] && v.space.down(v.m, c, u) == step {
				downs = append(downs, u)
			}
		}
		if len(downs) > 0 {
			c[ups[k]]--
			c[downs[rng.Intn(len(downs))]]++
			return true
		}
		ups = slices.Delete(ups, k, k+1) // nothing pays for this one
	}
	return false
}

// maxTrade bounds how many units pay for one. EvoPress allows as many level changes in its mutations
// across groups.
const maxTrade = 10

// trade moves one unit a level up or down and others, of any group, a level the other way until the
// size is what it was, or in a loose space until it is within the aim, however many units that takes. It
// reports whether that came out; c is as before if not.
func (v *mover) trade(c Candidate, rng *rand.Rand) bool {
	one, by := rng.Intn(len(c)), -1
	there, back := v.space.up, v.space.down
	if rng.Intn(2) == 0 {
		there, back, by = back, there, 1
	}
	owed := there(v.m, c, one)
	if owed == 0 {
		return false
	}
	loose := v.space.Loose
	over := loose && by < 0 // others may pay more than is owed
	if over {
		owed -= max(v.aim-v.space.total(v.m, c), 0)
	}
	before := c.Clone()
	c[one] += by
	for n := 0; owed > 0 && (n < maxTrade || loose); n++ {
		var can []int
		for u := range c {
			if step := back(v.m, c, u); u != one && step > 0 && (step <= owed || over) {
				can = append(can, u)
			}
		}
		if len(can) == 0 {
			break
		}
		u := can[rng.Intn(len(can))]
		owed -= back(v.m, c, u)
		c[u] -= by
	}
	done := owed == 0 || loose && (owed < 0) == (by < 0)
	if !done {
		copy(c, before)
	}
	return done
}
