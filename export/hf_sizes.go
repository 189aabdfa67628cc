package export

import (
	"fmt"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
)

// HFSizes says how many bytes a model.safetensors of compressed-tensors will have: Fixed and those of each linear module. (Weights that are cut
// into several files take 40 bytes more for each file but the first.)
type HFSizes struct {
	Fixed   int64 // of everything but the linear modules
	dtype   string
	runtime string
}

// HFBytes returns the sizes of a model's weights as [HuggingFace] writes them with FormatCompressed and the given Dtype and Runtime.
func HFBytes(ck *engine.Checkpoint, o HFOptions) (HFSizes, error) {
	o.Format = FormatCompressed
	e, err := newHFExport(ck, nil, o)
	if err != nil {
		return HFSizes{}, fmt.Errorf("export: %w", err)
	}
	s := HFSizes{Fixed: fileBytes(e.arrays()), dtype: e.options.Dtype, runtime: e.options.Runtime}
	for _, m := range ck.Config().Modules() {
		s.Fixed -= s.Dense(m)
	}
	return s, nil
}

// Planned stands for weights of a candidate that are still to be made, where [HFPlan] is to say what becomes of them.
type Planned struct {
	RowsOf, ColsOf int
	Size           int64         // bytes
	Layout         kernel.Layout // of groups of integers, or of FP8; zero: of neither
	FP8            bool
}

// Shape implements [engine.Weights].
func (p Planned) Shape() (rows, cols int) { return p.RowsOf, p.ColsOf }

// Bytes is Size.
func (p Planned) Bytes() int64 { return p.Size }

// DecodeRows panics: there is nothing yet.
func (p Planned) DecodeRows(_, _ int, _ []float32) { panic("export: weights that are only planned") }

// Merged are weights that are meant to be written in 16 bits: those of a dense module that was fine-tuned.
type Merged struct{ engine.Weights }

// HFPlan returns how many bytes of weights, their headers included, [HuggingFace] would write of a candidate, some of whose weights may be [Planned], or the
// error that it would refuse it with.
func HFPlan(ck *engine.Checkpoint, cand engine.Candidate, o HFOptions) (int64, error) {
	e, err := newHFExport(ck, cand, o)
	if err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	total := int64(0)
	for _, part := range shards(e.arrays(), e.options.ShardBytes) {
		total += fileBytes(part)
	}
	return total, nil
}

// Dense is the size of a module that is not compressed.
func (s HFSizes) Dense(m engine.Module) int64 {
	return array{name: m.Name + ".weight", dtype: s.dtype, shape: []int{m.Rows, m.Cols}}.stored()
}

// Integers is the size of a module in groups of integers. It returns an error if compressed-tensors does not store it so or the runtime does
// not load it.
func (s HFSizes) Integers(m engine.Module, l kernel.Layout) (int64, error) {
	scheme, ok := integerScheme(l, m.Cols, false)
	if !ok {
		return 0, fmt.Errorf("export: compressed-tensors has no form for %v of %s, which has %d columns: it takes 4 and 8 bits in groups that divide a row", l, m.Name, m.Cols)
	}
	if err := runs(s.runtime, scheme, l.String(), m.Name); err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	return s.compressed(m, scheme), nil
}

// FP8 is the size of a module of 8-bit floats.
func (s HFSizes) FP8(m engine.Module) int64 {
	return s.compressed(m, floatScheme(false))
}

func (s HFSizes) compressed(m engine.Module, c scheme) (n int64) {
	for _, a := range compressedShapes(m.Name, m.Rows, m.Cols, c) {
		n += a.stored()
	}
	return n
}

// Fused is the name that a runtime gives the matrix that it makes of a module and others, whose levels must have one form; the module's own where it makes none.
func Fused(runtime string, m engine.Module) string {
	if runtime == RuntimeVLLM {
		for i, name := range []string{"self_attn.qkv_proj", "mlp.gate_up_proj"} {
			for _, role := range hfFused[i] {
				if m.Name == hfUnit(m.Block, role) {
					return hfUnit(m.Block, name)
				}
			}
		}
	}
	return m.Name
}
