package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// pack generates the transposition of 8 rows into a panel, 8 columns a step. AVX2 is enough: it is bound by memory.
func pack(g *gen) {
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

	ymm := func() (r [8]reg.VecVirtual) {
		for i := range r {
			r[i] = g.YMM()
		}
		return r
	}
	g.Label("loop")
	x := ymm()
	for i, p := range []reg.GPVirtual{src, src4} {
		g.VMOVUPS(operand.Mem{Base: p}, x[4*i])
		g.VMOVUPS(operand.Mem{Base: p, Index: ld, Scale: 1}, x[4*i+1])
		g.VMOVUPS(operand.Mem{Base: p, Index: ld, Scale: 2}, x[4*i+2])
		g.VMOVUPS(operand.Mem{Base: p, Index: ld3, Scale: 1}, x[4*i+3])
	}
	// Pairs of rows, then quadruples: y[4h+c] has column c of rows 4h … 4h+3 in its lower half and column c+4 in its upper half.
	y := ymm()
	for h := range 2 {
		low01, low23 := g.YMM(), g.YMM()
		high01, high23 := g.YMM(), g.YMM()
		g.VUNPCKLPS(x[4*h+1], x[4*h], low01)
		g.VUNPCKLPS(x[4*h+3], x[4*h+2], low23)
		g.VUNPCKHPS(x[4*h+1], x[4*h], high01)
		g.VUNPCKHPS(x[4*h+3], x[4*h+2], high23)
		g.VUNPCKLPD(low23, low01, y[4*h])
		g.VUNPCKHPD(low23, low01, y[4*h+1])
		g.VUNPCKLPD(high23, high01, y[4*h+2])
		g.VUNPCKHPD(high23, high01, y[4*h+3])
	}
	for c := range 4 {
		lower, upper := g.YMM(), g.YMM()
		g.VPERM2F128(operand.U8(0x20), y[4+c], y[c], lower)
		g.VPERM2F128(operand.U8(0x31), y[4+c], y[c], upper)
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

// transpose generates the transposition of 16 rows, 16 columns a step, without memory in between: a row of the result has a cache line of its own.
func transpose(g *gen) {
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
		x[i] = g.ZMM()
		g.VMOVUPS(at(from, 0), x[i])
		g.ADDQ(lds, from)
	}
	both := func(low, high func(...operand.Op), a, b reg.VecVirtual) (l, h reg.VecVirtual) {
		l, h = g.ZMM(), g.ZMM()
		low(b, a, l)
		high(b, a, h)
		return l, h
	}
	// Pairs of rows, then quadruples: part c of x[4q+c] has column 4·part+c of rows 4q … 4q+3.
	for q := 0; q < 16; q += 4 {
		low01, high01 := both(g.VUNPCKLPS, g.VUNPCKHPS, x[q], x[q+1])
		low23, high23 := both(g.VUNPCKLPS, g.VUNPCKHPS, x[q+2], x[q+3])
		x[q], x[q+1] = both(g.VUNPCKLPD, g.VUNPCKHPD, low01, low23)
		x[q+2], x[q+3] = both(g.VUNPCKLPD, g.VUNPCKHPD, high01, high23)
	}
	// Then the parts of four quadruples.
	shuffle := func(order uint8) func(...operand.Op) {
		return func(ops ...operand.Op) { g.VSHUFF32X4(append([]operand.Op{operand.U8(order)}, ops...)...) }
	}
	out := make([]reg.VecVirtual, 16)
	for c := range 4 {
		a, b := both(shuffle(0x44), shuffle(0xee), x[c], x[4+c])
		d, e := both(shuffle(0x44), shuffle(0xee), x[8+c], x[12+c])
		out[c], out[4+c] = both(shuffle(0x88), shuffle(0xdd), a, d)
		out[8+c], out[12+c] = both(shuffle(0x88), shuffle(0xdd), b, e)
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
