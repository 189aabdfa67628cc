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

// Assignment gives a part of the model a level: a linear module ("model.layers.0.mlp.down_proj") or a
// sub-block ("model.layers.4.self_attn", "model.layers.4.mlp").
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
	p := configParser{config: c, aliases: aliases, seen: map[string]int{}, known: map[string][2]int{}}
	for _, m := range c.Modules() {
		p.known[m.Name] = [2]int{m.Rows, m.Cols}
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
	shape, known := p.known[unit]
	if !known {
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
	if isSubBlock(unit) && !l.dense() && !l.drop() {
		return fmt.Errorf("sub-block %s can be dense or drop, not %s", unit, level)
	}
	if err := l.Fits(shape[0], shape[1]); err != nil {
		return fmt.Errorf("%s: %w", unit, err)
	}
	p.out = append(p.out, Assignment{unit, l.Name})
	return nil
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
	return strings.HasSuffix(unit, ".self_attn") || strings.HasSuffix(unit, ".mlp")
}

// FormatConfig is the inverse of ParseConfig: a "module: level" line for each assignment.
func FormatConfig(assignments []Assignment) []byte {
	var b bytes.Buffer
	for _, a := range assignments {
		fmt.Fprintf(&b, "%s: %s\n", a.Unit, a.Level)
	}
	return b.Bytes()
}
