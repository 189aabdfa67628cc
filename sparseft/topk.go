package sparseft

import (
	"math"
	"slices"
)

// scored is a weight with the score it is chosen by, which is not negative, and a sign that goes with it. In ascending order
// scores fall, and equal ones are in the order of their indices.
type scored uint64

func score(of float32, index int32) scored {
	return scored(^math.Float32bits(max(of, -of)))<<32 | scored(index)<<1 | scored(math.Float32bits(of)>>31)
}

// index is the flat index of the weight.
func (s scored) index() int32 { return int32(uint32(s) >> 1) }

// score is what it is chosen by.
func (s scored) score() float32 { return math.Float32frombits(^uint32(s >> 32)) }

// value is the score with the sign.
func (s scored) value() float32 {
	return math.Float32frombits(^uint32(s>>32) | uint32(s)<<31)
}

// top keeps the k first, in ascending order, of what it is offered, and the order of the offers.
type top struct {
	k       int
	list    []scored // up to twice as many
	scratch []scored
	last    scored // none that comes after it is among the first; 0 while there are too few to tell
}

// offer considers one weight.
func (t *top) offer(s scored) {
	if t.last != 0 && s > t.last || t.k == 0 {
		return
	}
	if t.list = append(t.list, s); len(t.list) >= 2*t.k {
		t.cut()
	}
}

// cut forgets all but the first k.
func (t *top) cut() {
	if len(t.list) <= t.k {
		return
	}
	t.scratch = append(t.scratch[:0], t.list...)
	t.last = nth(t.scratch, t.k-1)
	t.list = slices.DeleteFunc(t.list, func(s scored) bool { return s > t.last })
}

// floor is the least score that is worth offering.
func (t *top) floor() float32 {
	switch {
	case t.k == 0:
		return float32(math.Inf(1))
	case t.last == 0:
		return float32(math.Inf(-1))
	}
	return t.last.score()
}

// kept returns what was kept in the order of the offers, and forgets it.
func (t *top) kept() []scored {
	t.cut()
	s := t.list
	*t = top{k: t.k}
	return s
}

// nth returns what would be at a place if the list, which it shuffles, was sorted (Hoare, Algorithm 65: Find, CACM 4(7), 1961).
func nth(list []scored, place int) scored {
	for lo, hi := 0, len(list)-1; lo < hi; {
		a, b, c := list[lo], list[(lo+hi)/2], list[hi]
		pivot := max(min(a, b), min(max(a, b), c)) // the one in between
		i, j := lo, hi
		for i <= j {
			for list[i] < pivot {
				i++
			}
			for list[j] > pivot {
				j--
			}
			if i <= j {
				list[i], list[j] = list[j], list[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case place <= j:
			hi = j
		case place >= i:
			lo = i
		default:
			return list[place]
		}
	}
	return list[place]
}

// chooser keeps the k weights of highest score among those that a tensor may change: of weights outside the mask at most
// as many as may be regrown.
type chooser struct {
	mask        *Mask
	in, outside top
	k           int
}

// choose starts a choice of k of the tensor's weights.
func (t *tensor) choose(k int) *chooser {
	return &chooser{mask: t.mask, k: k, in: top{k: min(k, t.kept)}, outside: top{k: min(k, t.regrow)}}
}

// offer considers one weight.
func (c *chooser) offer(s scored) {
	if c.mask.Has(int(s.index())) {
		c.in.offer(s)
	} else {
		c.outside.offer(s)
	}
}

// floor is the least score that is worth offering.
func (c *chooser) floor() float32 { return min(c.in.floor(), c.outside.floor()) }

// kept returns the choice, those outside the mask last, each in the order of the offers, and forgets it.
func (c *chooser) kept() []scored {
	all := top{k: c.k, list: append(c.in.kept(), c.outside.kept()...)}
	return all.kept()
}

// sorted returns the choice by falling score, and forgets it.
func (c *chooser) sorted() []scored {
	all := c.kept()
	slices.Sort(all)
	return all
}

// gradients is a choice of the gradients of largest magnitude, from dense blocks.
type gradients struct {
	*chooser
	cols int
}

func (c *gradients) block(block []float32, from, to int) {
	floor := c.floor()
	for i, x := range block {
		if max(x, -x) >= floor {
			c.offer(score(x, int32(from*c.cols+i)))
			floor = c.floor()
		}
	}
}

// take returns the choice by rising index.
func (c *gradients) take() (index []int32, value []float32) {
	all := c.kept()
	for i, s := range all { // indices come first for a while
		all[i] = s<<32 | s>>32
	}
	slices.Sort(all)
	index, value = make([]int32, len(all)), make([]float32, len(all))
	for i, s := range all {
		s = s<<32 | s>>32
		index[i], value[i] = s.index(), s.value()
	}
	return index, value
}
