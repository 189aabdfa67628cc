package engine

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Factors are a change of low rank of a linear module (LoRA): Scale·B·A is added to its weights.
type Factors struct {
	Module           string // Hugging Face name, without ".weight"
	Rows, Cols, Rank int
	Scale            float64   // α/r
	A, B             []float32 // Rank x Cols and Rows x Rank, row-major
}

// What follows the name of a tensor in that of its factors, in GGUF files.
const (
	GGUFFactorA = ".lora_a"
	GGUFFactorB = ".lora_b"
)

// Adapter reads a LoRA adapter for the model of a GGUF file, in the layout that llama.cpp loads with --lora: for each of some linear modules
// two matrices, and one α for all, of which 0 means a scale of 1. Factors are in the order of their modules' names; their rows are in
// Hugging Face's order. Errors name the file, and the tensor that the model has not or has in another shape; where the content is at
// fault they match [ErrMalformed] or [ErrUnsupported].
func (c *Checkpoint) Adapter(path string) (factors []Factors, err error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	f, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("engine: adapter %w", err)
	}
	defer func() { err = errors.Join(err, f.release()) }()
	g, err := parseGGUF(f.data)
	if err == nil {
		factors, err = c.factors(g)
	}
	if err != nil {
		return nil, fmt.Errorf("engine: adapter %s: %w", path, err)
	}
	return factors, nil
}

// factors are those of an adapter file.
func (c *Checkpoint) factors(g *gguf) ([]Factors, error) {
	arch := ""
	for _, k := range c.meta {
		if k.Key == "general.architecture" {
			arch = string(k.Value[12:]) // a string, as opening the model has found
		}
	}
	for _, want := range [][2]string{{"general.type", "adapter"}, {"adapter.type", "lora"}, {"general.architecture", arch}} {
		have, err := g.text(want[0], "")
		if err != nil {
			return nil, err
		}
		if have != want[1] {
			return nil, malformed("%s is %q, want %q", want[0], have, want[1])
		}
	}
	alpha, err := g.float("adapter.lora.alpha", 0)
	if err != nil {
		return nil, err
	}
	if math.IsNaN(alpha) || math.IsInf(alpha, 0) {
		return nil, malformed("adapter.lora.alpha is %v", alpha)
	}
	pairs := map[string][2]Tensor{}
	for _, t := range g.tensors {
		name, b := strings.CutSuffix(t.Name, GGUFFactorB)
		name, a := strings.CutSuffix(name, GGUFFactorA)
		if a == b || len(t.Shape) != 2 {
			return nil, unsupported("tensor %s of shape %v (want matrices with names that end with %s or %s)", t.Name, t.Shape, GGUFFactorA, GGUFFactorB)
		}
		pair, at := pairs[name], 0
		if b {
			at = 1
		}
		pair[at] = t
		pairs[name] = pair
	}
	var all []Factors
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		f, err := c.pair(name, pairs[name])
		if err != nil {
			return nil, err
		}
		f.Scale = 1
		if alpha != 0 {
			f.Scale = alpha / float64(f.Rank)
		}
		all = append(all, f)
	}
	return all, nil
}

// pair decodes the factors of a tensor of the model.
func (c *Checkpoint) pair(name string, p [2]Tensor) (Factors, error) {
	a, b := p[0], p[1]
	if a.format == nil || b.format == nil {
		return Factors{}, malformed("tensor %s has one factor of two", name)
	}
	module := strings.TrimSuffix(hfName(name), ".weight")
	base, ok := c.tensors[module+".weight"]
	if !ok || len(base.Shape) != 2 || !strings.HasPrefix(module, "model.layers.") {
		return Factors{}, malformed("tensor %s is no linear module of the model", name)
	}
	f := Factors{Module: module, Rows: base.Shape[0], Cols: base.Shape[1], Rank: a.Shape[0]}
	if f.Rank < 1 || f.Rank > min(f.Rows, f.Cols) || a.Shape[1] != f.Cols || b.Shape[0] != f.Rows || b.Shape[1] != f.Rank {
		return f, malformed("the factors of tensor %s have shapes %v and %v, the tensor %v", name, a.Shape, b.Shape, base.Shape)
	}
	for _, t := range p {
		if err := t.Check(); err != nil {
			return f, err
		}
	}
	b.pairs = base.pairs // rows of queries and keys lie as those of the model do
	f.A, f.B = make([]float32, f.Rank*f.Cols), make([]float32, f.Rows*f.Rank)
	a.DecodeRows(0, f.Rank, f.A)
	b.DecodeRows(0, f.Rows, f.B)
	return f, nil
}
