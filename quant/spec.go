package quant

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
)

// Operators names the methods of this package with the version of what they compute. A change of the
// weights that a method stores changes its version, so that banks of both are told apart.
const Operators = "rtn/1 gptq/2 ggml/2 int8/1 fp8/1"

// Method is a way to choose the integers.
type Method string

// Methods, as level names write them; ggml's types without a method are rounded by themselves.
const (
	RTN     Method = "rtn"
	GPTQ    Method = "gptq"
	Imatrix Method = "imatrix"
	INT8    Method = "int8" // the whole level name, as that of FP8
	FP8     Method = "fp8"
)

// Spec is a quantized level: groups of integers, or blocks of one of ggml's types.
type Spec struct {
	method Method
	layout kernel.Layout   // of groups
	ggml   kernel.GGMLType // 0: groups
}

// New returns a level of integers of 2 to 8 bits, with a scale for each group of columns (0: for each
// row) and, unless symmetric, a zero.
func New(m Method, bits, group int, symmetric bool) (Spec, error) {
	if m != RTN && m != GPTQ {
		return Spec{}, fmt.Errorf("quant: unknown method %q; want rtn or gptq", m)
	}
	if bits < 2 || bits > 8 {
		return Spec{}, fmt.Errorf("quant: %d bits; want 2 to 8", bits)
	}
	if group < 0 || group > maxGroup {
		return Spec{}, fmt.Errorf("quant: groups of %d columns; want 1 to %d, or all", group, maxGroup)
	}
	return Spec{method: m, layout: kernel.Layout{Bits: bits, Group: group, Symmetric: symmetric}}, nil
}

// NewGGML returns a level of one of ggml's types.
func NewGGML(m Method, t kernel.GGMLType) (Spec, error) {
	if m != RTN && m != GPTQ && m != Imatrix {
		return Spec{}, fmt.Errorf("quant: unknown method %q of a ggml type; want rtn, imatrix or gptq", m)
	}
	if !t.Known() {
		return Spec{}, fmt.Errorf("quant: unknown %v", t)
	}
	return Spec{method: m, ggml: t}, nil
}

// maxGroup bounds the group size in level names; no model has rows as long.
const maxGroup = 1 << 20

// Parse reads a level name: a method, the bits and the group size, such as rtn-4b-g64, gptq-3b-g64-sym
// or rtn-8b-gall, whose group is the whole row; int8 or fp8; or the name of a ggml type, by itself or after a method
// that is calibrated, such as q4_K, imatrix-q4_K or gptq-iq4_nl.
func Parse(level string) (Spec, error) {
	if s, ok := parseGGML(level); ok {
		return s, nil
	}
	if m := Method(level); m == INT8 || m == FP8 {
		return Spec{method: m, layout: layoutInt8}, nil
	}
	bad := func(what string) (Spec, error) {
		return Spec{}, fmt.Errorf("quant: level %q: %s; want one like gptq-3b-g64, rtn-4b-gall-sym or imatrix-q4_K", level, what)
	}
	parts := strings.Split(level, "-")
	symmetric := len(parts) == 4 && parts[3] == "sym"
	if len(parts) != 3 && !symmetric {
		return bad("not a method, bits and a group size")
	}
	digits, ok := strings.CutSuffix(parts[1], "b")
	bits, err := decimal(digits)
	if !ok || err != nil {
		return bad(fmt.Sprintf("%q is not a number of bits", parts[1]))
	}
	digits, ok = strings.CutPrefix(parts[2], "g")
	group := 0
	if digits != "all" {
		group, err = decimal(digits)
	}
	if !ok || err != nil || group == 0 && digits != "all" {
		return bad(fmt.Sprintf("%q is not a group size", parts[2]))
	}
	s, err := New(Method(parts[0]), bits, group, symmetric)
	if err != nil {
		return Spec{}, fmt.Errorf("%w (level %q)", err, level)
	}
	return s, nil
}

// parseGGML reads the name of a ggml type, by itself or after a method.
func parseGGML(level string) (Spec, bool) {
	s := Spec{method: RTN}
	name := level
	if m, rest, ok := strings.Cut(level, "-"); ok && (m == string(GPTQ) || m == string(Imatrix)) {
		s.method, name = Method(m), rest
	}
	var ok bool
	s.ggml, ok = kernel.ParseGGMLType(name)
	return s, ok
}

// decimal reads a number as level names write it: without sign and leading zeros.
func decimal(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err == nil && strconv.Itoa(n) != s {
		err = strconv.ErrSyntax
	}
	return n, err
}

// String returns the level name.
func (s Spec) String() string {
	switch {
	case s.method == INT8 || s.method == FP8:
		return string(s.method)
	case s.ggml == 0:
		return fmt.Sprintf("%s-%v", s.method, s.layout)
	case s.method == RTN:
		return s.ggml.String()
	}
	return fmt.Sprintf("%s-%v", s.method, s.ggml)
}

// Method returns how the integers are chosen.
func (s Spec) Method() Method { return s.method }

// Layout returns bits, group and symmetry; that of fp8 is int8's, with other scales and codes. ok is false of ggml's types.
func (s Spec) Layout() (l kernel.Layout, ok bool) { return s.layout, s.ggml == 0 }

// GGML returns the type of the blocks. ok is false of groups of integers.
func (s Spec) GGML() (t kernel.GGMLType, ok bool) { return s.ggml, s.ggml != 0 }

// Fits returns an error if a rows x cols matrix cannot have this level.
func (s Spec) Fits(rows, cols int) error {
	if s.ggml != 0 && cols%s.ggml.Block() != 0 {
		return fmt.Errorf("quant: %v needs rows of a multiple of %d weights, not %d", s, s.ggml.Block(), cols)
	}
	return nil
}

// Bytes is the size of a rows x cols matrix at this level. Of a shape that does not fit it is that of the whole blocks.
func (s Spec) Bytes(rows, cols int) int64 {
	if s.ggml != 0 {
		return s.ggml.Bytes(rows, cols)
	}
	return s.layout.Bytes(rows, cols)
}

// NeedsHessian tells whether Build needs the factor of the module's Hessian.
func (s Spec) NeedsHessian() bool { return s.method == GPTQ || s.method == Imatrix }

// Build quantizes w (rows x cols, row-major), which it does not change. f is the factor of the module's
// Hessian; nil where [Spec.NeedsHessian] is false. It returns an error if the shape does not fit, a
// weight is not finite, a scale does not fit in binary16, or f is missing or of another width.
func (s Spec) Build(w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, error) {
	if rows <= 0 || cols <= 0 || len(w) != rows*cols {
		panic(fmt.Sprintf("quant: %d weights for a %d x %d matrix", len(w), rows, cols))
	}
	if err := s.Fits(rows, cols); err != nil {
		return nil, err
	}
	if err := obs.Finite(w, cols); err != nil {
		return nil, fmt.Errorf("quant: %v: %w", s, err)
	}
	if s.NeedsHessian() && f == nil {
		return nil, fmt.Errorf("quant: %v needs calibration", s)
	}
	if s.NeedsHessian() && f.Cols() != cols {
		return nil, fmt.Errorf("quant: %v: the Hessian has %d columns, the weights have %d", s, f.Cols(), cols)
	}
	switch {
	case s.ggml != 0:
		return s.blocks(w, rows, cols, f)
	case s.method == FP8:
		p, err := buildFP8(w, rows, cols)
		if err != nil {
			return nil, fmt.Errorf("quant: %v: %w", s, err)
		}
		return p, nil
	}
	q := newQuantizer(s.layout, w, rows, cols)
	if s.method == INT8 {
		q.newGrid = int8Grid
	}
	if s.method != GPTQ {
		q.rtn()
	} else {
		q.gptq(f)
	}
	return q.pack(s)
}

// blocks builds the levels of ggml's types.
func (s Spec) blocks(w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, error) {
	q := &blocks{form: forms[s.ggml], rows: rows, cols: cols, size: s.ggml.Block(), data: make([]byte, s.ggml.Bytes(rows, cols))}
	switch s.method {
	case GPTQ:
		q.importance = conditional(f)
		q.gptq(f, w)
	case Imatrix:
		q.importance = meanSquares(f)
		q.plain(w)
	default:
		q.importance = equal(cols)
		q.plain(w)
	}
	if q.err != nil {
		return nil, fmt.Errorf("quant: %v: %w", s, q.err)
	}
	return kernel.NewGGML(s.ggml, rows, cols, q.data)
}
