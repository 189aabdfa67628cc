package evalworker

import (
	"fmt"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
	"github.com/paretopress/paretopress/prune"
	"github.com/paretopress/paretopress/quant"
	"github.com/paretopress/paretopress/search"
)

// The two levels that need no method: a unit as the model has it, and a unit that is not there.
const (
	LevelDense = search.LevelDense
	LevelDrop  = search.LevelDrop
)

// denseBytes is what a weight takes that is not compressed: 16 bits, whatever the file it came from
// spends on it.
const denseBytes = 2

// builder is what prune.Spec and quant.Spec have in common.
type builder interface {
	Bytes(rows, cols int) int64
	NeedsHessian() bool
	Build(w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, error)
}

// Level is a parsed level name: one way to store a unit.
type Level struct {
	Name  string      // canonical
	spec  builder     // nil for dense, drop and a width alone
	width prune.Width // of the MLP that the unit is or is part of; see wide
	wide  bool
}

// ParseLevel reads a level name: dense, drop, or what packages prune and quant know. A width may have another level of what is left
// joined to it, as in width-1024+q8_0.
func ParseLevel(name string) (Level, error) {
	method, rest, _ := strings.Cut(name, "-")
	if method == prune.MethodWidth {
		return parseWide(name)
	}
	_, ggml := kernel.ParseGGMLType(method)
	var spec interface {
		builder
		fmt.Stringer
	}
	var err error
	switch {
	case name == LevelDense || name == LevelDrop:
		return Level{Name: name}, nil
	case strings.Contains(name, "+"):
		return Level{}, fmt.Errorf("level %q: levels joined by + are not supported", name)
	case method == string(prune.Magnitude) || method == string(prune.SparseGPT) || method == string(prune.Wanda):
		spec, err = prune.Parse(name)
	case method == string(quant.RTN) || method == string(quant.GPTQ) || method == string(quant.Imatrix) || (ggml || method == string(quant.INT8) || method == string(quant.FP8)) && rest == "":
		spec, err = quant.Parse(name)
	default:
		return Level{}, fmt.Errorf("unknown level %q, want dense, drop, one like magnitude-0.50, wanda-0.50, sparsegpt-2:4, rtn-4b-g64, gptq-3b-g64, width-1024, "+
			"or a type of ggml, rounded by itself or as in imatrix-q4_K and gptq-q4_K: %s", name, ggmlNames())
	}
	if err != nil {
		return Level{}, err
	}
	return Level{Name: spec.String(), spec: spec}, nil
}

// ggmlNames lists ggml's types as levels name them.
func ggmlNames() string {
	var names []string
	for _, t := range kernel.GGMLTypes() {
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

// Fits returns an error if a rows x cols matrix cannot have the level.
func (l Level) Fits(rows, cols int) error {
	if spec, ok := l.spec.(interface{ Fits(rows, cols int) error }); ok {
		return spec.Fits(rows, cols)
	}
	return nil
}

func (l Level) dense() bool { return l.Name == LevelDense }
func (l Level) drop() bool  { return l.Name == LevelDrop }

// pruned reports whether the level stores some weights in 16 bits and no others.
func (l Level) pruned() bool {
	_, ok := l.spec.(prune.Spec)
	return ok
}

// Bytes is what the level of a matrix takes in store, scales and masks included.
func (l Level) Bytes(rows, cols int) int64 {
	switch {
	case l.spec != nil:
		return l.spec.Bytes(rows, cols)
	case l.drop():
		return 0
	}
	return denseBytes * int64(rows) * int64(cols)
}

// NeedsCalibration reports whether the level can only come from a bank. Every other one is made on the fly.
func (l Level) NeedsCalibration() bool { return l.spec != nil && l.spec.NeedsHessian() }

// bits is the number of bits of a level of groups of integers.
func (l Level) bits() (int, bool) {
	spec, ok := l.spec.(quant.Spec)
	if !ok {
		return 0, false
	}
	layout, ok := spec.Layout()
	return layout.Bits, ok
}

// ggml is the type of a level that is stored in blocks of ggml's.
func (l Level) ggml() (kernel.GGMLType, bool) {
	spec, ok := l.spec.(quant.Spec)
	if !ok {
		return 0, false
	}
	return spec.GGML()
}

// build makes the level of a module's weights; f is nil for a level that needs no calibration.
func (l Level) build(w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, error) {
	p, err := l.spec.Build(w, rows, cols, f)
	if err != nil {
		return nil, err
	}
	if got, want := p.Bytes(), l.Bytes(rows, cols); got != want {
		return nil, fmt.Errorf("evalworker: level %s of a %d x %d matrix takes %d bytes, was to take %d", l.Name, rows, cols, got, want)
	}
	return p, nil
}

// decode returns all of a module's weights as row-major float32.
func decode(w engine.Weights) (data []float32, rows, cols int) {
	rows, cols = w.Shape()
	data = make([]float32, rows*cols)
	w.DecodeRows(0, rows, data)
	return data, rows, cols
}
