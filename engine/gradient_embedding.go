package engine

import (
	"cmp"
	"slices"

	"github.com/paretopress/paretopress/internal/kernel"
)

// embeddingBackward is the gradient of the embeddings: those of the residual stream at the positions of a word, in their order, after the
// head's where the two are tied.
type embeddingBackward struct {
	head  *headBackward // nil unless tied
	dx    *operand
	order []use
}

// use is a position of the batch and its token.
type use struct{ id, row int32 }

// emit hands the gradient, of which g.dy has come down to the embeddings, to the sink.
func (e *embeddingBackward) emit(g *backward) error {
	c := g.m.config
	e.dx, e.head = &g.dy, nil
	if c.TieEmbeddings {
		e.head = &g.head
	}
	e.order = e.order[:0]
	for _, w := range g.b.windows {
		for _, id := range w {
			e.order = append(e.order, use{id, int32(len(e.order))})
		}
	}
	slices.SortStableFunc(e.order, func(a, b use) int { return cmp.Compare(a.id, b.id) })
	return g.emit(unitEmbedding, g.b.rows, c.Vocab, c.Hidden, e)
}

// of returns the uses of words from … to-1.
func (e *embeddingBackward) of(from, to int) []use {
	first := func(id int) int {
		i, _ := slices.BinarySearchFunc(e.order, int32(id), func(u use, id int32) int { return cmp.Compare(u.id, id) })
		return i
	}
	return e.order[first(from):first(to)]
}

func (e *embeddingBackward) dense(m *Model, dst []float32, from, to int) {
	if e.head != nil {
		e.head.dense(m, dst, from, to)
	} else {
		clear(dst)
	}
	for _, u := range e.of(from, to) {
		kernel.Add(dst[(int(u.id)-from)*e.dx.cols:][:e.dx.cols], e.dx.row(int(u.row)))
	}
}

func (e *embeddingBackward) sampled(m *Model, dst []float32, indices []int32) {
	if e.head != nil {
		e.head.sampled(m, dst, indices)
	} else {
		clear(dst)
	}
	cols := int32(e.dx.cols)
	for j := 0; j < len(indices); {
		id := indices[j] / cols
		uses := e.of(int(id), int(id)+1)
		for ; j < len(indices) && indices[j]/cols == id; j++ {
			for _, u := range uses {
				dst[j] += e.dx.row(int(u.row))[indices[j]%cols]
			}
		}
	}
}
