package evalworker

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/paretopress/paretopress/engine"
)

// Assignment gives a part of the model a level: a linear module ("model.layers.0.mlp.down_proj"), a
// sub-block ("model.layers.4.self_attn", "model.layers.4.mlp"), the embeddings ("model.embed_tokens", which
// are the head as well where the two are tied) or a head of its own ("lm_head").
type Assignment struct {
	Unit  string
	Level string
}

// SubBlocks lists the attention and MLP sub-blocks of a model in forward order.
func SubBlocks(c engine.Config) []string {
	var names []string
	for i := range c.Layers {
		if c.Has(i, 0) {
			names = append(names, attention(i))
		}
		if c.Has(i, 1) {
			names = append(names, mlp(i))
		}
	}
	return names
}

func attention(block int) string { return fmt.Sprintf("model.layers.%d.self_attn", block) }
func mlp(block int) string       { return fmt.Sprintf("model.layers.%d.mlp", block) }

// Aliases resolves the integer levels of EvoPress's files to level names: those that a bank declares.
// nil: integer levels are errors.
type Aliases func(unit string, number int) (level string, ok bool)

// ParseConfig reads a config file: a "module: level" line for each part of the model that is not dense,
// with blank lines and # comments. EvoPress's files read as they are: integer levels by way of aliases,
// and its drop files, which have a line "none", "attn", "mlp" or "attn+mlp" for each block.
//
// Parts that are not named stay dense. The result is in the order of the file; errors name the file and
// the line.
func ParseConfig(name string, data []byte, c engine.Config, aliases Aliases) ([]Assignment, error) {
	p := configParser{config: c, aliases: aliases, seen: map[string]int{}, known: map[string][2]int{}, widths: map[string]Level{}}
	for _, m := range matrices(c) {
		p.known[m.name] = [2]int{m.rows, m.cols}
	}
	for _, s := range SubBlocks(c) {
		p.known[s] = [2]int{}
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for line := 1; sc.Scan(); line++ {
		text, _, _ := strings.Cut(sc.Text(), "#")
		text = strings.TrimSpace(text)
		if line == 1 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		if text == "" {
			continue
		}
		if err := p.line(line, text); err != nil {
			return nil, mark(ErrJob, fmt.Errorf("evalworker: %s:%d: %w", name, line, err))
		}
	}
	if err := sc.Err(); err != nil {
		return nil, mark(ErrJob, fmt.Errorf("evalworker: %s: %w", name, err))
	}
	for _, a := range p.out {
		if err := p.fits(a); err != nil {
			return nil, mark(ErrJob, fmt.Errorf("evalworker: %s:%d: %s: %w", name, p.seen[a.Unit], a.Unit, err))
		}
	}
	if p.dropLines > 0 && p.dropLines != c.Layers {
		return nil, mark(ErrJob, fmt.Errorf("evalworker: %s: %d lines of dropped sub-blocks for a model of %d blocks", name, p.dropLines, c.Layers))
	}
	return p.out, nil
}

// configParser holds what has been read of a config file.
type configParser struct {
	config    engine.Config
	aliases   Aliases
	known     map[string][2]int // unit → rows and columns of a module
	seen      map[string]int    // unit → line
	widths    map[string]Level  // MLPs that are to be narrower
	dropLines int
	out       []Assignment
}

// line reads a line that is not blank.
func (p *configParser) line(number int, text string) error {
	unit, level, ok := strings.Cut(text, ":")
	if !ok {
		return p.dropLine(text)
	}
	if p.dropLines > 0 {
		return fmt.Errorf("%q in a file of dropped sub-blocks", text)
	}
	unit, level = strings.TrimSpace(unit), strings.TrimSpace(level)
	if _, known := p.known[unit]; !known {
		return fmt.Errorf("the model has no module or sub-block %q", unit)
	}
	if first, ok := p.seen[unit]; ok {
		return fmt.Errorf("%s has a level already, on line %d", unit, first)
	}
	p.seen[unit] = number
	if n, err := strconv.Atoi(level); err == nil {
		if p.aliases == nil {
			return fmt.Errorf("integer level %d needs a bank that declares what it stands for: give --bank", n)
		}
		name, ok := p.aliases(unit, n)
		if !ok {
			return fmt.Errorf("the bank declares no level %d of %s", n, unit)
		}
		level = name
	}
	l, err := ParseLevel(level)
	if err != nil {
		return err
	}
	switch {
	case l.wide && l.spec == nil && isMLP(unit):
		p.widths[unit] = l
	case isMLP(unit) && !l.dense() && !l.drop():
		return fmt.Errorf("sub-block %s can be dense or drop, or have a width as in width-1024, not %s", unit, level)
	case isSubBlock(unit) && !l.dense() && !l.drop():
		return fmt.Errorf("sub-block %s can be dense or drop, not %s", unit, level)
	case l.wide && !isSubBlock(unit):
		return fmt.Errorf("%s cannot be %s: a width is a level of an MLP, as model.layers.0.mlp", unit, level)
	}
	if (unit == unitEmbedding || unit == unitHead) && l.drop() {
		return fmt.Errorf("%s cannot be dropped", unit)
	}
	p.out = append(p.out, Assignment{unit, l.Name})
	return nil
}

// fits returns an error if the unit of an assignment cannot have its level beside the others.
func (p *configParser) fits(a Assignment) error {
	l, err := ParseLevel(a.Level)
	if err != nil {
		return err
	}
	if all := p.known[a.Unit+".gate_proj"][0]; l.wide && l.width.Channels() > all {
		return fmt.Errorf("it has %d channels, not as many as %s keeps", all, l.Name)
	}
	shape := p.known[a.Unit]
	if mlp, ok := p.widths[parent(a.Unit)]; ok && l.spec != nil {
		l.width, l.wide = mlp.width, true
		if l.NeedsCalibration() {
			return errCalibratedWide(mlp.Name + "+" + l.Name)
		}
	}
	return l.Fits(l.Shape(a.Unit, shape[0], shape[1]))
}

// dropLine reads a line of an EvoPress drop file.
func (p *configParser) dropLine(text string) error {
	if len(p.seen) > 0 {
		return fmt.Errorf("%q, want module: level", text)
	}
	if !slices.Contains([]string{"none", "attn", "mlp", "attn+mlp"}, text) {
		return fmt.Errorf("%q, want module: level, or none, attn, mlp or attn+mlp in a drop file", text)
	}
	block := p.dropLines
	if p.dropLines++; block >= p.config.Layers {
		return nil // too many lines are reported at the end
	}
	if strings.HasPrefix(text, "attn") && p.config.Has(block, 0) {
		p.out = append(p.out, Assignment{attention(block), LevelDrop})
	}
	if strings.HasSuffix(text, "mlp") && p.config.Has(block, 1) {
		p.out = append(p.out, Assignment{mlp(block), LevelDrop})
	}
	return nil
}

// isSubBlock reports whether a unit's name is that of a sub-block.
func isSubBlock(unit string) bool {
	return strings.HasSuffix(unit, ".self_attn") || isMLP(unit)
}

func isMLP(unit string) bool { return strings.HasSuffix(unit, ".mlp") }

// parent is the sub-block of a module.
func parent(unit string) string { return unit[:max(strings.LastIndexByte(unit, '.'), 0)] }

// FormatConfig is the inverse of ParseConfig: a "module: level" line for each assignment.
func FormatConfig(assignments []Assignment) []byte {
	var b bytes.Buffer
	for _, a := range assignments {
		fmt.Fprintf(&b, "%s: %s\n", a.Unit, a.Level)
	}
	return b.Bytes()
}
