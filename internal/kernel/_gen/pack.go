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
