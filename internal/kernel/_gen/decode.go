package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// decode generates the functions that read stored weights, 16-bit numbers, packed integers, bitmasks and ggml's Q4_1, and that check them.
func decode(g *gen) {
	for _, i := range []isa{avx512, avx2} {
		g.halves(i)
		g.integers(i)
		g.q41(i)
		g.magnitude(i)
	}
	g.masked("expandF16", "DecodeF16", g.widenF16)
	g.masked("expandBF16", "DecodeBF16", g.widenBF16)
}

// widenF16 is the block of the 16 binary16 numbers at base.
func (g *gen) widenF16(base reg.Register) vec {
	v := g.vec()
	g.each(func(i int) { g.VCVTPH2PS(at(base, i*g.bytes/2), v[i]) })
	return v
}

// widenBF16 is the block of the 16 bfloat16 numbers at base.
func (g *gen) widenBF16(base reg.Register) vec {
	v := g.vec()
	g.each(func(i int) {
		g.VPMOVZXWD(at(base, i*g.bytes/2), v[i])
		g.VPSLLD(operand.U8(16), v[i], v[i])
	})
	return v
}

// halves generates conversions of 16-bit numbers.
func (g *gen) halves(i isa) {
	for _, f := range []struct {
		name, expression string
		widen            func(reg.Register) vec
	}{{"decodeF16", "DecodeF16", g.widenF16}, {"decodeBF16", "DecodeBF16", g.widenBF16}} {
		g.function(i, f.name, "func(dst *float32, src *byte, blocks int)", `computes, for 16·blocks elements, blocks >= 1, and h of 16 bits from src,

	dst[i] = `+f.expression+`(h[i])`)
		dst, src, blocks := g.argument("dst"), g.argument("src"), g.argument("blocks")
		g.Label("loop")
		g.store(f.widen(src), dst)
		g.advance("loop", blocks, step{dst, blockBytes}, step{src, blockBytes / 2})
	}

	g.function(i, "roundF16", "func(dst, src *float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	dst[i] = DecodeF16(EncodeF16(src[i]))`)
	dst, src := g.argument("dst"), g.argument("src")
	g.loop([]reg.GPVirtual{dst, src}, func() {
		x := g.load(src)
		g.each(func(i int) {
			var half reg.VecVirtual = g.XMM()
			if g.isa == avx512 {
				half = g.YMM()
			}
			g.VCVTPS2PH(operand.U8(0), x[i], half) // 0: to nearest, ties to even
			g.VCVTPH2PS(half, x[i])
		})
		g.store(x, dst)
	})
	g.end()
}

// step is how far a pointer goes in a round of a loop.
type step struct {
	pointer reg.Register
	bytes   int
}

// advance ends a loop over a count, which is at least 1, and the function.
func (g *gen) advance(label string, count reg.Register, steps ...step) {
	for _, s := range steps {
		g.ADDQ(operand.I32(s.bytes), s.pointer)
	}
	g.DECQ(count)
	g.JNZ(operand.LabelRef(label))
	g.end()
}

// integers generates the decoding of packed integers. A double word is filled with the two bytes in which its code begins, the second of
// which may hold none of it, shifted down and masked. The table says how: see codeTable of package kernel.
func (g *gen) integers(i isa) {
	g.function(i, "decodeCodes", "func(dst *float32, src *byte, table *uint32, bytes int, grids *uint64, groups, blocks int)",
		`decodes groups of 16·blocks codes of bytes/2 bits, groups and blocks >= 1, reading 16 bytes for each 16
codes; a grid is the bits of a float32 and an int32 after it.

	for k := range groups {
		scale, zero := grids[k]
		for i := k * 16 * blocks; i < (k+1)*16*blocks; i++ {
			dst[i] = scale * float32(codeAt(src, i, bytes/2)-zero)
		}
	}`)
	dst, src, table, bytes := g.argument("dst"), g.argument("src"), g.argument("table"), g.argument("bytes")
	grids, groups, blocks := g.argument("grids"), g.argument("groups"), g.argument("blocks")
	shuffle, shift, mask := g.vec(), g.vec(), g.vec()
	g.each(func(i int) {
		g.VMOVUPS(at(table, i*g.bytes), shuffle[i])
		g.VMOVUPS(at(table, blockBytes+i*g.bytes), shift[i])
		g.VMOVUPS(at(table, 2*blockBytes+i*g.bytes), mask[i])
	})
	g.Label("group")
	scale, zero := g.vec(), g.vec()
	g.each(func(i int) {
		g.VBROADCASTSS(at(grids, 0), scale[i])
		g.VPBROADCASTD(at(grids, 4), zero[i])
	})
	left := g.GP64()
	g.MOVQ(blocks, left)
	g.Label("loop")
	v := g.vec()
	g.each(func(i int) {
		if g.isa == avx512 {
			g.VBROADCASTI32X4(at(src, 0), v[i])
		} else {
			g.VBROADCASTI128(at(src, 0), v[i])
		}
		g.VPSHUFB(shuffle[i], v[i], v[i])
		g.VPSRLVD(shift[i], v[i], v[i])
		g.and(mask[i], v[i])
		g.VPSUBD(zero[i], v[i], v[i])
		g.VCVTDQ2PS(v[i], v[i])
		g.VMULPS(scale[i], v[i], v[i])
	})
	g.store(v, dst)
	g.ADDQ(bytes, src)
	g.ADDQ(operand.I8(blockBytes), dst)
	g.DECQ(left)
	g.JNZ(operand.LabelRef("loop"))
	g.advance("group", groups, step{grids, 8})
}

// and is x &= mask.
func (g *gen) and(mask, x reg.Register) {
	if g.isa == avx512 {
		g.VPANDD(mask, x, x)
	} else {
		g.VPAND(mask, x, x)
	}
}

// masked generates a function that spreads 16-bit numbers over the columns whose bit is set.
func (g *gen) masked(name, expression string, widen func(reg.Register) vec) {
	g.function(avx512, name, "func(dst *float32, mask, values *byte, blocks int)", `computes, for 16·blocks elements, blocks >= 1, reading up to 32 bytes
from where the values of each 16 begin,

	dst[i] = 0
	if mask[i/8]>>(i%8)&1 != 0 {
		dst[i] = `+expression+`(next of values)
	}`)
	dst, mask, values, blocks := g.argument("dst"), g.argument("mask"), g.argument("values"), g.argument("blocks")
	g.Label("loop")
	word, k := g.GP32(), g.K()
	g.MOVWLZX(at(mask, 0), word)
	g.KMOVW(word, k)
	v := widen(values)
	g.VEXPANDPS_Z(v[0], k, v[0])
	g.store(v, dst)
	g.POPCNTL(word, word)
	next := g.GP64()
	g.LEAQ(operand.Mem{Base: values, Index: word.As64(), Scale: 2}, next)
	g.MOVQ(next, values)
	g.advance("loop", blocks, step{dst, blockBytes}, step{mask, 2})
}

// q41 generates the decoding of blocks of 32 weights in 20 bytes: a binary16 scale d, a binary16 minimum m and 16 bytes of codes, the low
// nibbles before the high ones.
func (g *gen) q41(i isa) {
	g.function(i, "decodeQ4_1", "func(dst *float32, src *byte, blocks int)", `decodes blocks of 32 weights in 20 bytes, blocks >= 1,

	d, m := DecodeF16(src[0:2]), DecodeF16(src[2:4])
	for j := range 16 {
		dst[j] = float32(d*float32(src[4+j]&15)) + m
		dst[16+j] = float32(d*float32(src[4+j]>>4)) + m
	}`)
	dst, src, blocks := g.argument("dst"), g.argument("src"), g.argument("blocks")
	ones := g.GP32()
	g.MOVL(operand.U32(15), ones)
	low := g.XMM()
	g.VMOVD(ones, low)
	mask := g.vec()
	g.each(func(i int) { g.VPBROADCASTD(low, mask[i]) })
	g.Label("loop")
	pair, m := g.XMM(), g.XMM()
	g.VMOVD(at(src, 0), pair)
	g.VCVTPH2PS(pair, pair)
	g.VMOVSHDUP(pair, m)
	scale, minimum, lower, upper := g.vec(), g.vec(), g.vec(), g.vec()
	g.each(func(i int) {
		g.VBROADCASTSS(pair, scale[i])
		g.VBROADCASTSS(m, minimum[i])
		g.VPMOVZXBD(at(src, 4+i*g.bytes/4), lower[i])
		g.VPSRLD(operand.U8(4), lower[i], upper[i])
		g.and(mask[i], lower[i])
		for _, x := range []reg.VecVirtual{lower[i], upper[i]} {
			g.VCVTDQ2PS(x, x)
			g.VMULPS(scale[i], x, x)
			g.VADDPS(minimum[i], x, x)
		}
		g.VMOVUPS(lower[i], at(dst, i*g.bytes))
		g.VMOVUPS(upper[i], at(dst, blockBytes+i*g.bytes))
	})
	g.advance("loop", blocks, step{dst, 2 * blockBytes}, step{src, 20})
}

// magnitude generates the search for the largest bits without the sign.
func (g *gen) magnitude(i isa) {
	g.function(i, "magnitude", "func(acc *[16]uint32, x *float32, blocks int)", `computes, for 16·blocks elements, blocks >= 1,

	acc[i%16] = max(acc[i%16], math.Float32bits(x[i])<<1)`)
	x, p, blocks := g.argument("x"), g.argument("acc"), g.argument("blocks")
	acc := g.load(p)
	g.Label("loop")
	v := g.load(x)
	g.each(func(i int) {
		g.VPSLLD(operand.U8(1), v[i], v[i])
		g.VPMAXUD(v[i], acc[i], acc[i])
	})
	g.ADDQ(operand.I8(blockBytes), x)
	g.DECQ(blocks)
	g.JNZ(operand.LabelRef("loop"))
	g.store(acc, p)
	g.end()
}
