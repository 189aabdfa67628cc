package export

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/paretopress/paretopress/engine"
)

// layout is what of a model goes into a file, and under which architecture of llama.cpp.
type layout struct {
	source engine.Config
	config engine.Config // of the model in the file
	blocks []int         // block of the source for each of the file
	arch   string        // llama.cpp's name
	pairs  bool          // queries and keys are in rotary pairs: llama and deci
}

// What stands for a sub-block that is not there, all zeros: an MLP of narrowFFN channels, attention of zeroHeads heads.
// Both are as small as llama.cpp takes them; 32 is what its kernels read at a time.
const (
	narrowFFN = 32
	zeroHeads = 1
)

// subBlock is the name of a block's attention (0) or MLP (1).
func subBlock(block, sub int) string {
	return fmt.Sprintf("model.layers.%d.%s", block, [...]string{"self_attn", "mlp"}[sub])
}

// newLayout leaves out what a candidate drops: a block without attention and MLP goes. Blocks that lack one of them, or differ in width, need
// an architecture that allows it.
func newLayout(ck *engine.Checkpoint, cand engine.Candidate) (layout, error) {
	c := ck.Config()
	l := layout{source: c, config: c, arch: c.Arch}
	if c.Arch == "mistral" {
		l.arch = "llama"
	}
	if keys := ck.Metadata(); keys != nil {
		m := metadata{keys}
		l.arch, _ = stringOf(m.get("general.architecture"))
	}
	narrowed, err := c.Narrowed(cand)
	if err != nil {
		return l, fmt.Errorf("export: %w", err)
	}
	var absent []bool
	var widths []engine.Width
	single := "" // the first sub-block that is dropped alone
	l.config.FullLayers = 0
	for b := range c.Layers {
		var gone [2]bool
		for sub := range gone {
			if gone[sub], err = dropped(c, cand, b, sub); err != nil {
				return l, err
			}
		}
		if gone[0] && gone[1] {
			continue
		}
		if b < c.FullLayers {
			l.config.FullLayers++
		}
		l.blocks = append(l.blocks, b)
		absent, widths = append(absent, gone[0], gone[1]), append(widths, narrowed.Width(b))
		if at := slices.Index(gone[:], true); at >= 0 && single == "" {
			single = subBlock(b, at)
		}
	}
	if len(l.blocks) == 0 {
		return l, errors.New("export: every block is dropped, and llama.cpp loads no model without one: keep one")
	}
	l.config.Layers, l.config.Absent = len(l.blocks), nil
	if single != "" {
		l.config.Absent = absent
	}
	l.config.SetWidths(widths)
	switch differ := single != "" || l.config.Widths != nil; {
	case differ && c.QKNorm && single != "":
		block, _, _ := strings.Cut(strings.TrimPrefix(single, "model.layers."), ".")
		return l, fmt.Errorf("export: %s is dropped alone, and architecture %s of llama.cpp has attention and MLP in every block: drop all of block %s, or keep it", single, l.arch, block)
	case differ && c.QKNorm:
		return l, fmt.Errorf("export: %s, and architecture %s of llama.cpp has one width for all blocks: give all the same", l.differs(), l.arch)
	case differ:
		l.arch = "deci"
	}
	l.pairs = l.arch == "llama" || l.arch == "deci"
	switch n := l.config.FullLayers; {
	case l.config.SlidingWindow == 0:
	case n == l.config.Layers:
		l.config.SlidingWindow, l.config.FullLayers = 0, 0
	case n > 0:
		return l, fmt.Errorf("export: the first %d blocks have no sliding window and the others have, which GGUF does not know of architecture %s", n, l.arch)
	}
	return l, nil
}

// differs says how the first block that is narrower than another is.
func (l *layout) differs() string {
	c := l.config
	for b, w := range c.Widths {
		if w.FFN != c.FFN {
			return fmt.Sprintf("%s has %d channels and others %d", subBlock(l.blocks[b], 1), w.FFN, c.FFN)
		}
		if w.Heads != c.Heads || w.KVHeads != c.KVHeads {
			return fmt.Sprintf("%s has %d heads with %d of keys and values, others %d with %d", subBlock(l.blocks[b], 0), w.Heads, w.KVHeads, c.Heads, c.KVHeads)
		}
	}
	return ""
}

// dropped reports whether a sub-block adds nothing: the model lacks it, or the candidate drops it or a module that all
// of it passes. A module that is dropped and leaves something of its sub-block is an error.
func dropped(c engine.Config, cand engine.Candidate, block, sub int) (bool, error) {
	name := subBlock(block, sub)
	if !c.Has(block, sub) {
		return true, nil
	}
	if level, ok := cand[name]; ok {
		if level.Weights != nil {
			return false, fmt.Errorf("export: level %s of %s has weights; a sub-block can only be dropped", level.Name, name)
		}
		return true, nil
	}
	roles, through := []string{"gate_proj", "up_proj", "down_proj"}, []string{"gate_proj", "up_proj", "down_proj"}
	if sub == 0 {
		roles, through = []string{"q_proj", "k_proj", "v_proj", "o_proj"}, nil
		if !c.OutBias { // a bias still passes where weights are dropped
			through = append(through, "o_proj")
			if !c.QKVBias {
				through = append(through, "v_proj")
			}
		}
	}
	alone := ""
	for _, role := range roles {
		if level, ok := cand[name+"."+role]; ok && level.Weights == nil {
			if slices.Contains(through, role) {
				return true, nil
			}
			alone = name + "." + role
		}
	}
	if alone != "" {
		return false, fmt.Errorf("export: %s is dropped alone, and no architecture of llama.cpp lacks it: drop %s, or keep it", alone, name)
	}
	return false, nil
}

// perLayer lists the heads and the width of the MLP of each block as architecture deci has them.
func (l *layout) perLayer() (heads, kvHeads, ffn []int) {
	c := l.config
	for b := range c.Layers {
		w := c.Width(b)
		h, kv, f := w.Heads, w.KVHeads, w.FFN
		if !c.Has(b, 0) {
			h, kv = 0, 0
			if b == 0 { // llama.cpp takes the width of a head from it
				h, kv = zeroHeads, zeroHeads
			}
		}
		if !c.Has(b, 1) {
			f = narrowFFN
		}
		heads, kvHeads, ffn = append(heads, h), append(kvHeads, kv), append(ffn, f)
	}
	return heads, kvHeads, ffn
}

// unit is the source's name of a part of the file, where blocks before it may not have gone.
func (l *layout) unit(name string) string {
	rest, ok := strings.CutPrefix(name, "model.layers.")
	if !ok {
		return name
	}
	number, part, _ := strings.Cut(rest, ".")
	block, _ := strconv.Atoi(number) // of a name that engine made
	return fmt.Sprintf("model.layers.%d.%s", l.blocks[block], part)
}

// rows is the order of the rows of a module in the file.
func (l *layout) rows(module string) order {
	if l.pairs && (strings.HasSuffix(module, ".q_proj") || strings.HasSuffix(module, ".k_proj")) {
		return rotaryPairs(l.config.HeadDim)
	}
	return nil
}
