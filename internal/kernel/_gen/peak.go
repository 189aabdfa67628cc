package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// peakSums is the number of independent sums of a register-only loop: more than twice the product of latency and throughput of fused
// multiply-adds (4 cycles, 2 a cycle) on the processors at hand, and no more than the registers of AVX2 hold beside their operands.
const peakSums = 12

// peak generates loops that do nothing but multiply and add, in registers: what no matrix product on the processor can exceed.
func peak(g *gen) {
	for _, i := range []isa{avx512, avx2} {
		g.function(i, "peak", "func(steps int, x float32)", `runs a register-only loop on 12 vectors of the register's length, steps >= 1.

	for range steps {
		for i := range s {
			s[i] = fma32(x, x, s[i])
		}
	}`)
		steps := g.argument("steps")
		x := g.splat("x")[0]
		sums := make([]operand.Op, peakSums)
		for n := range sums {
			s := g.vec()[0]
			g.zero(s)
			sums[n] = s
		}
		g.Label("loop")
		for _, s := range sums {
			g.VFMADD231PS(x, x, s)
		}
		g.DECQ(steps)
		g.JNZ(operand.LabelRef("loop"))
		g.end()
	}
	g.peakAMX()
}

// peakAMX generates the register-only loop of AMX: the products of a step of the matrix product, without its loads.
func (g *gen) peakAMX() {
	g.function(tiles, "peak", "func(steps int, config *byte)", `runs a register-only loop on 2 x 2 tiles of C, steps >= 1, with A = B = 0.

	load(config)
	for range steps {
		for i := range 2 {
			for j := range 2 {
				c[i][j] += a[i] * b[j]
			}
		}
	}
	release()`)
	g.Load(g.Param("config"), reg.RAX)
	g.emit("AMX-TILE", ldtilecfg(reg.RAX)) // zeros the tiles
	g.Load(g.Param("steps"), reg.RCX)
	g.Label("loop")
	for i := range 2 {
		for j := range 2 {
			g.emit("AMX-BF16", tdpbf16ps(2*i+j, tileA+i, tileB+j))
		}
	}
	g.DECQ(reg.RCX)
	g.JNZ(operand.LabelRef("loop"))
	g.emit("AMX-TILE", tilerelease())
	g.RET()
}
