package main

import "github.com/mmcloughlin/avo/reg"

// vector generates the functions on vectors: elementwise ones and reductions.
func vector(g *gen) {
	g.writeConstants()
	for _, i := range []isa{avx512, avx2} {
		g.elementwise(i)
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
