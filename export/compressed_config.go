package export

import (
	"fmt"
	"strconv"
	"strings"
)

// weightsJSON is how the numbers of a group are stored; a null counts.
type weightsJSON struct {
	Bits      int    `json:"num_bits"`
	Type      string `json:"type"`
	Symmetric bool   `json:"symmetric"`
	Strategy  string `json:"strategy"`
	Group     *int   `json:"group_size"`
	Dynamic   bool   `json:"dynamic"`
}

// groupJSON is an entry of config_groups.
type groupJSON struct {
	Targets []string     `json:"targets"`
	Format  string       `json:"format"`
	Weights weightsJSON  `json:"weights"`
	Inputs  *weightsJSON `json:"input_activations"`
	Outputs *weightsJSON `json:"output_activations"`
}

// quantizationConfig is the quantization_config of config.json; nil where nothing is compressed.
func (e *hfExport) quantizationConfig() any {
	if len(e.schemes) == 0 {
		return nil
	}
	groups := object{}
	for i, s := range e.schemes {
		groups.set(fmt.Sprintf("group_%d", i), s.entry(e.targets(i+1)))
	}
	ignore := e.targets(0)
	if len(e.schemes) == 1 && len(ignore) == 0 {
		groups = object{}
		groups.set("group_0", e.schemes[0].entry([]string{"Linear"}))
	}
	q := object{}
	q.set("quant_method", "compressed-tensors")
	q.set("format", e.result.Format)
	q.set("quantization_status", "compressed")
	q.set("config_groups", groups)
	q.set("ignore", append(ignore, "lm_head"))
	q.set("kv_cache_scheme", nil)
	q.set("global_compression_ratio", nil)
	return q
}

// entry is the entry of a scheme.
func (s scheme) entry(targets []string) groupJSON {
	g := groupJSON{Targets: targets, Format: s.format, Weights: weightsJSON{Bits: s.bits, Type: "int", Symmetric: s.symmetric, Strategy: "channel"}}
	if s.format == formatFloat {
		g.Weights.Type = "float"
	}
	if s.group > 0 {
		g.Weights.Strategy, g.Weights.Group = "group", &s.group
	}
	if s.activations {
		g.Inputs = &weightsJSON{Bits: 8, Type: g.Weights.Type, Symmetric: true, Strategy: "token", Dynamic: true}
	}
	return g
}

// targets are expressions for the modules of a scheme (0: those that are dense), by their numbers in the
// folder.
func (e *hfExport) targets(scheme int) []string {
	return moduleTargets(len(e.layers), func(layer int, role string) bool { return e.layers[layer].modules[role].scheme == scheme })
}

// moduleTargets are regular expressions, as compressed-tensors writes them, for the linear modules of so
// many layers that are in a set, and no others. They are matched from the start of a name on.
func moduleTargets(layers int, in func(layer int, role string) bool) []string {
	var parts []string             // sub-blocks and numbers of layers, each once, in order of first use
	roles := map[string][]string{} // that have them
	for sub := range hfModules {
		for _, role := range hfModules[sub] {
			var numbers []string
			for i := range layers {
				if in(i, role) {
					numbers = append(numbers, strconv.Itoa(i))
				}
			}
			if len(numbers) == 0 {
				continue
			}
			key := hfSubBlocks[sub] + " " + `\d+`
			if len(numbers) < layers {
				key = hfSubBlocks[sub] + " (" + strings.Join(numbers, "|") + ")"
			}
			if len(roles[key]) == 0 {
				parts = append(parts, key)
			}
			_, name, _ := strings.Cut(role, ".")
			roles[key] = append(roles[key], name)
		}
	}
	var out []string
	for _, key := range parts {
		sub, numbers, _ := strings.Cut(key, " ")
		out = append(out, fmt.Sprintf(`re:.*\.layers\.%s\.%s\.(%s)$`, numbers, sub, strings.Join(roles[key], "|")))
	}
	return out
}
