package export

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/paretopress/paretopress/engine"
)

// EvoPressLevels writes a candidate as EvoPress's configuration files of levels: a line "module: number"
// for each linear module, in forward order. number gives the number of a level of a module in the
// database that the file is for; a module without a level is "dense". It fails on what such a file cannot
// say: a sub-block that is dropped, a level of the embedding or the head, and one that has no number.
//
// Sieberling et al., EvoPress, arXiv 2410.14649.
func EvoPressLevels(c engine.Config, cand engine.Candidate, number func(unit, level string) (n int, ok bool)) ([]byte, error) {
	left := maps.Clone(cand)
	var b bytes.Buffer
	for _, m := range c.Modules() {
		name := "dense"
		if level, ok := cand[m.Name]; ok {
			name = levelName(level.Name)
			delete(left, m.Name)
		}
		n, ok := number(m.Name, name)
		if !ok {
			return nil, fmt.Errorf("export: level %s of %s has no number in EvoPress's database", name, m.Name)
		}
		fmt.Fprintf(&b, "%s: %d\n", m.Name, n)
	}
	for _, unit := range slices.Sorted(maps.Keys(left)) {
		return nil, fmt.Errorf("export: level %s of %s: a file of EvoPress's levels has linear modules alone", levelName(left[unit].Name), unit)
	}
	return b.Bytes(), nil
}

// EvoPressDrops writes a candidate of dropped sub-blocks as EvoPress's configuration of drops: a line
// "none", "attn", "mlp" or "attn+mlp" for each layer. It fails on every other level.
func EvoPressDrops(c engine.Config, cand engine.Candidate) ([]byte, error) {
	left := maps.Clone(cand)
	dropped := func(layer int, sub string) bool {
		level, ok := cand[hfUnit(layer, sub)]
		delete(left, hfUnit(layer, sub))
		return ok && level.Weights == nil
	}
	var b bytes.Buffer
	for i := range c.Layers {
		attention, mlp := dropped(i, "self_attn"), dropped(i, "mlp")
		switch {
		case attention && mlp:
			b.WriteString("attn+mlp\n")
		case attention:
			b.WriteString("attn\n")
		case mlp:
			b.WriteString("mlp\n")
		default:
			b.WriteString("none\n")
		}
	}
	for _, unit := range slices.Sorted(maps.Keys(left)) {
		if name := levelName(left[unit].Name); name != "dense" {
			return nil, fmt.Errorf("export: level %s of %s: a file of EvoPress's drops has whole sub-blocks alone", name, unit)
		}
	}
	return b.Bytes(), nil
}
