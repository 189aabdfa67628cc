package quant

import (
	"math"

	"github.com/paretopress/paretopress/internal/kernel"
)

// block is what is chosen for a block before its codes.
type block struct {
	scale, offset uint16    // binary16 bits of d, and of m or dmin; in MXFP4 scale is the exponent
	scales, mins  [16]int   // of the sub-blocks of a super-block
	grades        [16]grade // of the sub-blocks, or of the block
}

// settle is the number of times that rounding and fit are repeated at most. Each lowers the error; few are needed.
const settle = 8

// extent is the range of weights.
func extent(x []float64) (low, high float64) {
	low, high = x[0], x[0]
	for _, w := range x {
		low, high = min(low, w), max(high, w)
	}
	return low, high
}

// linear searches for the scale with the least error: it tries a grid of scales, takes for each the best that leaves the rounding as it is, and
// repeats that with the best of all. The grid is of places for the largest weight: quarters of a step around the last integer, and then up to
// where many weights are cut off. The scale can be negative, since the range of integers is not the same on both sides.
func (f *form) linear(x, v []float64) float64 {
	low, high := extent(x)
	size := max(-low, high)
	if size == 0 {
		return 0
	}
	best, scale := 0.0, 0.0
	consider := func(s *fit) bool {
		a, gain := s.linear()
		if !(gain > best) {
			return false
		}
		best, scale = gain, a
		return true
	}
	last := max(-f.low, f.top)
	tries := f.tries(x, v, func(s *fit) { consider(s) })
	both := func(place float64) {
		tries.add(place/size, 0)
		if f.low != -f.top {
			tries.add(-place/size, 0)
		}
	}
	for i := range 8 {
		both(last + float64(float64(i-3)*0.25))
	}
	for i := range 22 {
		both(last + 1 + float64(float64(i+1)*0.05)*last)
	}
	tries.end()
	s := newFit(x, v)
	for range settle {
		if scale == 0 {
			break
		}
		if s.round(f, x, v, 1/scale, 0); !consider(&s) {
			break
		}
	}
	return scale
}

// cuts is the number of places for each end of the range that affine tries.
const cuts = 7

// affineRange searches for the scale and the offset with the least error, as linear does, by a grid of ranges that reach beyond the weights or
// cut them off at either end.
func (f *form) affineRange(x, v []float64) (scale, offset float64) {
	low, high := extent(x)
	if f.super() {
		low = min(low, 0)
	}
	size := high - low
	if size == 0 {
		return 0, low
	}
	best := math.Inf(-1)
	consider := func(s *fit) bool {
		a, b, gain := s.affine(f.super())
		if !(gain > best) {
			return false
		}
		best, scale, offset = gain, a, b
		return true
	}
	tries := f.tries(x, v, func(s *fit) { consider(s) })
	tries.add((f.top-1)/size, low) // weights that lie on a grid of half as many steps are exact
	cut := size / (2*f.top + 4)
	for i := range cuts {
		from := low + float64(float64(i-1)*cut)
		for j := range cuts {
			to := high - float64(float64(j-1)*cut)
			if to > from {
				tries.add(f.top/(to-from), from)
			}
		}
	}
	tries.end()
	s := newFit(x, v)
	for range settle {
		if scale == 0 {
			break
		}
		if s.round(f, x, v, 1/scale, offset); !consider(&s) {
			break
		}
	}
	return scale, offset
}

// halves calls f with the binary16 numbers next to x, nearest first: the best number for the rounding at hand need not be the nearest.
func halves(x float64, f func(bits uint16, value float32)) {
	bits := kernel.EncodeF16(float32(x))
	for _, d := range [3]int{0, -1, 1} {
		if size := int(bits&0x7fff) + d; size >= 0 && size < 0x7c00 {
			b := bits&0x8000 | uint16(size)
			f(b, kernel.DecodeF16(b))
		}
	}
}

// choose sets the numbers of a block for weights x of importances v, both positive and as many as the block has. ok is false if no binary16
// number is large enough.
func (f *form) choose(b *block, x, v []float64) (ok bool) {
	switch {
	case f.typ == kernel.MXFP4:
		return f.chooseExponent(b, x, v)
	case f.super():
		return f.chooseSuper(b, x, v)
	case f.affine:
		return f.chooseAffine(b, x, v)
	}
	t := f.errs()
	var found [3]uint16
	halves(f.linear(x, v), func(bits uint16, scale float32) {
		found[t.n] = bits
		t.grade(newGrade(scale, 0))
	})
	best := math.Inf(1)
	for i, e := range t.of(x, v) {
		if e < best {
			best, b.scale, b.grades[0] = e, found[i], newGrade(kernel.DecodeF16(found[i]), 0)
		}
	}
	return !math.IsInf(best, 1)
}

func (f *form) chooseAffine(b *block, x, v []float64) bool {
	s := newFit(x, v)
	best := math.Inf(1)
	scale, offset := f.affineRange(x, v)
	halves(scale, func(sb uint16, scale float32) {
		// What the rounding of the scale changed, the offset makes up for.
		from := offset
		if scale != 0 {
			s.round(f, x, v, 1/float64(scale), offset)
			from = (s.vx - float64(float64(scale)*s.vk)) / s.v
		}
		t := f.errs()
		var found [3]uint16
		halves(from, func(ob uint16, offset float32) {
			found[t.n] = ob
			t.grade(newGrade(scale, offset))
		})
		for i, e := range t.of(x, v) {
			if e < best {
				best, b.scale, b.offset, b.grades[0] = e, sb, found[i], newGrade(scale, kernel.DecodeF16(found[i]))
			}
		}
	})
	return !math.IsInf(best, 1)
}

// maxExponent is the largest of MXFP4 with which no weight is infinite.
const maxExponent = 252

// chooseExponent tries the powers of two with which the largest weight lies between the second and the last number of E2M1, and beyond it.
func (f *form) chooseExponent(b *block, x, v []float64) bool {
	low, high := extent(x)
	_, exponent := math.Frexp(max(-low, high) / f.top) // in (-1022, 1024]
	t := f.errs()
	var found [width8]uint8
	for e := exponent + 128 + 1; e >= exponent+128-3; e-- {
		if e <= maxExponent {
			found[t.n] = uint8(max(e, 0))
			t.grade(newGrade(kernel.HalfE8M0(found[t.n]), 0))
		}
	}
	best := math.Inf(1)
	for i, e := range t.of(x, v) {
		if e < best {
			best, b.scale, b.grades[0] = e, uint16(found[i]), newGrade(kernel.HalfE8M0(found[i]), 0)
		}
	}
	return !math.IsInf(best, 1)
}
