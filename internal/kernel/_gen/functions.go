package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vector generates the functions on vectors: elementwise ones and reductions.
func vector(g *gen) {
	g.writeConstants()
	for _, i := range []isa{avx512, avx2} {
		g.elementwise(i)
		g.gradients(i)
		g.reductions(i)
	}
}

func (g *gen) elementwise(i isa) {
	g.function(i, "exp", "func(dst, x *float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	dst[i] = exp32(x[i])`)
	dst, x := g.argument("dst"), g.argument("x")
	g.useExp()
	g.loop([]reg.GPVirtual{dst, x}, func() {
		g.store(g.exp(g.load(x)), dst)
	})
	g.end()

	g.function(i, "siluMul", "func(dst, gate, up *float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	dst[i] = float32(gate[i]/(1+exp32(-gate[i]))) * up[i]`)
	dst, gate, up := g.argument("dst"), g.argument("gate"), g.argument("up")
	g.useExp()
	g.loop([]reg.GPVirtual{dst, gate, up}, func() {
		zero := g.vec()
		g.each(func(i int) { g.zero(zero[i]) })
		v := g.load(gate)
		e := g.exp(g.sub(zero, v))
		g.store(g.mul(g.div(v, g.add(g.constant("one"), e)), g.load(up)), dst)
	})
	g.end()

	g.function(i, "add", "func(dst, x *float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	dst[i] += x[i]`)
	dst, x = g.argument("dst"), g.argument("x")
	g.loop([]reg.GPVirtual{dst, x}, func() {
		g.store(g.add(g.load(dst), g.load(x)), dst)
	})
	g.end()

	g.function(i, "scale", "func(x *float32, s float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	x[i] *= s`)
	x = g.argument("x")
	s := g.splat("s")
	g.loop([]reg.GPVirtual{x}, func() {
		g.store(g.mul(g.load(x), s), x)
	})
	g.end()

	g.function(i, "scaleMul", "func(dst, x, weight *float32, r float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	dst[i] = weight[i] * float32(x[i]*r)`)
	dst, x, weight := g.argument("dst"), g.argument("x"), g.argument("weight")
	r := g.splat("r")
	g.loop([]reg.GPVirtual{dst, x, weight}, func() {
		g.store(g.mul(g.load(weight), g.mul(g.load(x), r)), dst)
	})
	g.end()

	g.function(i, "addScaled", "func(dst, x *float32, s float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	dst[i] = fma32(x[i], s, dst[i])`)
	dst, x = g.argument("dst"), g.argument("x")
	s = g.splat("s")
	g.loop([]reg.GPVirtual{dst, x}, func() {
		d := g.load(dst)
		g.fmaTo(d, g.load(x), s)
		g.store(d, dst)
	})
	g.end()

	g.function(i, "rope", "func(lo, hi, cos, sin *float32, blocks int)", `computes, for 16·blocks pairs, blocks >= 1,

	lo[i], hi[i] = float32(lo[i]*cos[i])-float32(hi[i]*sin[i]), float32(hi[i]*cos[i])+float32(lo[i]*sin[i])`)
	lo, hi, cos, sin := g.argument("lo"), g.argument("hi"), g.argument("cos"), g.argument("sin")
	g.loop([]reg.GPVirtual{lo, hi, cos, sin}, func() {
		a, b, c, s := g.load(lo), g.load(hi), g.load(cos), g.load(sin)
		g.store(g.sub(g.mul(a, c), g.mul(b, s)), lo)
		g.store(g.add(g.mul(b, c), g.mul(a, s)), hi)
	})
	g.end()
}

// gradients generates what only backward passes need.
func (g *gen) gradients(i isa) {
	g.function(i, "siluMulGrad", "func(grad, gate, up *float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	d, s := grad[i], 1/(1+exp32(-gate[i]))
	a := float32(gate[i]*s)
	grad[i], gate[i], up[i] = float32(a*up[i]), float32(float32(d*up[i])*fma32(a, 1-s, s)), float32(d*a)`)
	grad, gate, up := g.argument("grad"), g.argument("gate"), g.argument("up")
	g.useExp()
	g.loop([]reg.GPVirtual{grad, gate, up}, func() {
		zero := g.vec()
		g.each(func(i int) { g.zero(zero[i]) })
		v := g.load(gate)
		s := g.div(g.constant("one"), g.add(g.constant("one"), g.exp(g.sub(zero, v))))
		a := g.mul(v, s)
		slope := g.vec()
		g.each(func(i int) { g.VMOVUPS(s[i], slope[i]) })
		g.fmaTo(slope, a, g.sub(g.constant("one"), s))
		d, u := g.load(grad), g.load(up)
		g.store(g.mul(a, u), grad)
		g.store(g.mul(g.mul(d, u), slope), gate)
		g.store(g.mul(d, a), up)
	})
	g.end()

	g.function(i, "softmaxGrad", "func(grad, p *float32, mean float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	grad[i] = p[i] * (grad[i]-mean)`)
	grad, p := g.argument("grad"), g.argument("p")
	mean := g.splat("mean")
	g.loop([]reg.GPVirtual{grad, p}, func() {
		g.store(g.mul(g.load(p), g.sub(g.load(grad), mean)), grad)
	})
	g.end()

	g.function(i, "normGrad", "func(dst, grad, x, weight *float32, r, k float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	dst[i] += float32(float32(grad[i]*weight[i])*r) - float32(x[i]*k)
	grad[i] *= float32(x[i]*r)`)
	dst, grad, x, weight := g.argument("dst"), g.argument("grad"), g.argument("x"), g.argument("weight")
	r, k := g.splat("r"), g.splat("k")
	g.loop([]reg.GPVirtual{dst, grad, x, weight}, func() {
		d, v := g.load(grad), g.load(x)
		g.store(g.add(g.load(dst), g.sub(g.mul(g.mul(d, g.load(weight)), r), g.mul(v, k))), dst)
		g.store(g.mul(d, g.mul(v, r)), grad)
	})
	g.end()

	g.dotRows(i)
}

// dotRows generates products of a vector with rows of a matrix, four at a time.
func (g *gen) dotRows(i isa) {
	g.function(i, "dotRows", "func(dst, x, matrix *float32, ld int, rows *int32, fours, blocks int)", `adds to 4·fours elements of dst the products of 16·blocks elements of x
and rows of a matrix, which start ld bytes apart; fours and blocks >= 1.

	for j, row := range rows {
		var acc [16]float32
		for i := range 16 * blocks {
			acc[i%16] = fma32(x[i], matrix[row*ld/4+i], acc[i%16])
		}
		dst[j] += foldSum(acc)
	}`)
	dst, x, matrix, ld := g.argument("dst"), g.argument("x"), g.argument("matrix"), g.argument("ld")
	rows, fours := g.argument("rows"), g.argument("fours")
	g.Label("four")
	from := g.GP64()
	g.MOVQ(x, from)
	ys, sums := make([]reg.GPVirtual, 4), make([]vec, 4)
	for j := range ys {
		ys[j], sums[j] = g.GP64(), g.vec()
		g.MOVLQSX(at(rows, 4*j), ys[j])
		g.IMULQ(ld, ys[j])
		g.ADDQ(matrix, ys[j])
		g.each(func(i int) { g.zero(sums[j][i]) })
	}
	g.loop(append(ys, from), func() {
		v := g.load(from)
		for j, y := range ys {
			g.each(func(i int) { g.VFMADD231PS(at(y, i*g.bytes), v[i], sums[j][i]) })
		}
	})

	var halves [4]reg.VecVirtual
	for j, s := range sums {
		eight, high := g.YMM(), g.XMM()
		if i == avx512 {
			g.VEXTRACTF64X4(operand.U8(1), s[0], eight)
			g.VADDPS(eight, s[0].AsY(), eight)
		} else {
			g.VADDPS(s[1], s[0], eight)
		}
		g.VEXTRACTF128(operand.U8(1), eight, high)
		halves[j] = g.XMM()
		g.VADDPS(high, eight.AsX(), halves[j])
	}
	pair := func(a, b reg.VecVirtual) reg.VecVirtual { // a0+a2, b0+b2, a1+a3, b1+b3
		low, high := g.XMM(), g.XMM()
		g.VUNPCKLPS(b, a, low)
		g.VUNPCKHPS(b, a, high)
		g.VADDPS(high, low, low)
		return low
	}
	low, high := pair(halves[0], halves[1]), pair(halves[2], halves[3])
	even, odd := g.XMM(), g.XMM()
	g.VMOVLHPS(high, low, even)
	g.VMOVHLPS(low, high, odd)
	g.VADDPS(odd, even, even)
	g.VADDPS(at(dst, 0), even, even)
	g.VMOVUPS(even, at(dst, 0))
	g.ADDQ(operand.I8(16), dst)
	g.ADDQ(operand.I8(16), rows)
	g.DECQ(fours)
	g.JNZ(operand.LabelRef("four"))
	g.end()
}

func (g *gen) reductions(i isa) {
	// Lanes wait in memory: acc is read before the loop and written after it.
	reduce := func(pointers []reg.GPVirtual, body func(acc vec)) {
		p := g.argument("acc")
		acc := g.load(p)
		g.loop(pointers, func() { body(acc) })
		g.store(acc, p)
		g.end()
	}

	g.function(i, "sumSquares", "func(acc *[16]float32, x *float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	acc[i%16] = fma32(x[i], x[i], acc[i%16])`)
	x := g.argument("x")
	reduce([]reg.GPVirtual{x}, func(acc vec) {
		v := g.load(x)
		g.fmaTo(acc, v, v)
	})

	g.function(i, "dot", "func(acc *[16]float32, x, y *float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	acc[i%16] = fma32(x[i], y[i], acc[i%16])`)
	x, y := g.argument("x"), g.argument("y")
	reduce([]reg.GPVirtual{x, y}, func(acc vec) { g.fmaTo(acc, g.load(x), g.load(y)) })

	g.function(i, "dotMul", "func(acc *[16]float32, x, y, weight *float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	acc[i%16] = fma32(float32(x[i]*weight[i]), y[i], acc[i%16])`)
	x, y = g.argument("x"), g.argument("y")
	weight := g.argument("weight")
	reduce([]reg.GPVirtual{x, y, weight}, func(acc vec) { g.fmaTo(acc, g.mul(g.load(x), g.load(weight)), g.load(y)) })

	g.function(i, "max", "func(acc *[16]float32, x *float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	if x[i] > acc[i%16] {
		acc[i%16] = x[i]
	}`)
	x = g.argument("x")
	reduce([]reg.GPVirtual{x}, func(acc vec) {
		v := g.load(x)
		g.each(func(i int) { g.VMAXPS(acc[i], v[i], acc[i]) })
	})

	g.function(i, "sumExp", "func(acc *[16]float32, x *float32, shift float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	acc[i%16] += exp32(x[i] - shift)`)
	x = g.argument("x")
	shift := g.splat("shift")
	g.useExp()
	reduce([]reg.GPVirtual{x}, func(acc vec) {
		e := g.exp(g.sub(g.load(x), shift))
		g.each(func(i int) { g.VADDPS(e[i], acc[i], acc[i]) })
	})

	g.function(i, "expSum", "func(acc *[16]float32, x *float32, shift float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	x[i] = exp32(x[i] - shift)
	acc[i%16] += x[i]`)
	x = g.argument("x")
	shift = g.splat("shift")
	g.useExp()
	reduce([]reg.GPVirtual{x}, func(acc vec) {
		e := g.exp(g.sub(g.load(x), shift))
		g.store(e, x)
		g.each(func(i int) { g.VADDPS(e[i], acc[i], acc[i]) })
	})

	g.function(i, "klSum", "func(acc *[16]float32, student, teacher *float32, lse float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	acc[i%16] = fma32(exp32(teacher[i]-lse), teacher[i]-student[i], acc[i%16])`)
	student, teacher := g.argument("student"), g.argument("teacher")
	lse := g.splat("lse")
	g.useExp()
	reduce([]reg.GPVirtual{student, teacher}, func(acc vec) {
		p := g.exp(g.sub(g.load(teacher), lse))
		g.fmaTo(acc, p, g.sub(g.load(teacher), g.load(student)))
	})
}

// end leaves the function.
func (g *gen) end() {
	g.VZEROUPPER()
	g.RET()
}
