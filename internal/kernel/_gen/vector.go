package main

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// blockBytes is a block: 16 float32, one register of AVX-512 or two of AVX2.
const blockBytes = 64

// vec is a block in registers.
type vec []reg.VecVirtual

func (g *gen) vec() vec {
	v := make(vec, blockBytes/g.bytes)
	g.each(func(i int) { v[i] = g.register() })
	return v
}

// register is one of the width of the instruction set.
func (g *gen) register() reg.VecVirtual {
	if g.isa == avx512 {
		return g.ZMM()
	}
	return g.YMM()
}

// each runs f for each register of a block.
func (g *gen) each(f func(i int)) {
	for i := range blockBytes / g.bytes {
		f(i)
	}
}

func (g *gen) load(base reg.Register) vec {
	v := g.vec()
	g.each(func(i int) { g.VMOVUPS(at(base, i*g.bytes), v[i]) })
	return v
}

func (g *gen) store(v vec, base reg.Register) {
	g.each(func(i int) { g.VMOVUPS(v[i], at(base, i*g.bytes)) })
}

// splat is a block of one float32 argument.
func (g *gen) splat(name string) vec {
	mem, err := g.Param(name).Resolve()
	if err != nil {
		panic(err) // a name that the signature lacks: a bug of this generator
	}
	v := g.vec()
	g.each(func(i int) { g.VBROADCASTSS(mem.Addr, v[i]) })
	return v
}

func (g *gen) zero(r reg.Register) {
	if g.isa == avx512 {
		g.VPXORQ(r, r, r)
	} else {
		g.VXORPS(r, r, r)
	}
}

// Operations on blocks: each names its operands as the Go expression does and returns a block of its own.

func (g *gen) binary(op func(...operand.Op), x, y vec) vec {
	d := g.vec()
	g.each(func(i int) { op(y[i], x[i], d[i]) }) // d = x op y
	return d
}

func (g *gen) add(x, y vec) vec { return g.binary(g.VADDPS, x, y) }
func (g *gen) sub(x, y vec) vec { return g.binary(g.VSUBPS, x, y) }
func (g *gen) mul(x, y vec) vec { return g.binary(g.VMULPS, x, y) }
func (g *gen) div(x, y vec) vec { return g.binary(g.VDIVPS, x, y) }

// fmaTo is z = fma(x, y, z).
func (g *gen) fmaTo(z, x, y vec) {
	g.each(func(i int) { g.VFMADD231PS(x[i], y[i], z[i]) })
}

// greater is x where x > y and y elsewhere, so y where one of them is NaN.
func (g *gen) greater(x, y vec) vec { return g.binary(g.VMAXPS, x, y) }

// The constants of exp32, in the file exp.go of package kernel, and the integers that build a power of two.
var constants = []struct {
	name string
	bits uint32
}{
	{"expMax", math.Float32bits(89)},
	{"expMin", math.Float32bits(-104)},
	{"log2E", math.Float32bits(0x1.715476p+0)},
	{"magic", math.Float32bits(0x1.8p+23)},
	{"ln2Hi", math.Float32bits(0x1.62e4p-1)},
	{"ln2Lo", math.Float32bits(0x1.7f7d1cp-20)},
	{"c2", math.Float32bits(0x1.fffffcp-2)},
	{"c3", math.Float32bits(0x1.555492p-3)},
	{"c4", math.Float32bits(0x1.5558f2p-5)},
	{"c5", math.Float32bits(0x1.123a2p-7)},
	{"c6", math.Float32bits(0x1.6a23dp-10)},
	{"one", math.Float32bits(1)},
	{"bias", 127},
}

// writeConstants writes the table of constants, a block each.
func (g *gen) writeConstants() {
	g.table = g.StaticGlobal("constants")
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for _, c := range constants {
		for range blockBytes / 8 {
			g.AppendDatum(operand.U64(uint64(c.bits)<<32 | uint64(c.bits)))
		}
	}
}

// useExp prepares the constants of exp: in registers for AVX-512, which has 32 of them.
func (g *gen) useExp() {
	g.constants = make(map[string]operand.Op)
	for i, c := range constants {
		mem := g.table.Offset(i * blockBytes)
		g.constants[c.name] = mem
		if g.isa == avx512 && c.name != "bias" {
			r := g.ZMM()
			g.VMOVUPS(mem, r)
			g.constants[c.name] = r
		}
	}
}

// constant is a block of one constant in a register that may be overwritten.
func (g *gen) constant(name string) vec {
	v := g.vec()
	g.each(func(i int) { g.VMOVUPS(g.constants[name], v[i]) })
	return v
}

// exp is exp32 of a block; x stays as it is. See exp.go of package kernel for the steps.
func (g *gen) exp(x vec) vec {
	c := g.constants
	// The second operand of minimum and maximum, the first in Go's order, is the result where one is NaN: so NaN passes.
	top, y := g.constant("expMax"), g.constant("expMin")
	g.each(func(i int) {
		g.VMINPS(x[i], top[i], top[i])
		g.VMAXPS(top[i], y[i], y[i])
	})
	t := g.constant("magic")
	n, p := g.vec(), g.constant("c6")
	g.each(func(i int) {
		g.VFMADD231PS(c["log2E"], y[i], t[i])
		g.VSUBPS(c["magic"], t[i], n[i])
		g.VFNMADD231PS(c["ln2Hi"], n[i], y[i])
		g.VFNMADD231PS(c["ln2Lo"], n[i], y[i])
	})
	for _, name := range []string{"c5", "c4", "c3", "c2", "one", "one"} {
		g.each(func(i int) { g.VFMADD213PS(c[name], y[i], p[i]) })
	}
	if g.isa == avx512 {
		g.each(func(i int) { g.VSCALEFPS(n[i], p[i], p[i]) })
		return p
	}
	half := g.vec()
	g.each(func(i int) {
		g.VPSUBD(c["magic"], t[i], t[i]) // the integer n
		g.VPSRAD(operand.U8(1), t[i], half[i])
		g.VPSUBD(half[i], t[i], t[i])
		for _, h := range []operand.Op{half[i], t[i]} {
			g.VPADDD(c["bias"], h, h)
			g.VPSLLD(operand.U8(23), h, h)
			g.VMULPS(h, p[i], p[i])
		}
	})
	return p
}

// loop runs body over a number of blocks, the argument "blocks" (at least 1), and advances the pointers after each.
func (g *gen) loop(pointers []reg.GPVirtual, body func()) {
	blocks := g.argument("blocks")
	g.Label("loop")
	body()
	for _, p := range pointers {
		g.ADDQ(operand.I8(blockBytes), p)
	}
	g.DECQ(blocks)
	g.JNZ(operand.LabelRef("loop"))
}
