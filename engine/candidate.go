package engine

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// Level is one way to store a unit of the model: a linear module
// ("model.layers.0.mlp.up_proj"), a sub-block ("model.layers.0.mlp"), the embeddings
// ("model.embed_tokens", which are the head as well where the two are tied) or a head
// of its own ("lm_head").
type Level struct {
	// Name tells levels of a unit apart: those with equal names have equal weights,
	// for as long as the model is loaded.
	Name string
	// Weights of a module. nil drops the unit: its output is 0, so that the residual
	// stream passes a sub-block unchanged. A sub-block can only be dropped, embeddings
	// and head cannot. Those of all modules of a sub-block may be of fewer channels or heads
	// than the model has: see Config.Narrowed.
	Weights Weights
}

// Candidate maps units to their levels. A unit that is not named is as the
// checkpoint has it; nil is the dense model.
type Candidate map[string]Level

// The modules of a layer, in forward order.
const (
	roleQ = iota
	roleK
	roleV
	roleO
	roleGate
	roleUp
	roleDown
	roles
)

var roleNames = [roles]string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// Names of the units that are not in a layer.
const (
	unitEmbedding = "model.embed_tokens"
	unitHead      = "lm_head"
)

// plan is a candidate in forward order.
type plan struct {
	embedding choice
	root      [sha256.Size]byte // names the embeddings
	steps     []step            // its sub-blocks, attention and MLP of each layer in turn
	head      choice
}

// step is a sub-block of a plan.
type step struct {
	dropped bool
	choices []choice // of its modules
	width   Width    // of the layer
	// path names this sub-block and all before it. Plans whose paths agree at some
	// step compute the same up to there.
	path [sha256.Size]byte
}

// plan lays a candidate out. It fails on a unit that the model does not have and on
// weights of another shape that is not one of a narrower sub-block: see Config.Narrowed.
func (m *Model) plan(c Candidate) (plan, error) {
	shape, err := m.config.Narrowed(c)
	if err != nil {
		return plan{}, err
	}
	units := 0
	take := func(unit string) (Level, bool) {
		l, ok := c[unit]
		if ok {
			units++
		}
		return l, ok
	}
	p := plan{embedding: m.embedding, head: m.head, steps: make([]step, 0, 2*len(m.layers))}
	if l, ok := take(unitEmbedding); ok {
		if err := replace(&p.embedding, l); err != nil {
			return plan{}, err
		}
		if m.config.TieEmbeddings {
			p.head.key, p.head.weights = headKey+" "+l.Name, l.Weights
		}
	}
	if !m.config.TieEmbeddings {
		if l, ok := take(unitHead); ok {
			if err := replace(&p.head, l); err != nil {
				return plan{}, err
			}
		}
	}
	p.root = sha256.Sum256([]byte(p.embedding.key))
	path := p.root
	for i := range m.layers {
		for sub, span := range [][2]int{{roleQ, roleGate}, {roleGate, roles}} {
			name := subBlock(i, sub)
			s := step{width: shape.Width(i)}
			if !m.config.Has(i, sub) {
				span[1] = span[0]
				s.dropped = true
			} else if l, ok := take(name); ok {
				if l.Weights != nil {
					return plan{}, fmt.Errorf("engine: level %s of %s has weights; a sub-block can only be dropped", l.Name, name)
				}
				s.dropped = true
			}
			about := []string{string(path[:]), name}
			for _, module := range m.layers[i].modules[span[0]:span[1]] {
				ch := choice{key: module.name, name: module.name, weights: module.dense}
				if l, ok := take(module.name); ok {
					ch.key, ch.weights = module.name+" "+l.Name, l.Weights
				}
				s.choices = append(s.choices, ch)
				about = append(about, ch.key)
			}
			if s.dropped = s.dropped || m.silent(i, sub, s.choices); s.dropped { // what its modules are cannot matter
				about = append(about[:2], "dropped")
			}
			path = sha256.Sum256([]byte(strings.Join(about, "\n")))
			s.path = path
			p.steps = append(p.steps, s)
		}
	}
	if units < len(c) {
		return plan{}, m.unknownUnit(c)
	}
	return p, nil
}

// subBlock is the name of a layer's attention (0) or MLP (1).
func subBlock(layer, sub int) string {
	return fmt.Sprintf("model.layers.%d.%s", layer, [...]string{"self_attn", "mlp"}[sub])
}

// silent reports whether the output of a sub-block is 0 because a module of it is
// dropped through which all must pass.
func (m *Model) silent(layer, sub int, choices []choice) bool {
	modules := m.layers[layer].modules[sub*roleGate:]
	dropped := func(i int) bool { return choices[i].weights == nil && modules[i].bias == nil }
	if sub == 1 {
		return dropped(0) || dropped(1) || dropped(2)
	}
	return dropped(roleO) || dropped(roleV) && modules[roleO].bias == nil
}

// replace puts a level in the place of the embeddings or the head.
func replace(c *choice, l Level) error {
	if l.Weights == nil {
		return fmt.Errorf("engine: %s cannot be dropped", c.name)
	}
	rows, cols := c.weights.Shape()
	if err := fits(c.name, rows, cols, l); err != nil {
		return err
	}
	c.key, c.weights = c.name+" "+l.Name, l.Weights
	return nil
}

// fits returns an error unless a level's weights have the shape of the unit.
func fits(name string, wantRows, wantCols int, level Level) error {
	if level.Weights == nil {
		return nil
	}
	if rows, cols := level.Weights.Shape(); rows != wantRows || cols != wantCols {
		return fmt.Errorf("engine: %s is %dx%d; the weights for it are %dx%d", name, wantRows, wantCols, rows, cols)
	}
	return nil
}

// unknownUnit is the error for the first unit of a candidate that the model lacks.
func (m *Model) unknownUnit(c Candidate) error {
	var unknown []string
	for unit := range c {
		if !m.units[unit] {
			unknown = append(unknown, unit)
		}
	}
	return fmt.Errorf("engine: the model has no linear module or sub-block %q", slices.Min(unknown))
}
