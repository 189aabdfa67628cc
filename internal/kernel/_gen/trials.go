package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// trials generates the loops of searches for scales: the lanes are trials, each of which takes the weights in their order.
func trials(g *gen) {
	for _, i := range []isa{avx512, avx2} {
		for _, table := range []bool{false, true} {
			g.trial(i, table, false)
			g.trial(i, table, true)
		}
	}
}

// trial generates the sums of a fit, or the errors, of 8 trials, with integers or with the entries of a table.
func (g *gen) trial(i isa, table, errors bool) {
	name, signature := "fitTrials", "func(sums *[3][8]float64, x, v *float64, n int, inverse, offset *[8]float64, low, top float64"
	doc := `computes, for 8 trials j and n weights, n >= 1,

	for i := range n {
		t := min(max((x[i]-offset[j])*inverse[j], low), top)
		k := ROUND
		q := v[i] * k
		sums[0][j] += q
		sums[1][j] += q * k
		sums[2][j] += q * x[i]
	}`
	if errors {
		name, signature = "errTrials", "func(sums *[8]float64, x, v *float64, n int, scale, inverse, offset *[8]float64, low, top float64"
		doc = `computes, for 8 trials j and n weights, n >= 1,

	for i := range n {
		t := min(max((x[i]-offset[j])*inverse[j], low), top)
		d := x[i] - offset[j] - scale[j]*ROUND
		sums[j] += d * d * v[i]
	}`
	}
	round := "math.RoundToEven(t)"
	if table {
		name, signature, round = name+"Table", signature+", table *float64", "table[int(2*t+256)&511]"
	}
	g.function(i, name, signature+")", strings.ReplaceAll(doc, "ROUND", round))

	sums, x, v, n := g.argument("sums"), g.argument("x"), g.argument("v"), g.argument("n")
	splat := func(name string) reg.VecVirtual {
		low, r := g.XMM(), g.reg()
		g.Load(g.Param(name), low)
		g.VBROADCASTSD(low, r)
		return r
	}
	constant := func(value float64) reg.VecVirtual {
		bits, low, r := g.GP64(), g.XMM(), g.reg()
		g.MOVQ(operand.U64(math.Float64bits(value)), bits)
		g.VMOVQ(bits, low)
		g.VBROADCASTSD(low, r)
		return r
	}
	low, top := splat("low"), splat("top")
	shift := constant(3 << 51)
	var entries reg.GPVirtual
	var last reg.VecVirtual
	if table {
		shift = constant(256)
		entries = g.argument("table")
		bits, low := g.GP32(), g.XMM()
		g.MOVL(operand.U32(511), bits)
		g.VMOVD(bits, low)
		last = low
		if g.isa == avx512 {
			last = g.YMM()
		}
		g.VPBROADCASTD(low, last)
	}
	pointers := map[string]reg.GPVirtual{"inverse": g.argument("inverse"), "offset": g.argument("offset")}
	if errors {
		pointers["scale"] = g.argument("scale")
	}
	for part := range 64 / g.bytes { // of the trials
		load := func(name string) reg.VecVirtual {
			r := g.reg()
			g.VMOVUPD(at(pointers[name], part*g.bytes), r)
			return r
		}
		inverse, offset := load("inverse"), load("offset")
		var scale reg.VecVirtual
		acc := make([]reg.VecVirtual, 3)
		if errors {
			scale, acc = load("scale"), acc[:1]
		}
		for a := range acc {
			acc[a] = g.reg()
			g.VXORPD(acc[a], acc[a], acc[a])
		}
		px, pv, left := g.GP64(), g.GP64(), g.GP64()
		g.MOVQ(x, px)
		g.MOVQ(v, pv)
		g.MOVQ(n, left)
		label := fmt.Sprintf("loop%d", part)
		g.Label(label)
		w, weight, t := g.reg(), g.reg(), g.reg()
		g.VBROADCASTSD(at(px, 0), w)
		g.VBROADCASTSD(at(pv, 0), weight)
		d := g.reg()
		g.VSUBPD(offset, w, d)
		g.VMULPD(inverse, d, t)
		g.VMAXPD(t, low, t) // t where neither is larger
		g.VMINPD(t, top, t)
		if table {
			g.look(entries, last, shift, t)
		} else {
			g.VADDPD(shift, t, t)
			g.VSUBPD(shift, t, t)
		}
		if errors {
			g.VMULPD(t, scale, t)
			g.VSUBPD(t, d, d)
			g.VMULPD(d, d, d)
			g.VMULPD(weight, d, d)
			g.VADDPD(d, acc[0], acc[0])
		} else {
			q := g.reg()
			g.VMULPD(t, weight, q)
			g.VADDPD(q, acc[0], acc[0])
			g.VMULPD(q, t, t)
			g.VADDPD(t, acc[1], acc[1])
			g.VMULPD(w, q, q)
			g.VADDPD(q, acc[2], acc[2])
		}
		g.ADDQ(operand.I8(8), px)
		g.ADDQ(operand.I8(8), pv)
		g.DECQ(left)
		g.JNZ(operand.LabelRef(label))
		for a := range acc {
			g.VMOVUPD(acc[a], at(sums, 64*a+part*g.bytes))
		}
	}
	g.end()
}

// reg is a register of 8 or 4 numbers.
func (g *gen) reg() reg.VecVirtual {
	if g.isa == avx512 {
		return g.ZMM()
	}
	return g.YMM()
}

// look replaces t by the entry of the table for it, of a number that is none by any.
func (g *gen) look(table reg.Register, last, middle, t reg.VecVirtual) {
	g.VADDPD(t, t, t)
	g.VADDPD(middle, t, t)
	if g.isa == avx512 {
		index, all := g.YMM(), g.K()
		g.VCVTTPD2DQ(t, index)
		g.VPANDD(last, index, index)
		g.KXNORB(all, all, all)
		g.VGATHERDPD(operand.Mem{Base: table, Index: index, Scale: 8}, all, t)
		return
	}
	index, all := g.XMM(), g.YMM()
	g.VCVTTPD2DQY(t, index)
	g.VPAND(last, index, index)
	g.VPCMPEQD(all, all, all)
	g.VGATHERDPD(all, operand.Mem{Base: table, Index: index, Scale: 8}, t)
}
