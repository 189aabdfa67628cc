package kernel

import (
	"fmt"
	"unsafe"
)

// lanes is the width of a block: what elementwise kernels work on, and the number of chains of a reduction.
const lanes = 16

// callBlocks bounds the blocks of one assembly call. The scheduler cannot interrupt assembly, so calls stay below ~20 µs.
const callBlocks = 1024

type block = [lanes]float32

// Exp writes e^x of each element: relative error below 1e-7 where the result is normal, 0 for -Inf and whatever underflows, +Inf
// where it overflows, NaN for NaN. dst and x have the same length and may be the same slice.
func Exp(dst, x []float32) {
	n := sameLength("Exp", len(dst), len(x))
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		expBlocks(v, &dst[i], &x[i], min(callBlocks, (whole-i)/lanes))
	}
	if whole < n {
		var t block
		copy(t[:], x[whole:])
		expBlocks(v, &t[0], &t[0], 1)
		copy(dst[whole:], t[:])
	}
}

// SiLUMul writes gate/(1+e^-gate) · up, the gated activation of a Llama MLP. All have the same length; dst may be gate or up.
func SiLUMul(dst, gate, up []float32) {
	n := sameLength("SiLUMul", len(dst), len(gate), len(up))
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		siluMulBlocks(v, &dst[i], &gate[i], &up[i], min(callBlocks, (whole-i)/lanes))
	}
	if whole < n {
		var a, b block
		copy(a[:], gate[whole:])
		copy(b[:], up[whole:])
		siluMulBlocks(v, &a[0], &a[0], &b[0], 1)
		copy(dst[whole:], a[:])
	}
}

// Add adds x to dst.
func Add(dst, x []float32) {
	n := sameLength("Add", len(dst), len(x))
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		addBlocks(v, &dst[i], &x[i], min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < n; i++ {
		dst[i] += x[i]
	}
}

// Scale multiplies x by s.
func Scale(x []float32, s float32) {
	v := current()
	whole := len(x) &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		scaleBlocks(v, &x[i], s, min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < len(x); i++ {
		x[i] *= s
	}
}

// Rope rotates one head vector in place by its position: Hugging Face's half-split layout, where x[i] and x[i+h] form a pair, h = len(x)/2.
// cos and sin hold the h angles' values (of the 2h of Hugging Face the second half repeats the first). Products round before they are added, as there:
//
//	x[i], x[i+h] = x[i]·cos[i] - x[i+h]·sin[i], x[i+h]·cos[i] + x[i]·sin[i]
func Rope(x, cos, sin []float32) {
	h := sameLength("Rope", len(cos), len(sin))
	if len(x) != 2*h {
		panic(fmt.Sprintf("kernel: Rope: a vector of %d and %d angles", len(x), h))
	}
	whole := h &^ (lanes - 1)
	if whole > 0 {
		ropeBlocks(current(), &x[0], &x[h], &cos[0], &sin[0], whole/lanes)
	}
	ropeGo(x[whole:h], x[h+whole:], cos[whole:], sin[whole:])
}

func expGo(dst, x *float32, blocks int) {
	d, s := unsafe.Slice(dst, blocks*lanes), unsafe.Slice(x, blocks*lanes)
	for i, v := range s {
		d[i] = exp32(v)
	}
}

func siluMulGo(dst, gate, up *float32, blocks int) {
	d, g, u := unsafe.Slice(dst, blocks*lanes), unsafe.Slice(gate, blocks*lanes), unsafe.Slice(up, blocks*lanes)
	for i, v := range g {
		d[i] = float32(v/(1+exp32(-v))) * u[i]
	}
}

func addGo(dst, x *float32, blocks int) {
	d, s := unsafe.Slice(dst, blocks*lanes), unsafe.Slice(x, blocks*lanes)
	for i, v := range s {
		d[i] += v
	}
}

func scaleGo(x *float32, s float32, blocks int) {
	d := unsafe.Slice(x, blocks*lanes)
	for i := range d {
		d[i] *= s
	}
}

func ropeGo(lo, hi, cos, sin []float32) {
	for i, a := range lo {
		b := hi[i]
		lo[i] = float32(a*cos[i]) - float32(b*sin[i])
		hi[i] = float32(b*cos[i]) + float32(a*sin[i])
	}
}

func ropeBlocksGo(lo, hi, cos, sin *float32, blocks int) {
	n := blocks * lanes
	ropeGo(unsafe.Slice(lo, n), unsafe.Slice(hi, n), unsafe.Slice(cos, n), unsafe.Slice(sin, n))
}

// sameLength panics unless all lengths agree, and returns the length.
func sameLength(name string, n int, others ...int) int {
	for _, m := range others {
		if m != n {
			panic(fmt.Sprintf("kernel: %s: lengths %d and %d differ", name, n, m))
		}
	}
	return n
}
