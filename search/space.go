package search

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Kinds of spaces. The kind decides which targets make sense and which defaults a search takes;
// everything else about a space is in its units.
const (
	Sparsity = "sparsity" // units are linear modules, levels are weight sparsities
	Quant    = "quant"    // units are linear modules, levels are bit widths
	Drop     = "drop"     // units are attention and MLP sub-blocks, levels are dense and drop
)

// Names of the two levels that every package knows.
const (
	LevelDense = "dense" // the unit as the model has it
	LevelDrop  = "drop"  // the unit removed: it adds nothing to the residual
)

// Space is what a search may choose from: the units of a model, the levels each may take, and the
// groups within which levels are exchanged. It is plain data, holds no weights, and is not changed
// once it is in use.
type Space struct {
	Kind       string `json:"kind"`        // Sparsity, Quant or Drop
	Units      []Unit `json:"units"`       // in forward order of the model
	FixedBytes int64  `json:"fixed_bytes"` // stored bytes of everything that is not a unit: embeddings, norms, head
	// Loose is for levels whose bytes have no common measure, as the block formats of a file have: a
	// mutation may leave a candidate below its target, as long as nothing more fits.
	Loose bool `json:"loose,omitempty"`
}

// Unit is a part of the model that is compressed on its own.
type Unit struct {
	Name   string  `json:"name"`   // Hugging Face module name: model.layers.0.mlp.down_proj
	Group  string  `json:"group"`  // a switch of levels stays within a group: equal sizes, or one type of sub-block
	Params int64   `json:"params"` // weights in the unit, at least 1
	Levels []Level `json:"levels"` // from the largest to the smallest
	// Modules are the parts that have the unit's level in common, where the unit is not itself one: those that a runtime
	// makes one matrix of. Configurations name them and not the unit.
	Modules []string `json:"modules,omitempty"`
}

// Level is one way to store a unit.
type Level struct {
	Name  string `json:"name"`  // gptq-3b-g64, sparsegpt-0.4271, dense, drop
	Bytes int64  `json:"bytes"` // exact stored bytes, scales and masks included
	// Cost is what the level removes, in whole numbers that are conserved by a switch of levels:
	// weights set to zero (sparsity) or sub-blocks removed (drop). In a space where every Cost is
	// 0 (quant) the bytes are conserved instead.
	Cost int64 `json:"cost,omitempty"`
}

// Bounds of a space that is believed. They are far above any model and far below what overflows.
const (
	maxUnits  = 1 << 17
	maxLevels = 1 << 12 // of a unit
	maxName   = 512
	maxAmount = 1 << 44 // bytes, weights or cost of a unit; times maxUnits it fits an int64
)

// Validate says what is wrong with a space: no units, names that are empty, doubled or would break
// a config file, a unit that lies inside another, levels out of order, numbers out of range.
func (s *Space) Validate() error {
	switch s.Kind {
	case Sparsity, Quant, Drop:
	default:
		return fmt.Errorf("search: space of unknown kind %q, want %s, %s or %s", s.Kind, Sparsity, Quant, Drop)
	}
	if len(s.Units) == 0 {
		return errors.New("search: space has no units")
	}
	if len(s.Units) > maxUnits {
		return fmt.Errorf("search: space has %d units, more than %d", len(s.Units), maxUnits)
	}
	if s.FixedBytes < 0 || s.FixedBytes > maxAmount {
		return fmt.Errorf("search: space has %d fixed bytes, want 0 to %d", s.FixedBytes, int64(maxAmount))
	}
	names := make(map[string]bool, len(s.Units))
	costed := s.costed()
	for i := range s.Units {
		u := &s.Units[i]
		for _, name := range append([]string{u.Name}, u.Modules...) {
			if err := checkName(name); err != nil {
				return fmt.Errorf("search: unit %d: %w", i, err)
			}
			if names[name] {
				return fmt.Errorf("search: unit %s is listed twice", name)
			}
			names[name] = true
		}
		if err := u.validate(costed); err != nil {
			return fmt.Errorf("search: unit %s: %w", u.Name, err)
		}
	}
	for name := range names {
		for at, r := range name {
			if r == '.' && names[name[:at]] {
				return fmt.Errorf("search: unit %s lies inside unit %s: their bytes would count twice", name, name[:at])
			}
		}
	}
	return nil
}

// Parts are the names that the unit has in a configuration: its modules, or its own.
func (u *Unit) Parts() []string {
	if len(u.Modules) > 0 {
		return u.Modules
	}
	return []string{u.Name}
}

func (u *Unit) validate(costed bool) error {
	if len(u.Group) > maxName {
		return fmt.Errorf("its group's name has %d bytes, more than %d", len(u.Group), maxName)
	}
	if u.Params < 1 || u.Params > maxAmount {
		return fmt.Errorf("%d parameters, want 1 to %d", u.Params, int64(maxAmount))
	}
	if len(u.Levels) == 0 || len(u.Levels) > maxLevels {
		return fmt.Errorf("%d levels, want 1 to %d", len(u.Levels), maxLevels)
	}
	names := make(map[string]bool, len(u.Levels))
	for i, l := range u.Levels {
		if err := checkName(l.Name); err != nil {
			return fmt.Errorf("level %d: %w", i, err)
		}
		if names[l.Name] {
			return fmt.Errorf("level %s is listed twice", l.Name)
		}
		names[l.Name] = true
		if l.Bytes < 0 || l.Bytes > maxAmount {
			return fmt.Errorf("level %s: %d bytes, want 0 to %d", l.Name, l.Bytes, int64(maxAmount))
		}
		if l.Cost < 0 || l.Cost > maxAmount {
			return fmt.Errorf("level %s: cost %d, want 0 to %d", l.Name, l.Cost, int64(maxAmount))
		}
		if i == 0 {
			continue
		}
		before := u.Levels[i-1]
		switch {
		case l.Bytes > before.Bytes:
			return fmt.Errorf("levels are not sorted from largest to smallest: %s has %d bytes, %s before it %d",
				l.Name, l.Bytes, before.Name, before.Bytes)
		case costed && l.Cost <= before.Cost:
			return fmt.Errorf("levels are not sorted by rising cost: %s costs %d, %s before it %d", l.Name, l.Cost, before.Name, before.Cost)
		case !costed && l.Bytes == before.Bytes:
			return fmt.Errorf("levels %s and %s both have %d bytes", before.Name, l.Name, l.Bytes)
		}
	}
	return nil
}

// checkName keeps to what a config file of `unit: level` lines can hold.
func checkName(name string) error {
	if name == "" {
		return errors.New("a name is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("a name has %d bytes, more than %d", len(name), maxName)
	}
	for _, r := range name {
		if r <= ' ' || r == 0x7f || r == '\ufffd' || r == '#' {
			return fmt.Errorf("name %q holds a space, a control character, a # or invalid UTF-8", name)
		}
	}
	if strings.HasSuffix(name, ":") {
		return fmt.Errorf("name %q ends in a colon", name)
	}
	return nil
}

// ParseSpace reads a space from JSON and validates it.
func ParseSpace(data []byte) (*Space, error) {
	s := new(Space)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("search: reading a space: %w", err)
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, nil
}

// Params is the number of weights in the units of the space.
func (s *Space) Params() int64 {
	var n int64
	for i := range s.Units {
		n += s.Units[i].Params
	}
	return n
}

// Digest names the space by its content: 16 hexadecimal digits of the SHA-256 of its JSON. An
// optimiser's state carries it, so that a state is not restored on another space.
func (s *Space) Digest() string {
	data, err := json.Marshal(s)
	if err != nil {
		panic("search: a space of strings and integers did not marshal: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// costed says whether switches conserve Cost rather than Bytes.
func (s *Space) costed() bool {
	for i := range s.Units {
		for _, l := range s.Units[i].Levels {
			if l.Cost != 0 {
				return true
			}
		}
	}
	return false
}
