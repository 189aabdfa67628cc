package engine

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// Level is one way to store a unit of the model: a linear module
// ("model.layers.0.mlp.up_proj") or a sub-block ("model.layers.0.mlp").
type Level struct {
	// Name tells levels of a unit apart: those with equal names have equal weights,
	// for as long as the model is loaded.
	Name string
	// Weights of a linear module. nil drops the unit: its output is 0, so that the
	// residual stream passes a sub-block unchanged. A sub-block can only be dropped.
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

// plan is a candidate in forward order: its sub-blocks, attention and MLP of each
// layer in turn.
type plan []step

// step is a sub-block of a plan.
type step struct {
	dropped bool
	choices []choice // of its modules
	// path names this sub-block and all before it. Plans whose paths agree at some
	// step compute the same up to there.
	path [sha256.Size]byte
}

// plan lays a candidate out. It fails on a unit that the model does not have and on
// weights of another shape.
func (m *Model) plan(c Candidate) (plan, error) {
	units := 0
	take := func(unit string) (Level, bool) {
		l, ok := c[unit]
		if ok {
			units++
		}
		return l, ok
	}
	p := make(plan, 0, 2*len(m.layers))
	var path [sha256.Size]byte
	for i := range m.layers {
		for sub, span := range [][2]int{{roleQ, roleGate}, {roleGate, roles}} {
			name := subBlock(i, sub)
			var s step
			if !m.config.Has(i, sub) {
				span[1] = span[0]
				s.dropped = true
			} else if l, ok := take(name); ok {
				if l.Weights != nil {
					return nil, fmt.Errorf("engine: level %s of %s has weights; a sub-block can only be dropped", l.Name, name)
				}
				s.dropped = true
			}
			about := []string{string(path[:]), name}
			for _, module := range m.layers[i].modules[span[0]:span[1]] {
				ch := choice{key: module.name, name: module.name, weights: module.dense}
				if l, ok := take(module.name); ok {
					ch.key, ch.weights = module.name+" "+l.Name, l.Weights
					if err := module.fits(l); err != nil {
						return nil, err
					}
				}
				s.choices = append(s.choices, ch)
				about = append(about, ch.key)
			}
			if s.dropped = s.dropped || m.silent(i, sub, s.choices); s.dropped { // what its modules are cannot matter
				about = append(about[:2], "dropped")
			}
			path = sha256.Sum256([]byte(strings.Join(about, "\n")))
			s.path = path
			p = append(p, s)
		}
	}
	if units < len(c) {
		return nil, m.unknownUnit(c)
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

// fits returns an error unless a level's weights have the shape of the module.
func (l *linear) fits(level Level) error {
	if level.Weights == nil {
		return nil
	}
	if rows, cols := level.Weights.Shape(); rows != l.rows || cols != l.cols {
		return fmt.Errorf("engine: %s is %dx%d; the weights for it are %dx%d", l.name, l.rows, l.cols, rows, cols)
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
