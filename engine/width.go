package engine

import (
	"fmt"
	"slices"
)

// Width is the size of one block's sub-blocks.
type Width struct {
	Heads   int // query heads
	KVHeads int // key and value heads; divides Heads
	FFN     int // channels of the MLP
}

// Width is that of a block. Of a sub-block that the block does not have it says nothing.
func (c Config) Width(block int) Width {
	if c.Widths != nil {
		return c.Widths[block]
	}
	return Width{c.Heads, c.KVHeads, c.FFN}
}

// SetWidths gives each block its width. Heads, KVHeads and FFN become the largest of sub-blocks that are there, and Widths nil
// where these are all alike.
func (c *Config) SetWidths(widths []Width) {
	var most Width
	for b, w := range widths {
		if c.Has(b, 0) {
			most.Heads, most.KVHeads = max(most.Heads, w.Heads), max(most.KVHeads, w.KVHeads)
		}
		if c.Has(b, 1) {
			most.FFN = max(most.FFN, w.FFN)
		}
	}
	if most.Heads > 0 {
		c.Heads, c.KVHeads = most.Heads, most.KVHeads
	}
	if most.FFN > 0 {
		c.FFN = most.FFN
	}
	c.Widths = slices.Clone(widths)
	for b := range c.Widths { // two configurations of one model are equal whatever was said of what is not there
		w := &c.Widths[b]
		if !c.Has(b, 0) {
			w.Heads, w.KVHeads = c.Heads, c.KVHeads
		}
		if !c.Has(b, 1) {
			w.FFN = c.FFN
		}
	}
	if !slices.ContainsFunc(c.Widths, func(w Width) bool { return w != Width{c.Heads, c.KVHeads, c.FFN} }) {
		c.Widths = nil
	}
}

// checkWidths reports the first block whose width no model can have.
func (c Config) checkWidths() error {
	if c.Widths == nil {
		if c.Heads%c.KVHeads != 0 {
			return malformed("%d attention heads are no multiple of %d key-value heads", c.Heads, c.KVHeads)
		}
		return nil
	}
	if len(c.Widths) != c.Layers {
		return malformed("%d widths for %d layers", len(c.Widths), c.Layers)
	}
	for b, w := range c.Widths {
		switch {
		case w.Heads < 1 || w.Heads > c.Heads || w.KVHeads < 1 || w.KVHeads > c.KVHeads:
			return malformed("%d attention heads with %d key-value heads in layer %d, want 1 to %d with 1 to %d", w.Heads, w.KVHeads, b, c.Heads, c.KVHeads)
		case w.FFN < 1 || w.FFN > c.FFN:
			return malformed("feed-forward size is %d in layer %d, want 1 to %d", w.FFN, b, c.FFN)
		case c.Has(b, 0) && w.Heads%w.KVHeads != 0:
			return malformed("%d attention heads are no multiple of %d key-value heads in layer %d", w.Heads, w.KVHeads, b)
		}
	}
	return nil
}

// Narrowed is the configuration of the model with a candidate's widths. Weights of fewer rows or columns than the model has make
// an MLP of fewer channels, gate, up and down alike, or attention of fewer heads: q and o of some, k and v of a divisor of these.
// Which channels or heads they are makes no difference to what is computed.
//
// Errors name the modules whose weights do not go together. Modules of a sub-block that is dropped need not.
func (c Config) Narrowed(cand Candidate) (Config, error) {
	widths := make([]Width, c.Layers)
	for b := range widths {
		widths[b] = c.Width(b)
	}
	for modules := c.Modules(); len(modules) > 0; {
		n := 3
		if modules[0].Role == "q_proj" {
			n = 4
		}
		if err := c.narrow(&widths[modules[0].Block], modules[:n], cand); err != nil {
			return Config{}, err
		}
		modules = modules[n:]
	}
	c.SetWidths(widths)
	return c, nil
}

// narrow is the part of Narrowed for the modules of one sub-block.
func (c Config) narrow(w *Width, modules []Module, cand Candidate) error {
	sub, step, what := 1, 1, "channels"
	if len(modules) == 4 {
		sub, step, what = 0, c.HeadDim, "heads"
	}
	unit := subBlock(modules[0].Block, sub)
	_, dropped := cand[unit]
	var of [2]struct { // q and o, or the MLP; k and v
		module string
		n      int
	}
	for _, m := range modules {
		rows, cols := m.Rows, m.Cols
		if l, ok := cand[m.Name]; ok {
			if l.Weights == nil {
				continue
			}
			rows, cols = l.Weights.Shape()
		}
		n, most, rest := rows, m.Rows, cols == m.Cols
		if m.Role == "o_proj" || m.Role == "down_proj" {
			n, most, rest = cols, m.Cols, rows == m.Rows
		}
		if !rest || n < 1 || n > most || n%step != 0 {
			return fmt.Errorf("engine: %s is %dx%d; the weights for it are %dx%d", m.Name, m.Rows, m.Cols, rows, cols)
		}
		if n < most && c.QKVBias && sub == 0 && m.Role != "o_proj" {
			return fmt.Errorf("engine: the weights for %s have %d heads and its bias %d: which of these stay is not known", m.Name, n/step, most/step)
		}
		kind := 0
		if m.Role == "k_proj" || m.Role == "v_proj" {
			kind = 1
		}
		switch first := of[kind]; {
		case first.module == "":
			of[kind].module, of[kind].n = m.Name, n/step
		case first.n != n/step && !dropped:
			return fmt.Errorf("engine: %s has %d %s and %s %d: the modules of %s must have as many", first.module, first.n, what, m.Name, n/step, unit)
		}
	}
	switch {
	case dropped:
	case sub == 1 && of[0].n > 0:
		w.FFN = of[0].n
	case sub == 0:
		if of[0].n > 0 {
			w.Heads = of[0].n
		}
		if of[1].n > 0 {
			w.KVHeads = of[1].n
		}
		if w.Heads%w.KVHeads != 0 {
			return fmt.Errorf("engine: %s has %d query heads, which are no multiple of its %d key and value heads", unit, w.Heads, w.KVHeads)
		}
	}
	return nil
}
