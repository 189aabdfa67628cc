package sparseft

import (
	"cmp"
	"slices"
)

// proposal is what a tensor would change of its support: the weights that it drops unless they are grown again, and those
// that it would grow.
type proposal struct {
	drop []int32  // positions in the support, by rising |δ|, equal ones by index
	grow []scored // without survivors, in the order of byScore
}

// lowest returns the positions in the support of the n deltas of smallest magnitude, equal ones by rising index.
func (s *sparse) lowest(n int) []int32 {
	t := top{k: n}
	for i, d := range s.delta {
		t.offer(-max(d, -d), 0, int32(i))
	}
	var out []int32
	for _, e := range t.sorted() {
		out = append(out, e.index)
	}
	return out
}

// change is a change of a support.
type change struct {
	dropped []int32  // positions in the old support
	grown   []scored // indices that were not in it, by rising index
}

// propose makes the proposal to drop n weights and to grow the candidates, in the order of byScore, that would not be in
// the support then: of those outside the mask no more than there is room for.
func (s *sparse) propose(n int, candidates []scored) *proposal {
	p := &proposal{drop: s.lowest(n)}
	dropped := make([]bool, len(s.index))
	for _, i := range p.drop {
		dropped[i] = true
	}
	room := s.regrow
	for i, at := range s.index {
		if !dropped[i] && !s.mask.Has(int(at)) {
			room--
		}
	}
	for _, c := range candidates {
		if i, in := slices.BinarySearch(s.index, c.index); in && !dropped[i] {
			continue
		}
		if !s.mask.Has(int(c.index)) {
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
	again := make([]bool, len(s.index))
	var grown []scored
	for _, c := range p.grow[:n] {
		if i, in := slices.BinarySearch(s.index, c.index); in {
			again[i] = true
		} else {
			grown = append(grown, c)
		}
	}
	var dropped []int32
	for _, i := range p.drop {
		if !again[i] {
			dropped = append(dropped, i)
		}
	}
	dropped = dropped[:len(dropped)-min(stay, len(dropped))]
	grown, dropped = s.within(grown, dropped)
	slices.SortFunc(grown, func(a, b scored) int { return cmp.Compare(a.index, b.index) })
	slices.Sort(dropped)
	return change{dropped, grown}
}

// within takes from the end of grown, and of dropped with it, until the support holds no more weights outside the mask
// than may be regrown: what was to be dropped and stays takes room that was thought free.
func (s *sparse) within(grown []scored, dropped []int32) ([]scored, []int32) {
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
	for _, c := range grown {
		room -= outside(c.index)
	}
	for i := len(grown) - 1; i >= 0 && room < 0; i-- {
		if outside(grown[i].index) == 0 {
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
	fresh := make([]int32, len(c.grown))
	for i, g := range c.grown {
		fresh[i] = g.index
	}
	weights := make([]float32, len(fresh))
	gather(s.base, s.cols, weights, fresh)
	d, g := 0, 0
	grow := func() {
		move(len(index), -1, g)
		index, delta, start = append(index, fresh[g]), append(delta, 0), append(start, weights[g])
		g++
	}
	for i, at := range s.index {
		for g < len(fresh) && fresh[g] < at {
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
	for g < len(fresh) {
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
	type place struct {
		scored
		tensor int
	}
	var all []place
	slots := 0
	for i, p := range proposals {
		slots += len(p.drop)
		for _, s := range p.grow {
			all = append(all, place{s, i})
		}
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.tensor, b.tensor), cmp.Compare(a.index, b.index))
	})
	for _, c := range all[:min(slots, len(all))] {
		grow[c.tensor]++
	}
	rest := slots - min(slots, len(all))
	for i, p := range proposals {
		stay[i] = min(rest, len(p.drop))
		rest -= stay[i]
	}
	return grow, stay
}
