package prune

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
)

// Operators names the methods of this package with the version of what they compute. A change of the
// weights that a method stores changes its version, so that banks of both are told apart.
const Operators = "magnitude/1 sparsegpt/2 wanda/1"

// Method is a way to choose the weights that are removed.
type Method string

// Methods, as level names write them.
const (
	Magnitude Method = "magnitude"
	SparseGPT Method = "sparsegpt"
	Wanda     Method = "wanda"
)

// one is a sparsity of 1 in millionths, the resolution of level names.
const one = 1_000_000

// Spec is a sparse level: a share of the weights that is removed, or a pattern of which some of every few are left.
type Spec struct {
	method     Method
	millionths int
	keep, of   int // of a pattern; 0: none
}

// New returns the level that removes millionths/1e6 of the weights, 0 to 1e6.
func New(m Method, millionths int) (Spec, error) {
	if err := m.check(); err != nil {
		return Spec{}, err
	}
	if millionths < 0 || millionths > one {
		return Spec{}, fmt.Errorf("prune: sparsity %v is not between 0 and 1", float64(millionths)/one)
	}
	return Spec{method: m, millionths: millionths}, nil
}

// NewPattern returns the level that leaves keep of every of consecutive weights of a row, 1 to of-1 of 2, 4, 8, 16 or 32.
func NewPattern(m Method, keep, of int) (Spec, error) {
	if err := m.check(); err != nil {
		return Spec{}, err
	}
	if !slices.Contains([]int{2, 4, 8, 16, 32}, of) || keep < 1 || keep >= of {
		return Spec{}, fmt.Errorf("prune: pattern %d:%d; want some of every 2, 4, 8, 16 or 32, such as 2:4", keep, of)
	}
	return Spec{method: m, millionths: one / of * (of - keep), keep: keep, of: of}, nil
}

func (m Method) check() error {
	if m != Magnitude && m != SparseGPT && m != Wanda {
		return fmt.Errorf("prune: unknown method %q; want magnitude, wanda or sparsegpt", m)
	}
	return nil
}

// Parse reads a level name: a method, "-" and a sparsity from 0 to 1 with up to 6 decimals, such as
// magnitude-0.50 or sparsegpt-0.4271, or a pattern, such as sparsegpt-2:4.
func Parse(level string) (Spec, error) {
	method, sparsity, ok := strings.Cut(level, "-")
	if !ok {
		return Spec{}, fmt.Errorf("prune: level %q has no sparsity; want one like sparsegpt-0.50", level)
	}
	if keep, of, ok := strings.Cut(sparsity, ":"); ok {
		n, err := strconv.Atoi(keep)
		m, err2 := strconv.Atoi(of)
		if err != nil || err2 != nil || strconv.Itoa(n) != keep || strconv.Itoa(m) != of {
			return Spec{}, fmt.Errorf("prune: level %q: %q is no pattern such as 2:4", level, sparsity)
		}
		s, err := NewPattern(Method(method), n, m)
		if err != nil {
			return Spec{}, fmt.Errorf("%w (level %q)", err, level)
		}
		return s, nil
	}
	whole, decimals, point := strings.Cut(sparsity, ".")
	if len(whole) != 1 || point && (len(decimals) < 1 || len(decimals) > 6) {
		return Spec{}, fmt.Errorf("prune: level %q: sparsity %q is not a number from 0 to 1 with up to 6 decimals", level, sparsity)
	}
	digits := whole + decimals + strings.Repeat("0", 6-len(decimals))
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n > one {
		return Spec{}, fmt.Errorf("prune: level %q: sparsity %q is not a number from 0 to 1 with up to 6 decimals", level, sparsity)
	}
	s, err := New(Method(method), int(n))
	if err != nil {
		return Spec{}, fmt.Errorf("%w (level %q)", err, level)
	}
	return s, nil
}

// String returns the level name: of a sparsity with at least 2 decimals and no more than needed.
func (s Spec) String() string {
	if s.of > 0 {
		return fmt.Sprintf("%s-%d:%d", s.method, s.keep, s.of)
	}
	digits := fmt.Sprintf("%07d", s.millionths)
	decimals := strings.TrimRight(digits[3:], "0")
	return fmt.Sprintf("%s-%s.%s%s", s.method, digits[:1], digits[1:3], decimals)
}

// Pattern returns how many of how many consecutive weights are left. ok is false of a level without a pattern.
func (s Spec) Pattern() (keep, of int, ok bool) { return s.keep, s.of, s.of > 0 }

// Fits returns an error if a rows x cols matrix cannot have this level.
func (s Spec) Fits(_, cols int) error {
	if s.of > 0 && cols%s.of != 0 {
		return fmt.Errorf("prune: %v needs rows of a multiple of %d weights, not %d", s, s.of, cols)
	}
	return nil
}

// Method returns how the weights that are removed are chosen.
func (s Spec) Method() Method { return s.method }

// Sparsity is the share of the weights that is removed, 0 to 1.
func (s Spec) Sparsity() float64 { return float64(s.millionths) / one }

// Zeros is the number of weights that are removed of n: the nearest to Sparsity()·n, halves up; with a pattern n is a multiple of it.
func (s Spec) Zeros(n int) int {
	if s.of > 0 {
		return n / s.of * (s.of - s.keep)
	}
	// n = a·1e6 + b keeps the products below 2^63 for every n, whatever the size of an int.
	all, part := int64(n), int64(s.millionths)
	return int(all/one*part + (all%one*part+one/2)/one)
}

// Bytes is the size of a rows x cols matrix at this level.
func (s Spec) Bytes(rows, cols int) int64 {
	return kernel.BitmaskBytes(rows, cols, int64(rows*cols-s.Zeros(rows*cols)))
}

// NeedsHessian tells whether Build needs the factor of the module's Hessian.
func (s Spec) NeedsHessian() bool { return s.method != Magnitude }

// Build prunes w (rows x cols, row-major), which it does not change. f is the factor of the module's
// Hessian; nil where [Spec.NeedsHessian] is false. It returns an error if a weight is not finite or
// f is missing or of another width.
//
// Weights are stored as binary16 numbers, or as bfloat16 where one is too large for that.
func (s Spec) Build(w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, error) {
	if rows <= 0 || cols <= 0 || len(w) != rows*cols {
		panic(fmt.Sprintf("prune: %d weights for a %d x %d matrix", len(w), rows, cols))
	}
	if err := s.Fits(rows, cols); err != nil {
		return nil, err
	}
	if err := obs.Finite(w, cols); err != nil {
		return nil, fmt.Errorf("prune: %v: %w", s, err)
	}
	if s.method == Magnitude {
		return s.magnitude(w, rows, cols)
	}
	if f == nil {
		return nil, fmt.Errorf("prune: %v needs calibration", s)
	}
	if f.Cols() != cols {
		return nil, fmt.Errorf("prune: %v: the Hessian has %d columns, the weights have %d", s, f.Cols(), cols)
	}
	if s.method == Wanda {
		return s.wanda(w, rows, cols, f)
	}
	return s.sparseGPT(w, rows, cols, f)
}
