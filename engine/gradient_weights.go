package engine

// pair is a weight matrix as panels of itself, for the forward pass, and of its transpose, for the backward pass; nil where the
// module is dropped.
type pair struct {
	w, t       *panels
	ownW, ownT *panels // memory of w and t
}

// decode decodes the weights of a choice in the memory of a pair, as they are at the moment.
func (g *backward) decode(p *pair, c choice, forward, transposed bool) (*pair, error) {
	p.w, p.t = nil, nil
	if c.weights == nil {
		return p, nil
	}
	rows, cols := c.weights.Shape()
	if forward {
		p.ownW = g.m.reshape(p.ownW, rows, cols)
		p.w = p.ownW
	}
	if transposed {
		p.ownT = g.m.reshape(p.ownT, cols, rows)
		p.t = p.ownT
	}
	return p, g.m.decode(p.w, p.t, c.name, c.weights)
}

// reshape makes the memory of panels that of a matrix of some shape, which it does not fill.
func (m *Model) reshape(p *panels, rows, cols int) *panels {
	if p == nil {
		p = m.newPanels(0, 0)
	}
	if m.numerics == Exact {
		p.f32.Rows, p.f32.Cols = rows, cols
		p.f32.Data = grow(p.f32.Data, ceil(rows, panelRows)*cols)
	} else {
		p.bf16.Rows, p.bf16.Cols = rows, cols
		p.bf16.Data = grow(p.bf16.Data, ceil(rows, panelRows)*p.bf16.Depth())
	}
	return p
}
