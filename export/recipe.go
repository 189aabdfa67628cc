package export

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/paretopress/paretopress/engine"
)

// recipeLevel is a level as llm-compressor's modifiers know it.
type recipeLevel struct {
	modifier string // GPTQModifier, QuantizationModifier or SparseGPTModifier
	weights  weightsJSON
	sparsity string // of SparseGPT
	mask     string
}

// Recipe writes the levels of a candidate as a recipe of llm-compressor, which makes them anew from the
// dense model and its own calibration text: gptq, rtn, int8 and fp8 as config groups of a GPTQModifier and
// a QuantizationModifier, each sparsegpt level as a stage of its own. Modules that are dense are ignored.
//
// What llm-compressor has no modifier for is refused: drops, widths, other methods, levels of the
// embedding or the head, and groups that do not divide a row.
//
// https://github.com/vllm-project/llm-compressor
func Recipe(c engine.Config, cand engine.Candidate) ([]byte, error) {
	used := map[string][]string{} // level → units
	levels := map[string]recipeLevel{}
	for _, unit := range slices.Sorted(maps.Keys(cand)) {
		name := levelName(cand[unit].Name)
		if name == "dense" {
			continue
		}
		l, err := parseRecipeLevel(name)
		if err != nil {
			return nil, fmt.Errorf("export: level %s of %s: %w", name, unit, err)
		}
		if unit == unitEmbedding || unit == unitHead {
			return nil, fmt.Errorf("export: level %s of %s: a recipe is for the linear modules of layers", name, unit)
		}
		if w := cand[unit].Weights; w != nil && l.weights.Group != nil {
			if _, cols := w.Shape(); cols%*l.weights.Group != 0 {
				return nil, fmt.Errorf("export: level %s of %s: groups of %d do not divide its %d columns, which llm-compressor demands", name, unit, *l.weights.Group, cols)
			}
		}
		levels[name] = l
		used[name] = append(used[name], unit)
	}
	targets := func(in func(unit string) bool) []string {
		return moduleTargets(c.Layers, func(layer int, role string) bool { return in(hfUnit(layer, role)) })
	}
	ignore := targets(func(unit string) bool {
		return !slices.ContainsFunc(slices.Collect(maps.Values(used)), func(units []string) bool { return slices.Contains(units, unit) })
	})
	var b bytes.Buffer
	names := slices.Sorted(maps.Keys(levels))
	sparse := 0
	for _, name := range names {
		if l := levels[name]; l.sparsity != "" {
			sparse++
			fmt.Fprintf(&b, "sparse_%d_stage:\n  sparse_modifiers:\n    SparseGPTModifier:\n      sparsity: %s\n      mask_structure: '%s'\n      block_size: 128\n      dampening_frac: 0.01\n", sparse, l.sparsity, l.mask)
			list(&b, "      ", "targets", targets(func(unit string) bool { return slices.Contains(used[name], unit) }))
		}
	}
	for _, modifier := range []string{"GPTQModifier", "QuantizationModifier"} {
		group := 0
		for _, name := range names {
			l := levels[name]
			if l.modifier != modifier {
				continue
			}
			if group == 0 {
				stage := strings.ToLower(strings.TrimSuffix(modifier, "Modifier"))
				fmt.Fprintf(&b, "%s_stage:\n  %s_modifiers:\n    %s:\n", stage, stage, modifier)
				if modifier == "GPTQModifier" {
					b.WriteString("      block_size: 128\n      dampening_frac: 0.01\n      actorder: null\n")
				}
				list(&b, "      ", "ignore", append(slices.Clone(ignore), "lm_head"))
				b.WriteString("      config_groups:\n")
			}
			fmt.Fprintf(&b, "        group_%d:\n", group)
			list(&b, "          ", "targets", targets(func(unit string) bool { return slices.Contains(used[name], unit) }))
			size := "null"
			if l.weights.Group != nil {
				size = strconv.Itoa(*l.weights.Group)
			}
			fmt.Fprintf(&b, "          weights: {num_bits: %d, type: %s, symmetric: %t, strategy: %s, group_size: %s, dynamic: false}\n",
				l.weights.Bits, l.weights.Type, l.weights.Symmetric, l.weights.Strategy, size)
			group++
		}
	}
	if b.Len() == 0 {
		return nil, fmt.Errorf("export: every level is dense: there is nothing for a recipe to do")
	}
	return b.Bytes(), nil
}

// list writes a list of strings, which have no single quote.
func list(b *bytes.Buffer, indent, key string, values []string) {
	fmt.Fprintf(b, "%s%s:\n", indent, key)
	for _, v := range values {
		fmt.Fprintf(b, "%s  - '%s'\n", indent, v)
	}
}

// parseRecipeLevel reads a level name: gptq-3b-g64, rtn-8b-gall-sym, int8, fp8, sparsegpt-0.50 or
// sparsegpt-2:4.
func parseRecipeLevel(name string) (recipeLevel, error) {
	method, rest, _ := strings.Cut(name, "-")
	w := weightsJSON{Bits: 8, Type: "int", Symmetric: true, Strategy: "channel"}
	switch {
	case name == "int8":
		return recipeLevel{modifier: "QuantizationModifier", weights: w}, nil
	case name == "fp8":
		w.Type = "float"
		return recipeLevel{modifier: "QuantizationModifier", weights: w}, nil
	case method == "sparsegpt" && strings.Contains(rest, ":"):
		keep, of, _ := strings.Cut(rest, ":")
		n, err1 := strconv.Atoi(keep)
		m, err2 := strconv.Atoi(of)
		if err1 == nil && err2 == nil && n > 0 && n < m {
			return recipeLevel{modifier: "SparseGPTModifier", sparsity: strconv.FormatFloat(1-float64(n)/float64(m), 'g', -1, 64), mask: rest}, nil
		}
	case method == "sparsegpt":
		if s, err := strconv.ParseFloat(rest, 64); err == nil && s >= 0 && s <= 1 {
			return recipeLevel{modifier: "SparseGPTModifier", sparsity: rest, mask: "0:0"}, nil
		}
	case method == "gptq" || method == "rtn":
		var ok bool
		if w, ok = parseRecipeWeights(rest); ok {
			return recipeLevel{modifier: map[string]string{"gptq": "GPTQModifier", "rtn": "QuantizationModifier"}[method], weights: w}, nil
		}
	}
	return recipeLevel{}, fmt.Errorf("llm-compressor has no modifier for it (it has for gptq, rtn, int8, fp8 and sparsegpt)")
}

// parseRecipeWeights reads what follows the method in a level of integers: 3b-g64, 8b-gall-sym.
func parseRecipeWeights(s string) (w weightsJSON, ok bool) {
	rest, symmetric := strings.CutSuffix(s, "-sym")
	bits, group, _ := strings.Cut(rest, "b-g")
	w = weightsJSON{Type: "int", Symmetric: symmetric, Strategy: "channel"}
	var err1, err2 error
	w.Bits, err1 = strconv.Atoi(bits)
	if group != "all" {
		n, err := strconv.Atoi(group)
		w.Strategy, w.Group, err2 = "group", &n, err
	}
	return w, err1 == nil && err2 == nil && w.Bits >= 2 && w.Bits <= 8 && (w.Group == nil || *w.Group > 0)
}
