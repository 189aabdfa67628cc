package quant

import "github.com/paretopress/paretopress/internal/kernel"

// form says what a search needs to know of a ggml type. A weight is worth scale·k + offset, where k is an integer or an entry of a table.
// Scale and offset are binary16 numbers of a block, or products of a binary16 number of a super-block and an integer of a sub-block.
type form struct {
	typ      kernel.GGMLType
	sub      int      // weights that share scale and offset
	low, top float64  // the range of k
	near     *nearest // finds entries of the table; nil for integers
	code0    int      // the code of k = 0, for integers: a code is k + code0
	affine   bool     // there is an offset; in super-blocks it is not positive

	// Of sub-blocks: the range of the integer scale and the largest integer offset.
	scaleLow, scaleTop, minTop int
	scale0                     int // the stored scale is this much larger
}

var forms = map[kernel.GGMLType]*form{
	kernel.Q4_0:  {sub: 32, low: -8, top: 7, code0: 8},
	kernel.Q4_1:  {sub: 32, top: 15, affine: true},
	kernel.Q5_0:  {sub: 32, low: -16, top: 15, code0: 16},
	kernel.Q5_1:  {sub: 32, top: 31, affine: true},
	kernel.Q8_0:  {sub: 32, low: -127, top: 127}, // -128 has no negative: runtimes that change signs do not expect it
	kernel.IQ4NL: {sub: 32, low: -127, top: 113, near: nearestIn(kernel.IQ4NLValues[:])},
	kernel.MXFP4: {sub: 32, low: -12, top: 12, near: nearestIn(kernel.MXFP4Values[:])},
	kernel.Q2K:   {sub: 16, top: 3, affine: true, scaleTop: 15, minTop: 15},
	kernel.Q3K:   {sub: 16, low: -4, top: 3, code0: 4, scaleLow: -32, scaleTop: 31, scale0: 32},
	kernel.Q4K:   {sub: 32, top: 15, affine: true, scaleTop: 63, minTop: 63},
	kernel.Q5K:   {sub: 32, top: 31, affine: true, scaleTop: 63, minTop: 63},
	kernel.Q6K:   {sub: 16, low: -32, top: 31, code0: 32, scaleLow: -128, scaleTop: 127},
}

func init() {
	for t, f := range forms {
		f.typ = t
	}
}

// super tells whether the type has super-blocks.
func (f *form) super() bool { return f.scaleTop > 0 }

// nearest finds the entry of a table of integers that is nearest to a number: halfway between two of them is a multiple of 1/2.
type nearest struct {
	value [512]float64 // of the entry nearest to numbers from i/2-128 up to (i+1)/2-128
	code  [512]uint8
}

func nearestIn(table []int8) *nearest {
	n := new(nearest)
	for i := range n.value {
		middle := float64(i)/2 - 128 + 0.25
		best := 0
		for c, v := range table {
			if d, now := middle-float64(v), middle-float64(table[best]); d*d < now*now {
				best = c
			}
		}
		n.value[i], n.code[i] = float64(table[best]), uint8(best)
	}
	return n
}

// index is the place of t, which lies in the range of the table.
func (n *nearest) index(t float64) int { return int(float64(t*2)+256) & 511 }

// shift makes integers of numbers below 2^51: a sum with it has no bits below the unit, and ties go to even.
const shift = 3 << 51

// k is what stands for t, a weight less the offset over the scale.
func (f *form) k(t float64) float64 {
	t = min(max(t, f.low), f.top)
	if f.near != nil {
		return f.near.value[f.near.index(t)]
	}
	return (t + shift) - shift
}

// code is the code of the same.
func (f *form) code(t float64) uint8 {
	t = min(max(t, f.low), f.top)
	if f.near != nil {
		return f.near.code[f.near.index(t)]
	}
	return uint8(int((t+shift)-shift) + f.code0)
}

// grade is the scale and the offset of weights, as the decoder multiplies and adds them.
type grade struct {
	scale, offset float32
	inverse       float64 // of the scale; 0 of 0
}

func newGrade(scale, offset float32) grade {
	g := grade{scale: scale, offset: offset}
	if scale != 0 {
		g.inverse = 1 / float64(scale)
	}
	return g
}

// place is where a weight lies on the scale.
func (g *grade) place(x float64) float64 { return float64((x - float64(g.offset)) * g.inverse) }

// value is what k decodes to.
func (g *grade) value(k float64) float32 {
	return float32(g.scale*float32(k)) + g.offset
}
