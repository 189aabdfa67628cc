package evalworker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/sparseft"
)

// deltaSuffix is what a level's name ends with when a delta has changed its weights.
const deltaSuffix = "+delta"

// appliedDelta is a delta file that belongs to the model of a slot.
type appliedDelta struct {
	name   string // of the file
	digest string // SHA-256 of its content
	delta  *sparseft.Delta
}

// readDelta reads a delta file and checks that it was trained from the model of a slot. No name is no delta: nil.
func readDelta(name string, s *slot) (*appliedDelta, error) {
	if name == "" {
		return nil, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, mark(ErrJob, fmt.Errorf("evalworker: --delta: %w", err))
	}
	d, err := sparseft.ReadDelta(data)
	if err == nil {
		err = d.CheckModel(s.checkpoint.digest)
	}
	if err != nil {
		return nil, mark(ErrJob, fmt.Errorf("evalworker: --delta %s: %w", name, err))
	}
	sum := sha256.Sum256(data)
	return &appliedDelta{name: name, digest: hex.EncodeToString(sum[:]), delta: d}, nil
}

// units are the modules that the delta changes. A nil delta changes none.
func (d *appliedDelta) units() (units []string) {
	if d != nil {
		for i := range d.delta.Tensors {
			units = append(units, d.delta.Tensors[i].Name)
		}
	}
	return units
}

// growth is what a delta adds to the bytes of a model.
type growth struct {
	regrown int64 // by weights that were pruned
	beside  int64 // by what cannot be merged
}

// apply returns a candidate with the delta merged into its levels as it is deployed, and the bytes that this adds. Every tensor's
// weights must be those that the delta was trained from. A nil delta changes nothing.
func (d *appliedDelta) apply(s *slot, c engine.Candidate) (engine.Candidate, growth, error) {
	var sum growth
	if d == nil {
		return c, sum, nil
	}
	c = maps.Clone(c)
	if c == nil {
		c = engine.Candidate{}
	}
	known := map[string]bool{}
	for _, m := range s.model.Config().Modules() {
		known[m.Name] = true
	}
	for i := range d.delta.Tensors {
		t := &d.delta.Tensors[i]
		if !known[t.Name] {
			return nil, sum, jobErrorf("--delta %s: the model has no linear module %q", d.name, t.Name)
		}
		level, ok := c[t.Name]
		if _, gone := c[subBlock(t.Name)]; gone || ok && level.Weights == nil {
			return nil, sum, jobErrorf("--delta %s: %s is dropped: give the --config that the delta was trained with", d.name, t.Name)
		}
		if !ok {
			dense, err := engine.Dense(s.checkpoint.Checkpoint, t.Name)
			if err != nil {
				return nil, sum, err
			}
			level = engine.Level{Name: LevelDense, Weights: dense}
		}
		rows, cols := level.Weights.Shape()
		if err := t.Check(decodedBase{level.Weights}, rows, cols); err != nil {
			return nil, sum, mark(ErrJob, fmt.Errorf("evalworker: --delta %s: %w: give the --config and --bank that it was trained with", d.name, err))
		}
		w := &working{rows, cols, make([]float32, rows*cols)}
		level.Weights.DecodeRows(0, rows, w.data)
		t.Merge(w.data)
		merged, more, err := deploy(t, level, ok, w)
		if err != nil {
			return nil, sum, err
		}
		name, from, _ := strings.Cut(level.Name, " ") // what follows is the bank that it is from
		c[t.Name] = engine.Level{Name: name + deltaSuffix + " " + from + " " + d.digest, Weights: merged}
		sum.regrown += more.regrown
		sum.beside += more.beside
	}
	return c, sum, nil
}

// deploy is how the trained weights of a module are stored: pruned ones in 16 bits with the mask that they have and what a sparse delta gives back to
// it, dense ones in 16 bits, of all others the change beside the level. leveled says that base is a level and not the dense module.
func deploy(t *sparseft.TensorDelta, base engine.Level, leveled bool, w *working) (weights engine.Weights, more growth, err error) {
	if pruned, ok := base.Weights.(*kernel.Bitmask); ok {
		keep := make([]bool, len(w.data))
		pruned.Kept(func(at int) { keep[at] = true })
		if t.Rank == 0 {
			for _, at := range t.Indices {
				keep[at] = keep[at] || w.data[at] != 0
			}
		}
		if within(w.data, keep) {
			merged, err := kernel.PackBitmask(w.rows, w.cols, w.data, keep, pruned.BF16())
			if err != nil {
				return nil, more, fmt.Errorf("evalworker: %s: %w", t.Name, err)
			}
			more.regrown = merged.Bytes() - pruned.Bytes()
			return merged, more, nil
		}
	}
	if !leveled {
		kernel.RoundF16s(w.data, w.data)
		return export.Merged{Weights: w}, more, nil
	}
	one := sparseft.Delta{Tensors: []sparseft.TensorDelta{*t}}
	more.beside = one.Bytes()
	return export.Merged{Weights: w}, more, nil
}

// within tells whether all weights that are not kept are zero.
func within(w []float32, keep []bool) bool {
	for i, x := range w {
		if x != 0 && !keep[i] {
			return false
		}
	}
	return true
}
