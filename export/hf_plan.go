package export

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/engine"
)

// hfModules are the linear modules of a layer in forward order: attention, then MLP.
var hfModules = [2][]string{
	{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"},
	{"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
}

// hfSubBlocks are the names of the two parts of a layer.
var hfSubBlocks = [2]string{"self_attn", "mlp"}

// hfFused are the modules that vLLM puts into one.
var hfFused = [][]string{
	{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
	{"mlp.gate_proj", "mlp.up_proj"},
}

// The units outside the layers.
const (
	unitEmbedding = "model.embed_tokens"
	unitHead      = "lm_head"
)

// hfLayer is a layer that is left.
type hfLayer struct {
	from, to int     // its number in the source and in the folder
	dropped  [2]bool // attention, MLP
	modules  map[string]*hfModule
}

// hfModule is a linear module of a layer that is left.
type hfModule struct {
	unit   string         // in the source
	name   string         // in the folder
	shape  [2]int         // rows, columns
	levels engine.Weights // nil: zeros
	level  string         // name of the level; empty: as the checkpoint has it
	scheme int            // 1 + index into hfExport.schemes; 0: not compressed
}

// plan finds what is left of each layer.
func (e *hfExport) plan() error {
	known := map[string]bool{unitEmbedding: true, unitHead: true}
	for i := range e.config.Layers {
		for sub, modules := range hfModules {
			known[hfUnit(i, hfSubBlocks[sub])] = true
			for _, m := range modules {
				known[hfUnit(i, m)] = true
			}
		}
	}
	for _, unit := range slices.Sorted(maps.Keys(e.cand)) {
		if !known[unit] {
			return fmt.Errorf("the model has no unit %q", unit)
		}
	}
	for i := range e.config.Layers {
		l := hfLayer{from: i, to: len(e.layers), modules: map[string]*hfModule{}}
		for sub := range hfModules {
			if err := e.planSubBlock(&l, sub); err != nil {
				return err
			}
		}
		if l.dropped[0] && l.dropped[1] {
			continue
		}
		for sub, name := range hfSubBlocks {
			if l.dropped[sub] {
				e.note("%s is dropped and its output projection written as zeros, which is exact and saves nothing: a GGUF file saves it", hfUnit(i, name))
			}
		}
		e.layers = append(e.layers, l)
	}
	if len(e.layers) == 0 {
		return fmt.Errorf("every layer is dropped: nothing loads a model of none")
	}
	if gone := e.config.Layers - len(e.layers); gone > 0 {
		e.note("%d of %d layers are taken out and the others renumbered", gone, e.config.Layers)
	}
	if e.config.TieEmbeddings {
		head, own := e.cand[unitHead]
		e.untied = own && head.Name != e.cand[unitEmbedding].Name
		if e.untied {
			e.note("the head has a level of its own: it is written beside the embedding, which it was tied to")
		}
	}
	for _, unit := range []string{unitEmbedding, unitHead} {
		level, ok := e.cand[unit]
		if !ok {
			continue
		}
		if level.Weights == nil {
			return fmt.Errorf("level %s of %s: only layers can be dropped", level.Name, unit)
		}
		if rows, cols := level.Weights.Shape(); rows != e.config.Vocab || cols != e.config.Hidden {
			return fmt.Errorf("level %s of %s is %d x %d, want %d x %d", level.Name, unit, rows, cols, e.config.Vocab, e.config.Hidden)
		}
	}
	return e.widths()
}

// planSubBlock takes a candidate's levels of an attention or MLP.
func (e *hfExport) planSubBlock(l *hfLayer, sub int) error {
	block := hfUnit(l.from, hfSubBlocks[sub])
	if level, ok := e.cand[block]; ok {
		if level.Weights != nil {
			return fmt.Errorf("level %s of %s has weights; a sub-block can only be dropped", level.Name, block)
		}
		l.dropped[sub] = true
	}
	silent := map[string]bool{}
	for _, role := range hfModules[sub] {
		unit := hfUnit(l.from, role)
		m := &hfModule{unit: unit, name: hfUnit(l.to, role)}
		dense, err := engine.Dense(e.ck, unit)
		if err != nil || !e.config.Has(l.from, sub) { // what its file may hold stands for nothing
			l.dropped[sub] = true
		} else {
			m.levels = dense
		}
		if level, ok := e.cand[unit]; ok && err == nil && levelName(level.Name) != "dense" {
			m.level, m.levels = level.Name, level.Weights
			silent[role] = level.Weights == nil && !e.hasBias(role)
		}
		l.modules[role] = m
	}
	if sub == 0 {
		l.dropped[0] = l.dropped[0] || silent["self_attn.o_proj"] || silent["self_attn.v_proj"] && !e.config.OutBias
	} else {
		l.dropped[1] = l.dropped[1] || silent["mlp.gate_proj"] || silent["mlp.up_proj"] || silent["mlp.down_proj"]
	}
	if l.dropped[sub] { // its levels do not matter: what the checkpoint has, and zeros at the end
		for _, role := range hfModules[sub] {
			m := l.modules[role]
			m.level, m.levels = "", nil
			if dense, err := engine.Dense(e.ck, m.unit); err == nil && e.config.Has(l.from, sub) && !strings.HasSuffix(role, ".o_proj") && !strings.HasSuffix(role, ".down_proj") {
				m.levels = dense
			}
		}
	}
	return nil
}

// hasBias reports whether a module adds a bias.
func (e *hfExport) hasBias(role string) bool {
	switch {
	case strings.HasSuffix(role, ".o_proj"):
		return e.config.OutBias
	case strings.HasPrefix(role, "self_attn."):
		return e.config.QKVBias
	}
	return false
}

// moduleShape is the shape that the configuration of the folder asks for.
func (e *hfExport) moduleShape(role string) [2]int {
	c := e.config
	switch role {
	case "self_attn.q_proj":
		return [2]int{c.Heads * c.HeadDim, c.Hidden}
	case "self_attn.o_proj":
		return [2]int{c.Hidden, c.Heads * c.HeadDim}
	case "mlp.gate_proj", "mlp.up_proj":
		return [2]int{e.ffn, c.Hidden}
	case "mlp.down_proj":
		return [2]int{c.Hidden, e.ffn}
	}
	return [2]int{c.KVHeads * c.HeadDim, c.Hidden}
}

// widths finds the width of the MLPs, which is one for all layers in every class of transformers, and
// refuses levels of other shapes.
func (e *hfExport) widths() error {
	for _, l := range e.layers {
		if l.dropped[1] {
			continue
		}
		width := e.config.FFN
		if w := l.modules["mlp.gate_proj"].levels; w != nil {
			width, _ = w.Shape()
		}
		if e.ffn == 0 {
			e.ffn = width
		}
		if width != e.ffn {
			return fmt.Errorf("the MLP of layer %d is %d wide and that of another %d: no class of transformers or vLLM has widths by layer; a GGUF file has (--format gguf)", l.from, width, e.ffn)
		}
	}
	if e.ffn == 0 {
		e.ffn = e.config.FFN
	}
	for _, l := range e.layers {
		for sub, roles := range hfModules {
			for _, role := range roles {
				m := l.modules[role]
				m.shape = e.moduleShape(role)
				if m.levels == nil {
					continue
				}
				rows, cols := m.levels.Shape()
				switch {
				case m.shape == [2]int{rows, cols}:
				case l.dropped[sub]:
					m.levels = nil
				default:
					return fmt.Errorf("%s is %d x %d and level %s of it %d x %d: transformers has one width for all layers; a GGUF file can differ (--format gguf)",
						m.unit, m.shape[0], m.shape[1], m.level, rows, cols)
				}
			}
		}
	}
	return nil
}

// hfUnit is the name of a part of a layer.
func hfUnit(layer int, part string) string { return fmt.Sprintf("model.layers.%d.%s", layer, part) }
