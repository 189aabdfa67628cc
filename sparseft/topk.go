package sparseft

import (
	"cmp"
	"math"
	"slices"
)

// scored is a weight with the score it is chosen by.
type scored struct {
	score float32
	value float32 // what the score is made of, where that is kept
	index int32
}

// byScore orders by falling score, equal scores by rising index.
func byScore(a, b scored) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.index, b.index))
}

// before tells whether a comes before b in that order.
func before(a, b scored) bool {
	return a.score > b.score || a.score == b.score && a.index < b.index
}

// top keeps the k first, in the order of byScore, of what it is offered: a heap with the last of them at its root. What it
// keeps does not depend on the order of the offers.
type top struct {
	k    int
	heap []scored
}

// offer considers one weight.
func (t *top) offer(score, value float32, index int32) {
	s := scored{score, value, index}
	if len(t.heap) < t.k {
		t.heap = append(t.heap, s)
		if len(t.heap) == t.k {
			for i := t.k/2 - 1; i >= 0; i-- {
				t.down(i)
			}
		}
		return
	}
	if t.k > 0 && before(s, t.heap[0]) {
		t.heap[0] = s
		t.down(0)
	}
}

// floor is the least score that is worth offering.
func (t *top) floor() float32 {
	switch {
	case t.k == 0:
		return float32(math.Inf(1))
	case len(t.heap) < t.k:
		return float32(math.Inf(-1))
	}
	return t.heap[0].score
}

// down lets the entry at i sink below those that come after it in byScore's order.
func (t *top) down(i int) {
	h := t.heap
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && before(h[child], h[child+1]) {
			child++
		}
		if !before(h[i], h[child]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// sorted returns what was kept in the order of byScore, and forgets it.
func (t *top) sorted() []scored {
	s := t.heap
	t.heap = nil
	slices.SortFunc(s, byScore)
	return s
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
func (c *chooser) offer(score, value float32, index int32) {
	if c.mask.Has(int(index)) {
		c.in.offer(score, value, index)
	} else {
		c.outside.offer(score, value, index)
	}
}

// sorted returns the choice in the order of byScore.
func (c *chooser) sorted() []scored {
	all := append(c.in.sorted(), c.outside.sorted()...)
	slices.SortFunc(all, byScore)
	return all[:min(len(all), c.k)]
}

// gradients is a choice of the gradients of largest magnitude, from dense blocks.
type gradients struct {
	*chooser
	cols int
}

func (c *gradients) block(block []float32, from, to int) {
	floor := min(c.in.floor(), c.outside.floor())
	for i, x := range block {
		if score := max(x, -x); score >= floor {
			c.offer(score, x, int32(from*c.cols+i))
			floor = min(c.in.floor(), c.outside.floor())
		}
	}
}

// take returns the choice by rising index.
func (c *gradients) take() (index []int32, value []float32) {
	all := append(c.in.heap, c.outside.heap...) // in no order, which only a choice among them takes
	if len(all) > c.k {
		all = c.sorted()
	}
	slices.SortFunc(all, func(a, b scored) int { return cmp.Compare(a.index, b.index) })
	for _, s := range all {
		index, value = append(index, s.index), append(value, s.value)
	}
	return index, value
}
