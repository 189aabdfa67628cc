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
const Operators = "rtn/1 gptq/2 int8/1 fp8/1"

// Method is a way to choose the integers.
type Method string

// Methods, as level names write them.
const (
	RTN  Method = "rtn"
	GPTQ Method = "gptq"
	INT8 Method = "int8" // the whole level name, as that of FP8
	FP8  Method = "fp8"
)

// Spec is a quantized level.
type Spec struct {
	method Method
	layout kernel.Layout
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
	return Spec{m, kernel.Layout{Bits: bits, Group: group, Symmetric: symmetric}}, nil
}

// maxGroup bounds the group size in level names; no model has rows as long.
const maxGroup = 1 << 20

// Parse reads a level name: a method, the bits and the group size, such as rtn-4b-g64, gptq-3b-g64-sym
// or rtn-8b-gall, whose group is the whole row; or int8 or fp8.
func Parse(level string) (Spec, error) {
	if m := Method(level); m == INT8 || m == FP8 {
		return Spec{m, layoutInt8}, nil
	}
	bad := func(what string) (Spec, error) {
		return Spec{}, fmt.Errorf("quant: level %q: %s; want one like gptq-3b-g64 or rtn-4b-gall-sym", level, what)
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
	if s.method == INT8 || s.method == FP8 {
		return string(s.method)
	}
	return fmt.Sprintf("%s-%v", s.method, s.layout)
}

// Method returns how the integers are chosen.
func (s Spec) Method() Method { return s.method }

// Layout returns bits, group and symmetry. That of fp8 is int8's, with other scales and codes.
func (s Spec) Layout() kernel.Layout { return s.layout }

// Bytes is the size of a rows x cols matrix at this level.
func (s Spec) Bytes(rows, cols int) int64 { return s.layout.Bytes(rows, cols) }

// NeedsHessian tells whether Build needs the factor of the module's Hessian.
func (s Spec) NeedsHessian() bool { return s.method == GPTQ }

// Build quantizes w (rows x cols, row-major), which it does not change. f is the factor of the module's
// Hessian; nil where [Spec.NeedsHessian] is false. It returns an error if a weight is not finite, a
// scale does not fit in binary16, or f is missing or of another width.
func (s Spec) Build(w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, error) {
	if rows <= 0 || cols <= 0 || len(w) != rows*cols {
		panic(fmt.Sprintf("quant: %d weights for a %d x %d matrix", len(w), rows, cols))
	}
	if err := obs.Finite(w, cols); err != nil {
		return nil, fmt.Errorf("quant: %v: %w", s, err)
	}
	if s.method == FP8 {
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
		return q.pack(s)
	}
	if f == nil {
		return nil, fmt.Errorf("quant: %v needs calibration", s)
	}
	if f.Cols() != cols {
		return nil, fmt.Errorf("quant: %v: the Hessian has %d columns, the weights have %d", s, f.Cols(), cols)
	}
	q.gptq(f)
	return q.pack(s)
}
