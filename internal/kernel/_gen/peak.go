package main

import "github.com/mmcloughlin/avo/operand"

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
}
