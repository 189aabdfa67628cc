package evalworker

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/quant"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// Units that are not in a block.
const (
	unitEmbedding = "model.embed_tokens" // the head as well where the two are tied
	unitHead      = "lm_head"
)

// matrix is a unit that is one matrix.
type matrix struct {
	name       string
	rows, cols int
	block      int // Config.Layers: the head, whose input is calibrated; -1: the embeddings, which have none
}

// matrices lists the linear modules, the embeddings and the head in forward order.
func matrices(c engine.Config) []matrix {
	embedding := matrix{unitEmbedding, c.Vocab, c.Hidden, -1}
	if c.TieEmbeddings {
		embedding.block = c.Layers
	}
	all := []matrix{embedding}
	for _, m := range c.Modules() {
		all = append(all, matrix{m.Name, m.Rows, m.Cols, m.Block})
	}
	if !c.TieEmbeddings {
		all = append(all, matrix{unitHead, c.Vocab, c.Hidden, c.Layers})
	}
	return all
}

// ggufUnits adds the matrices of a model with the types of ggml that their rows admit, at the bytes that they take in a GGUF
// file. Of types of equal size the one that the job names first counts.
func ggufUnits(s *search.Space, c engine.Config, job workflows.Job, sizes *export.GGUFSizes) error {
	s.FixedBytes, s.Loose = sizes.Fixed, true
	for _, m := range matrices(c) {
		method := quant.Method(job.QuantMethod)
		if m.block < 0 { // looked up and never multiplied: there is no input to calibrate by
			method = quant.RTN
		}
		u := search.Unit{Name: m.name, Params: int64(m.rows) * int64(m.cols)}
		var unfit error
		for _, name := range job.Types {
			t, ok := kernel.ParseGGMLType(name)
			if !ok {
				return fmt.Errorf("evalworker: --types: ggml has no type %q for levels", name)
			}
			spec, err := quant.NewGGML(method, t)
			if err != nil {
				return err
			}
			if unfit = spec.Fits(m.rows, m.cols); unfit != nil {
				continue
			}
			bytes, err := sizes.Unit(m.name, t)
			if err != nil {
				return err
			}
			u.Levels = append(u.Levels, search.Level{Name: spec.String(), Bytes: bytes})
		}
		if err := addDeployable(s, u, unfit); err != nil {
			return err
		}
	}
	return nil
}

// addDeployable adds a unit with its levels from the largest to the smallest, of those of equal size the first. unfit says why one that has none has none.
func addDeployable(s *search.Space, u search.Unit, unfit error) error {
	if len(u.Levels) == 0 {
		return fmt.Errorf("evalworker: --types: none applies to %s: %w", u.Name, unfit)
	}
	slices.SortStableFunc(u.Levels, func(a, b search.Level) int { return cmp.Compare(b.Bytes, a.Bytes) })
	u.Levels = slices.CompactFunc(u.Levels, func(a, b search.Level) bool { return a.Bytes == b.Bytes })
	s.Units = append(s.Units, u)
	return nil
}

// hfUnits adds the linear modules of a model with the forms of compressed-tensors that a runtime loads, at the bytes that they take in
// model.safetensors. Modules that the runtime makes one matrix of are one unit. Embeddings and head are as the model has them.
func hfUnits(s *search.Space, c engine.Config, job workflows.Job, sizes *export.HFSizes) error {
	s.FixedBytes, s.Loose = sizes.Fixed, true
	fused := map[string][]engine.Module{}
	var names []string
	for _, m := range c.Modules() {
		name := export.Fused(job.Deployable, m)
		if fused[name] == nil {
			names = append(names, name)
		}
		fused[name] = append(fused[name], m)
	}
	for _, name := range names {
		u := search.Unit{Name: name}
		for _, m := range fused[name] {
			u.Params += int64(m.Rows) * int64(m.Cols)
			if len(fused[name]) > 1 {
				u.Modules = append(u.Modules, m.Name)
			}
		}
		var unfit error
		for _, form := range job.Types {
			l, err := hfLevel(job.QuantMethod, form)
			if err != nil {
				return err
			}
			bytes := int64(0)
			for _, m := range fused[name] {
				var n int64
				if n, err = hfBytes(sizes, m, l); err != nil {
					unfit = err
					break
				}
				bytes += n
			}
			if err == nil {
				u.Levels = append(u.Levels, search.Level{Name: l.Name, Bytes: bytes})
			}
		}
		if err := addDeployable(s, u, unfit); err != nil {
			return err
		}
	}
	return nil
}

// hfLevel is the level of a form as --types names it: dense, int8, fp8, or a layout that a method chooses the integers of.
func hfLevel(method, form string) (Level, error) {
	if form != LevelDense && form != string(quant.INT8) && form != string(quant.FP8) {
		form = method + "-" + form
	}
	l, err := ParseLevel(form)
	if err != nil {
		return Level{}, fmt.Errorf("evalworker: --types: %w (dense, int8, fp8 or a layout such as 4b-g64)", err)
	}
	return l, nil
}

// hfBytes is the size of a level of a module.
func hfBytes(sizes *export.HFSizes, m engine.Module, l Level) (int64, error) {
	spec, ok := l.spec.(quant.Spec)
	switch layout, integers := spec.Layout(); {
	case l.dense():
		return sizes.Dense(m), nil
	case !ok || !integers:
		return 0, fmt.Errorf("evalworker: --types: compressed-tensors has no form for %s", l.Name)
	case spec.Method() == quant.FP8:
		return sizes.FP8(m), nil
	default:
		return sizes.Integers(m, layout)
	}
}
