package sparseft

import (
	"math"
	"slices"
)

// proposal is what a tensor would change of its support: the weights that it drops unless they are grown again, and those
// that it would grow.
type proposal struct {
	drop []int32  // positions in the support, by rising |δ|, equal ones by index
	grow []scored // without survivors, by falling score
}

// lowest returns the positions in the support of the n deltas of smallest magnitude, equal ones by rising index.
func (s *sparse) lowest(n int) []int32 {
	all := make([]uint64, len(s.delta))
	for i, d := range s.delta {
		all[i] = uint64(math.Float32bits(max(d, -d)))<<32 | uint64(i)
	}
	slices.Sort(all)
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(uint32(all[i]))
	}
	return out
}

// change is a change of a support.
type change struct {
	dropped []int32 // positions in the old support, rising
	grown   []int32 // indices that were not in it, rising
}

// propose makes the proposal to drop n weights and to grow the candidates, sorted, that would not be in the support then: of
// those outside the mask no more than there is room for.
func (s *sparse) propose(n int, candidates []scored) *proposal {
	p := &proposal{drop: s.lowest(n), grow: make([]scored, 0, len(candidates))}
	stays := NewMask(s.total)
	for _, at := range s.index {
		stays.Keep(int(at))
	}
	for _, i := range p.drop {
		stays.drop(int(s.index[i]))
	}
	room := s.regrow
	for _, at := range s.index {
		if !s.mask.Has(int(at)) && stays.Has(int(at)) {
			room--
		}
	}
	for _, c := range candidates {
		if stays.Has(int(c.index())) {
			continue
		}
		if !s.mask.Has(int(c.index())) {
			if room <= 0 {
				continue
			}
			room--
		}
		p.grow = append(p.grow, c)
	}
	return p
}

// settle decides on the change: the first n of what is to grow are grown, and of what is to be dropped and is not among
// them all go but the stay largest. What is both dropped and grown stays as it is.
func (s *sparse) settle(p *proposal, n, stay int) change {
	drops := NewMask(s.total)
	for _, i := range p.drop {
		drops.Keep(int(s.index[i]))
	}
	grown := make([]int32, 0, n)
	for _, c := range p.grow[:n] {
		if at := c.index(); drops.Has(int(at)) {
			drops.drop(int(at))
		} else {
			grown = append(grown, at)
		}
	}
	dropped := make([]int32, 0, len(p.drop))
	for _, i := range p.drop {
		if drops.Has(int(s.index[i])) {
			dropped = append(dropped, i)
		}
	}
	dropped = dropped[:len(dropped)-min(stay, len(dropped))]
	grown, dropped = s.within(grown, dropped)
	slices.Sort(grown)
	slices.Sort(dropped)
	return change{dropped, grown}
}

// within takes from the end of grown, and of dropped with it, until the support holds no more weights outside the mask
// than may be regrown: what was to be dropped and stays takes room that was thought free.
func (s *sparse) within(grown, dropped []int32) (_, _ []int32) {
	outside := func(at int32) int {
		if s.mask.Has(int(at)) {
			return 0
		}
		return 1
	}
	room := s.regrow
	for _, at := range s.index {
		room -= outside(at)
	}
	for _, i := range dropped {
		room += outside(s.index[i])
	}
	for _, at := range grown {
		room -= outside(at)
	}
	for i := len(grown) - 1; i >= 0 && room < 0; i-- {
		if outside(grown[i]) == 0 {
			continue
		}
		grown = slices.Delete(grown, i, i+1)
		room++
		if n := len(dropped); n > 0 {
			room -= outside(s.index[dropped[n-1]])
			dropped = dropped[:n-1]
		}
	}
	return grown, dropped
}

// apply carries a change of the support out. move is told where every weight of the new support comes from: its position
// in the old support, or -1 and its place in the list of what was grown.
func (s *sparse) apply(c change, move func(to, from, grown int)) {
	n := len(s.index) - len(c.dropped) + len(c.grown)
	index, delta, start := make([]int32, 0, n), make([]float32, 0, n), make([]float32, 0, n)
	weights := make([]float32, len(c.grown))
	gather(s.base, s.cols, weights, c.grown)
	d, g := 0, 0
	grow := func() {
		move(len(index), -1, g)
		index, delta, start = append(index, c.grown[g]), append(delta, 0), append(start, weights[g])
		g++
	}
	for i, at := range s.index {
		for g < len(c.grown) && c.grown[g] < at {
			grow()
		}
		if d < len(c.dropped) && int(c.dropped[d]) == i {
			s.left = append(s.left, at)
			d++
			continue
		}
		move(len(index), i, -1)
		index, delta, start = append(index, at), append(delta, s.delta[i]), append(start, s.start[i])
	}
	for g < len(c.grown) {
		grow()
	}
	s.index, s.delta, s.start, s.sum = index, delta, start, make([]float32, n)
}

// allocate returns how many weights each tensor grows and how many of those that it would drop stay. Within tensors each
// grows as many as it drops; across them those of highest score grow, wherever they are, equal ones in the order of the
// tensors. Where too few can grow, the rest stays, so that the number of trainable weights is constant.
func allocate(proposals []*proposal, across bool) (grow, stay []int) {
	grow, stay = make([]int, len(proposals)), make([]int, len(proposals))
	if !across {
		for i, p := range proposals {
			grow[i] = min(len(p.drop), len(p.grow))
			stay[i] = len(p.drop) - grow[i]
		}
		return grow, stay
	}
	var all []scored
	slots := 0
	for i, p := range proposals {
		slots += len(p.drop)
		for _, s := range p.grow {
			all = append(all, score(s.score(), int32(i))) // whichever of a tensor's weights: its first ones grow
		}
	}
	slices.Sort(all)
	for _, c := range all[:min(slots, len(all))] {
		grow[c.index()]++
	}
	rest := slots - min(slots, len(all))
	for i, p := range proposals {
		stay[i] = min(rest, len(p.drop))
		rest -= stay[i]
	}
	return grow, stay
}
