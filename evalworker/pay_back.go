package evalworker

import (
	wide "math/bits"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/prune"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/sparseft"
)

// weightBytes is what one more weight of a pruned matrix takes: its bit of the mask is there.
const weightBytes = 2

// payBack gives a model that is pruned beyond its size weights back, where the support is free: as many as the size has room for, to each pruned matrix in
// proportion to what it has lost. Which ones, the training chooses.
func (t *training) payBack() error {
	if t.options.Support != sparseft.Free {
		return nil
	}
	size, err := search.ParseSize(t.job.Size)
	if err != nil {
		return jobErrorf("--size: %w", err)
	}
	have, _, err := storedBytes(t.slot.model.Config(), t.levels)
	if err != nil {
		return err
	}
	lost := make([]uint64, len(t.targets))
	var all uint64
	for i, g := range t.targets {
		if err := t.mayRegrow(g); err != nil {
			return err
		}
		if g.Mask != nil {
			lost[i] = uint64(g.Mask.Len() - g.Mask.Count())
			all += lost[i]
		}
	}
	if all == 0 {
		return jobErrorf("--support %s: the model has no pruned weights; give a --config of levels that prune", sparseft.Free)
	}
	if size < have+weightBytes {
		return jobErrorf("--size %s leaves no room: the model takes %d bytes as it is pruned, each weight that comes back %d more", t.job.Size, have, weightBytes)
	}
	room := min(uint64(size-have)/weightBytes, all)
	for i := range t.targets {
		hi, lo := wide.Mul64(room, lost[i])
		share, _ := wide.Div64(hi, lo, all) // at most what is lost
		t.targets[i].Regrow = int(share)
		t.regrow += int64(share)
	}
	return nil
}

// mayRegrow refuses targets whose delta would lie beside them, which the size would have to pay for, and patterns, which a weight that comes back breaks.
func (t *training) mayRegrow(g sparseft.Target) error {
	base, leveled := t.base[g.Name]
	if !leveled {
		return nil // it is dense
	}
	name := t.levels[g.Name]
	if _, pruned := base.Weights.(*kernel.Bitmask); !pruned {
		return jobErrorf("--support %s: %s is at level %s, whose delta lies beside it; it is for pruned and dense modules", sparseft.Free, g.Name, name)
	}
	if spec, err := prune.Parse(name); err == nil {
		if keep, of, ok := spec.Pattern(); ok {
			return jobErrorf("--support %s: a weight that comes back to %s would break its pattern %d:%d; --support %s keeps it", sparseft.Free, g.Name, keep, of, sparseft.Restricted)
		}
	}
	return nil
}
