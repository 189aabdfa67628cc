package export

import (
	"fmt"
	"maps"
	"slices"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
)

// GGUFSizes are the bytes of the GGUF files of a model: those of any mixture of types are Fixed and those of its units, to
// the byte.
type GGUFSizes struct {
	Fixed int64 // header, metadata, list of tensors, norms, biases, and what stands in for single sub-blocks that are dropped
	units map[string]unitSize
}

// unitSize is what is known of a unit.
type unitSize struct {
	rows, cols int
	bytes      int64
}

// GGUFBytes is what files of a model take in which a candidate's sub-blocks are dropped. It fails as [GGUF] does where that refuses
// the candidate; weights are not read, and the sizes are those of any mixture of types. A tied head is a unit only with
// o.Untied, or where the candidate gives it a level of its own.
func GGUFBytes(ck *engine.Checkpoint, cand engine.Candidate, o GGUFOptions) (GGUFSizes, error) {
	f, err := plan(ck, cand, o)
	if err != nil {
		return GGUFSizes{}, err
	}
	s := GGUFSizes{Fixed: int64(len(f.header())), units: map[string]unitSize{}}
	for _, t := range f.tensors {
		if t.unit == "" {
			s.Fixed += padded(t.bytes())
			continue
		}
		rows, cols := t.matrix()
		s.units[t.unit] = unitSize{rows: rows, cols: cols, bytes: padded(t.bytes())}
	}
	return s, nil
}

// Unit is what a unit (a linear module that is not dropped, model.embed_tokens, lm_head) takes in a type, padding
// included. It fails where rows are no whole blocks of the type.
func (s GGUFSizes) Unit(unit string, t kernel.GGMLType) (int64, error) {
	u, ok := s.units[unit]
	if !ok {
		return 0, fmt.Errorf("export: the file has no tensor for %s", unit)
	}
	if u.cols%typeBlock(t) != 0 {
		return 0, fmt.Errorf("export: %s has rows of %d weights, no whole blocks of %s, which have %d", unit, u.cols, typeName(t), typeBlock(t))
	}
	return padded(typeBytes(t, u.rows, u.cols)), nil
}

// Given is what a unit takes at the level of the candidate that the sizes are of, padding included: where it is not named, as
// a GGUF file has it, or in 16 bits. It is 0 for one that is not in the file.
func (s GGUFSizes) Given(unit string) int64 { return s.units[unit].bytes }

// Units lists what is in the file, sorted: the linear modules that are not dropped, model.embed_tokens, and lm_head unless it
// is tied.
func (s GGUFSizes) Units() []string { return slices.Sorted(maps.Keys(s.units)) }
