package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// pack generates transpositions.
func pack(g *gen) {
	g.pack8()
	g.transpose16()
}

// quadruple transposes 4 rows of 4 columns in each 128 bits of registers: row c of the result has column c of the four.
func (g *gen) quadruple(x []reg.VecVirtual) (y [4]reg.VecVirtual) {
	low01, high01 := g.both(g.VUNPCKLPS, g.VUNPCKHPS, x[0], x[1])
	low23, high23 := g.both(g.VUNPCKLPS, g.VUNPCKHPS, x[2], x[3])
	y[0], y[1] = g.both(g.VUNPCKLPD, g.VUNPCKHPD, low01, low23)
	y[2], y[3] = g.both(g.VUNPCKLPD, g.VUNPCKHPD, high01, high23)
	return y
}

// both returns the results of two instructions on the same registers.
func (g *gen) both(low, high func(...operand.Op), a, b reg.VecVirtual) (l, h reg.VecVirtual) {
	l, h = g.register(), g.register()
	low(b, a, l)
	high(b, a, h)
	return l, h
}

// pack8 generates the transposition of 8 rows into a panel, 8 columns a step. AVX2 is enough: it is bound by memory.
func (g *gen) pack8() {
	g.function(avx2, "pack8", "func(dst, src *float32, ld, steps int)", `packs 8·steps columns of 8 rows that start ld bytes apart into 8 columns of a panel, steps >= 1.

	for k := range 8 * steps {
		for i := range 8 {
			dst[k*32+i] = src[i][k]
		}
	}`)
	dst, src, ld, steps := g.argument("dst"), g.argument("src"), g.argument("ld"), g.argument("steps")
	ld3, src4 := g.GP64(), g.GP64()
	g.LEAQ(operand.Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	g.LEAQ(operand.Mem{Base: src, Index: ld, Scale: 4}, src4)

	g.Label("loop")
	x := make([]reg.VecVirtual, 8)
	for i := range x {
		x[i] = g.register()
	}
	for i, p := range []reg.GPVirtual{src, src4} {
		g.VMOVUPS(operand.Mem{Base: p}, x[4*i])
		g.VMOVUPS(operand.Mem{Base: p, Index: ld, Scale: 1}, x[4*i+1])
		g.VMOVUPS(operand.Mem{Base: p, Index: ld, Scale: 2}, x[4*i+2])
		g.VMOVUPS(operand.Mem{Base: p, Index: ld3, Scale: 1}, x[4*i+3])
	}
	// Column c of rows 0 … 3 or 4 … 7 is in the lower half of register c, and column c+4 in its upper half.
	first, second := g.quadruple(x[:4]), g.quadruple(x[4:])
	for c := range 4 {
		lower, upper := g.register(), g.register()
		g.VPERM2F128(operand.U8(0x20), second[c], first[c], lower)
		g.VPERM2F128(operand.U8(0x31), second[c], first[c], upper)
		g.VMOVUPS(lower, at(dst, c*panelBytes))
		g.VMOVUPS(upper, at(dst, (c+4)*panelBytes))
	}
	g.ADDQ(operand.I32(8*panelBytes), dst)
	g.ADDQ(operand.I8(32), src)
	g.ADDQ(operand.I8(32), src4)
	g.DECQ(steps)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

// transpose16 generates the transposition of 16 rows, 16 columns a step, without memory in between: a row of the result has a cache line of its own.
func (g *gen) transpose16() {
	g.function(avx512, "transpose16", "func(dst *float32, ldd int, src *float32, lds, steps int)", `transposes 16 rows of 16·steps columns, steps >= 1. Strides are in bytes.

	for i := range 16 {
		for k := range 16 * steps {
			dst[k][i] = src[i][k]
		}
	}`)
	dst, ldd, src, lds, steps := g.argument("dst"), g.argument("ldd"), g.argument("src"), g.argument("lds"), g.argument("steps")
	from := g.GP64()
	g.Label("loop")
	x := make([]reg.VecVirtual, 16)
	g.MOVQ(src, from)
	for i := range x {
		x[i] = g.register()
		g.VMOVUPS(at(from, 0), x[i])
		g.ADDQ(lds, from)
	}
	// The 128 bits p of quads[q][c] have column 4p+c of rows 4q … 4q+3: what is left is to exchange them between the quadruples.
	var quads [4][4]reg.VecVirtual
	for q := range quads {
		quads[q] = g.quadruple(x[4*q:][:4])
	}
	shuffle := func(order uint8) func(...operand.Op) {
		return func(ops ...operand.Op) { g.VSHUFF32X4(append([]operand.Op{operand.U8(order)}, ops...)...) }
	}
	out := make([]reg.VecVirtual, 16)
	for c := range 4 {
		low01, high01 := g.both(shuffle(0x44), shuffle(0xee), quads[0][c], quads[1][c])
		low23, high23 := g.both(shuffle(0x44), shuffle(0xee), quads[2][c], quads[3][c])
		out[c], out[4+c] = g.both(shuffle(0x88), shuffle(0xdd), low01, low23)
		out[8+c], out[12+c] = g.both(shuffle(0x88), shuffle(0xdd), high01, high23)
	}
	for _, v := range out {
		g.VMOVUPS(v, at(dst, 0))
		g.ADDQ(ldd, dst)
	}
	g.ADDQ(operand.I8(64), src)
	g.DECQ(steps)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}
