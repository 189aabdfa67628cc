package engine

// activations are what the forward pass of a sub-block keeps for the backward pass, which computes them a second time otherwise: gate and up of
// an MLP, or queries, keys and values before norm and rotation.
type activations []activation

// keep returns the memory for the activations of a step, matrices of so many columns; nil where they do not fit into what is left of
// [Options].Cache.
func (g *backward) keep(step int, cols ...int) activations {
	kept := g.activations[step]
	if kept == nil {
		kept = make(activations, len(cols))
	}
	var size int64
	for i, c := range cols {
		size += 4 * int64(max(g.b.rows*pad(c), cap(kept[i].data)))
	}
	if size > g.room {
		g.activations[step] = nil
		return nil
	}
	g.room -= size
	for i, c := range cols {
		kept[i].reset(g.b.rows, c)
	}
	g.activations[step] = kept
	return kept
}

// yieldStates has the hidden states that candidates share make room for activations.
func (m *Model) yieldStates() {
	m.states.clear()
	clear(m.free)
}

// yieldActivations has activations make room for hidden states.
func (m *Model) yieldActivations() {
	if m.back != nil {
		clear(m.back.activations)
	}
}
