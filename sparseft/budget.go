package sparseft

import (
	"fmt"
	"math"
	"math/bits"
)

// Target is a tensor that is trained.
type Target struct {
	Name       string // of the module, such as model.layers.0.mlp.down_proj
	Rows, Cols int    // outputs and inputs; at most 2^31-1 weights
	Base       Base   // the weights it is trained from; finite
	Mask       *Mask  // which of them a pruned model has; nil: all
	// Regrow is how many weights outside the mask may come to be trained with the support [Free]: as many as were pruned
	// beyond what the model may have.
	Regrow int
}

// tensor is a target as trainings of it need it.
type tensor struct {
	name       string
	rows, cols int
	base       Base
	mask       *Mask
	kept       int // weights of the mask
	regrow     int // weights outside it that may be trained
	quota      int // trainable weights
	total      int // weights
}

// prepare checks the targets and splits the budget over them.
func prepare(targets []Target, o Options) ([]*tensor, error) {
	if len(targets) == 0 {
		return nil, fmt.Errorf("sparseft: there is no tensor to train")
	}
	var all uint64
	seen := map[string]bool{}
	out := make([]*tensor, len(targets))
	for i, g := range targets {
		if g.Rows <= 0 || g.Cols <= 0 || g.Rows > math.MaxInt32/g.Cols {
			return nil, fmt.Errorf("sparseft: %s is of %d x %d weights; want 1 to 2^31-1", g.Name, g.Rows, g.Cols)
		}
		if g.Name == "" || g.Base == nil || seen[g.Name] {
			return nil, fmt.Errorf("sparseft: target %d (%q) has no name, no weights or the name of another", i, g.Name)
		}
		seen[g.Name] = true
		t := &tensor{name: g.Name, rows: g.Rows, cols: g.Cols, base: g.Base, mask: g.Mask, total: g.Rows * g.Cols}
		t.kept = t.total
		if g.Mask != nil {
			if g.Mask.Len() != t.total {
				return nil, fmt.Errorf("sparseft: the mask of %s is for %d weights, the tensor has %d", g.Name, g.Mask.Len(), t.total)
			}
			t.kept = g.Mask.Count()
			if o.Support == Free {
				t.regrow = min(max(0, g.Regrow), t.total-t.kept)
			}
		}
		if o.LowRank == MergedMasked && o.lowRank() && g.Mask == nil {
			return nil, fmt.Errorf("sparseft: %s has no mask for low_rank merged-masked", g.Name)
		}
		all += uint64(t.total)
		out[i] = t
	}
	if !o.budgeted() {
		return out, nil
	}
	budget, err := o.budget(all)
	if err != nil {
		return nil, err
	}
	for _, t := range out {
		hi, lo := bits.Mul64(budget, uint64(t.total))
		share, _ := bits.Div64(hi, lo, all) // budget ≤ all, so that the quotient is at most the tensor's size
		t.quota = min(int(share), t.kept+t.regrow)
		if o.Method != LoRA && t.quota == 0 {
			if share > 0 {
				return nil, fmt.Errorf("sparseft: no weight of %s may be trained: its mask keeps none", t.name)
			}
			return nil, fmt.Errorf("sparseft: the budget of %d trainable weights leaves none for %s (%d x %d); every target needs one from %d on",
				budget, t.name, t.rows, t.cols, (all+uint64(smallest(out))-1)/uint64(smallest(out)))
		}
	}
	return out, nil
}

// Bytes is [Delta.Bytes] of a training of matrices of so many rows and columns, none of which has a mask.
func (o Options) Bytes(shapes [][2]int) (int64, error) {
	targets := make([]Target, len(shapes))
	for i, s := range shapes {
		targets[i] = Target{Name: fmt.Sprint("matrix ", i), Rows: s[0], Cols: s[1], Base: Dense{}}
	}
	tensors, err := prepare(targets, o)
	if err != nil {
		return 0, err
	}
	var n int64
	if o.lowRank() {
		rank, err := o.rank(tensors)
		if err != nil {
			return 0, err
		}
		for _, t := range tensors {
			n += 4 * int64(rank) * int64(t.rows+t.cols)
		}
	}
	for _, t := range tensors {
		switch o.Method {
		case LoRA:
		case Full:
			n += 4 * int64(t.total)
		default:
			n += 8 * int64(t.quota)
		}
	}
	return n, nil
}

// smallest is the size of the smallest tensor.
func smallest(tensors []*tensor) int {
	n := tensors[0].total
	for _, t := range tensors {
		n = min(n, t.total)
	}
	return n
}

// budget is the number of trainable weights of all targets together, which have all weights. A density counts the
// embeddings too, so that a large one may come to more than the targets have; it then trains them all.
func (o Options) budget(all uint64) (uint64, error) {
	if o.NumTunableWeights == 0 {
		return min(uint64(float64(o.ModelParameters)*o.Density), all), nil
	}
	if uint64(o.NumTunableWeights) > all {
		return 0, fmt.Errorf("sparseft: num_tunable_weights is %d, the targets have %d weights", o.NumTunableWeights, all)
	}
	return uint64(o.NumTunableWeights), nil
}

// rank is the rank of the factors: that of the options, or the largest whose factors fit the budget.
func (o Options) rank(tensors []*tensor) (int, error) {
	rank := o.Rank
	if rank == 0 {
		var all, each uint64
		for _, t := range tensors {
			all += uint64(t.total)
			each += uint64(t.rows + t.cols)
		}
		budget, err := o.budget(all)
		if err != nil {
			return 0, err
		}
		if rank = int(budget / each); rank == 0 {
			return 0, fmt.Errorf("sparseft: the budget of %d trainable weights is below the %d of factors of rank 1", budget, each)
		}
	}
	for _, t := range tensors {
		if rank > min(t.rows, t.cols) {
			return 0, fmt.Errorf("sparseft: rank %d is more than %s of %d x %d can have", rank, t.name, t.rows, t.cols)
		}
	}
	return rank, nil
}
