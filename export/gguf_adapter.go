package export

import (
	"fmt"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/engine"
)

// GGUFAdapter writes a change of low rank of a model as a LoRA adapter, a GGUF file that llama.cpp loads with --lora beside the file that [GGUF]
// writes of the same candidate and options. It must not exist. Factors of modules that are not in that file are left out. All factors have one
// α, rank times scale, which is not 0: a rank may differ. Names, blocks and the order of the rows of queries and keys are those of the model's file.
//
// https://github.com/ggml-org/llama.cpp/blob/master/src/llama-adapter.cpp
func GGUFAdapter(path string, ck *engine.Checkpoint, cand engine.Candidate, factors []engine.Factors, o GGUFOptions) (GGUFResult, error) {
	if err := Vacant(path); err != nil {
		return GGUFResult{}, err
	}
	f, err := planAdapter(ck, cand, factors, o)
	if err != nil {
		return GGUFResult{}, err
	}
	return f.create(path, o.Progress)
}

// GGUFAdapterBytes is the size of the file that [GGUFAdapter] writes, or the error that it refuses it with. As for [GGUFBytes], weights of the
// candidate are not read.
func GGUFAdapterBytes(ck *engine.Checkpoint, cand engine.Candidate, factors []engine.Factors, o GGUFOptions) (int64, error) {
	f, err := planAdapter(ck, cand, factors, o)
	if err != nil {
		return 0, err
	}
	return f.size(), nil
}

// planAdapter lays an adapter out beside the file of its model.
func planAdapter(ck *engine.Checkpoint, cand engine.Candidate, factors []engine.Factors, o GGUFOptions) (*file, error) {
	base, err := plan(ck, cand, o)
	if err != nil {
		return nil, err
	}
	alpha, err := alphaOf(factors)
	if err != nil {
		return nil, err
	}
	f := &file{layout: base.layout}
	for _, k := range base.meta.keys {
		if strings.HasPrefix(k.Key, "general.") && k.Key != "general.size_label" {
			f.meta.keys = append(f.meta.keys, k)
		}
	}
	f.meta.set("general.type", stringValue("adapter"))
	f.meta.set("general.file_type", uint32Value(fileTypes[F32]))
	f.meta.set("adapter.type", stringValue("lora"))
	f.meta.set("adapter.lora.alpha", float32Value(alpha))
	known := map[string]bool{}
	for _, m := range base.source.Modules() {
		known[m.Name] = true
	}
	of := map[string]engine.Factors{}
	for _, x := range factors {
		if _, twice := of[x.Module]; twice || !known[x.Module] {
			return nil, fmt.Errorf("export: factors of %s: the model has no such linear module, or it has factors already", x.Module)
		}
		of[x.Module] = x
	}
	for _, t := range base.tensors {
		x, ok := of[t.unit]
		if !ok || t.unit == "" {
			continue
		}
		if rows, cols := t.matrix(); x.Rows != rows || x.Cols != cols || len(x.A) != x.Rank*cols || len(x.B) != rows*x.Rank {
			return nil, fmt.Errorf("export: the factors of %s, of %d and %d numbers, are of rank %d for %dx%d; in the file it is %dx%d", t.unit, len(x.A), len(x.B), x.Rank, x.Rows, x.Cols, rows, cols)
		}
		f.factor(t, engine.GGUFFactorA, factor{x.Rank, x.Cols, x.A}, nil)
		f.factor(t, engine.GGUFFactorB, factor{x.Rows, x.Rank, x.B}, f.rows(t.unit))
	}
	if len(f.tensors) == 0 {
		return nil, fmt.Errorf("export: none of the %d modules with factors is in the model's file: there is no adapter to write", len(factors))
	}
	return f, nil
}

// factor adds a factor of one of the model's tensors.
func (f *file) factor(t *tensor, suffix string, x factor, rows order) {
	f.tensors = append(f.tensors, &tensor{name: t.name + suffix, unit: t.unit, module: t.module, level: t.level, shape: []int{x.rows, x.cols}, kind: F32,
		content: numbers{name: t.unit + suffix, weights: x, order: rows}})
}

// factor is a matrix of float32 numbers.
type factor struct {
	rows, cols int
	data       []float32
}

func (x factor) Shape() (rows, cols int) { return x.rows, x.cols }

func (x factor) DecodeRows(first, n int, dst []float32) {
	copy(dst[:n*x.cols], x.data[first*x.cols:])
}

// alphaOf is the α of all factors: the file holds one, as float32, which llama.cpp divides by the rank, and takes 0 for a scale of 1.
func alphaOf(factors []engine.Factors) (float64, error) {
	of := func(x engine.Factors) float32 { return float32(x.Scale * float64(x.Rank)) }
	at := slices.IndexFunc(factors, func(x engine.Factors) bool { return of(x) != of(factors[0]) || of(x) == 0 })
	switch {
	case at >= 0 && of(factors[at]) == 0:
		return 0, fmt.Errorf("export: the factors of %s are scaled by 0, for which the format has no number", factors[at].Module)
	case at >= 0:
		return 0, fmt.Errorf("export: the factors of %s have rank %d and scale %v, those of %s %d and %v: an adapter has one product of the two", factors[at].Module, factors[at].Rank, factors[at].Scale,
			factors[0].Module, factors[0].Rank, factors[0].Scale)
	case len(factors) == 0:
		return 0, nil
	}
	return float64(of(factors[0])), nil
}
