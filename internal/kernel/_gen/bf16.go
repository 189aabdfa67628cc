package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// avx512bf16 names functions that need AVX512-BF16.
var avx512bf16 = isa{"AVX512BF16", 64}

const matmulBF16Doc = `computes a tile of %[1]d x 32. Strides are in bytes; steps of two columns, a multiple of 4, >= 4.
Each product is exact; VDPBF16PS adds the odd column's first and rounds each sum to nearest, denormals flushed to zero.

	for i := range %[1]d {
		for j := range 32 {
			s := c[i][j] // 0 unless accumulate
			for l := range steps {
				s += a[i][2*l+1] * b[l][j][1]
				s += a[i][2*l] * b[l][j][0]
			}
			c[i][j] = s
		}
	}`

// unrollBF16 divides the steps of a tile: columns are padded to a multiple of 32.
const unrollBF16 = 4

// bf16 generates the conversions of bfloat16 numbers and the matrix product with AVX512-BF16.
func bf16(g *gen) {
	g.roundBF16(avx512)
	g.roundBF16(avx2)
	g.expandBF16()
	g.expandPairs()
	for rows := 1; rows <= rowsAVX512; rows++ {
		g.matmulBF16Tile(rows)
	}
	g.peakBF16()
}

// roundBF16 generates the rounding by integers, in blocks of 16: VCVTNEPS2BF16 would flush denormals.
func (g *gen) roundBF16(i isa) {
	g.function(i, "roundBF16", "func(dst *uint16, src *float32, blocks int)", `rounds 16·blocks numbers to nearest, ties to even, blocks >= 1.

	for i := range 16 * blocks {
		if x := bits(src[i]); src[i] != src[i] {
			dst[i] = uint16((x | 1<<22) >> 16)
		} else {
			dst[i] = uint16((x + 0x7fff + x>>16&1) >> 16)
		}
	}`)
	dst, src, blocks := g.argument("dst"), g.argument("src"), g.argument("blocks")
	one, half, quiet := g.splatInteger(1), g.splatInteger(0x7fff), g.splatInteger(1<<22)
	g.Label("loop")
	var rounded vec
	for h, q := range quiet {
		x := g.vec()[0]
		y := g.vec()[0]
		g.VMOVUPS(at(src, h*i.bytes), x)
		g.VPSRLD(operand.U8(16), x, y)
		if i == avx512 {
			nan := g.K()
			g.VCMPPS(operand.U8(3), x, x, nan) // unordered
			g.VPANDD(one[h], y, y)
			g.VPADDD(half[h], y, y)
			g.VPADDD(x, y, y)
			g.VPORD(q, x, nan, y)
			g.VPSRLD(operand.U8(16), y, y)
		} else {
			nan := g.YMM()
			g.VCMPPS(operand.U8(3), x, x, nan)
			g.VPAND(one[h], y, y)
			g.VPADDD(half[h], y, y)
			g.VPADDD(x, y, y)
			g.VPOR(q, x, x)
			g.VBLENDVPS(nan, x, y, y)
			g.VPSRLD(operand.U8(16), y, y)
		}
		rounded = append(rounded, y)
	}
	if i == avx512 {
		g.VPMOVDW(rounded[0], operand.Mem{Base: dst})
	} else {
		y := g.YMM()
		g.VPACKUSDW(rounded[1], rounded[0], y)
		g.VPERMQ(operand.U8(0b11011000), y, y)
		g.VMOVUPS(y, operand.Mem{Base: dst})
	}
	g.ADDQ(operand.I8(64), src)
	g.ADDQ(operand.I8(32), dst)
	g.DECQ(blocks)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

// splatInteger returns a block with every element the integer n.
func (g *gen) splatInteger(n uint32) vec {
	r, v := g.GP32(), g.vec()
	g.MOVL(operand.U32(n), r)
	for _, x := range v {
		if g.isa == avx512 {
			g.VPBROADCASTD(r, x)
		} else {
			lane := g.XMM()
			g.VMOVD(r, lane)
			g.VPBROADCASTD(lane, x)
		}
	}
	return v
}

// expandBF16 generates the exact conversion to float32. AVX2 is enough: it is bound by memory.
func (g *gen) expandBF16() {
	g.function(avx2, "expandBF16", "func(dst *float32, src *uint16, blocks int)", `expands 16·blocks numbers, blocks >= 1.

	for i := range 16 * blocks {
		dst[i] = float32frombits(uint32(src[i]) << 16)
	}`)
	dst, src, blocks := g.argument("dst"), g.argument("src"), g.argument("blocks")
	g.Label("loop")
	for h := range 2 {
		x := g.YMM()
		g.VPMOVZXWD(at(src, 16*h), x)
		g.VPSLLD(operand.U8(16), x, x)
		g.VMOVUPS(x, at(dst, 32*h))
	}
	g.ADDQ(operand.I8(32), src)
	g.ADDQ(operand.I8(64), dst)
	g.DECQ(blocks)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

// expandPairs generates the conversion of a panel: what VDPBF16PS wants side by side, the float32 product wants one after the other.
func (g *gen) expandPairs() {
	g.function(avx2, "expandPairs", "func(dst *float32, src *uint16, steps int)", `expands steps of two columns of a panel, steps >= 1.

	for k := range steps {
		for j := range 32 {
			dst[2*k][j] = float32frombits(uint32(src[k][j][0]) << 16)
			dst[2*k+1][j] = float32frombits(uint32(src[k][j][1]) << 16)
		}
	}`)
	dst, src, steps := g.argument("dst"), g.argument("src"), g.argument("steps")
	upper := g.YMM()
	g.VPCMPEQD(upper, upper, upper)
	g.VPSLLD(operand.U8(16), upper, upper)
	g.Label("loop")
	for j := range 4 {
		x, even := g.YMM(), g.YMM()
		g.VMOVUPS(at(src, 32*j), x)
		g.VPSLLD(operand.U8(16), x, even)
		g.VPAND(upper, x, x)
		g.VMOVUPS(even, at(dst, 32*j))
		g.VMOVUPS(x, at(dst, panelBytes+32*j))
	}
	g.ADDQ(operand.I32(panelBytes), src)
	g.ADDQ(operand.I32(2*panelBytes), dst)
	g.DECQ(steps)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

// matmulBF16Tile generates the product of some rows of A and a panel.
func (g *gen) matmulBF16Tile(rows int) {
	g.function(avx512bf16, fmt.Sprintf("matmul%dx32", rows),
		"func(steps int, a *uint16, lda int, b *uint16, c *float32, ldc int, accumulate bool)", fmt.Sprintf(matmulBF16Doc, rows))
	steps, a, lda := g.argument("steps"), g.argument("a"), g.argument("lda")
	b, c, ldc := g.argument("b"), g.argument("c"), g.argument("ldc")

	zmm := func(n int) reg.Register { return reg.Vector.Lookup(reg.Index(n), reg.S512) }
	// Row r of A is at (base[r/3]) + r%3 · lda.
	base := []reg.Register{a}
	if rows > 3 {
		lda3 := g.GP64()
		g.LEAQ(operand.Mem{Base: lda, Index: lda, Scale: 2}, lda3)
		for r := 3; r < rows; r += 3 {
			next := g.GP64()
			g.LEAQ(operand.Mem{Base: base[len(base)-1], Index: lda3, Scale: 1}, next)
			base = append(base, next)
		}
	}
	row := func(r, offset int) operand.Mem {
		m := at(base[r/3], offset)
		if r%3 > 0 {
			m.Index, m.Scale = lda, uint8(r%3)
		}
		return m
	}
	// The sum of row r, columns 16h … 16h+15, is in register 2r+h; behind the sums come two registers of a panel and two of A.
	panel, pair := 2*rows, 2*rows+2

	for r := range 2 * rows {
		g.VPXORQ(zmm(r), zmm(r), zmm(r))
	}
	accumulate := g.GP8()
	g.Load(g.Param("accumulate"), accumulate)
	g.TESTB(accumulate, accumulate)
	g.JZ(operand.LabelRef("start"))
	out := g.GP64()
	g.MOVQ(c, out)
	for r := range rows {
		for h := range 2 {
			g.VMOVUPS(at(out, 64*h), zmm(2*r+h))
		}
		if r < rows-1 {
			g.ADDQ(ldc, out)
		}
	}
	g.Label("start")

	g.Label("loop")
	for u := range unrollBF16 {
		for h := range 2 {
			g.VMOVUPS(at(b, u*panelBytes+64*h), zmm(panel+h))
		}
		for r := range rows {
			g.VPBROADCASTD(row(r, 4*u), zmm(pair+r%2))
			for h := range 2 {
				g.emit("AVX512BF16", vdpbf16ps(2*r+h, pair+r%2, panel+h))
			}
		}
	}
	g.ADDQ(operand.I32(unrollBF16*panelBytes), b)
	for _, p := range base {
		g.ADDQ(operand.I8(4*unrollBF16), p)
	}
	g.SUBQ(operand.I8(unrollBF16), steps)
	g.JNZ(operand.LabelRef("loop"))

	for r := range rows {
		for h := range 2 {
			g.VMOVUPS(zmm(2*r+h), at(c, 64*h))
		}
		if r < rows-1 {
			g.ADDQ(ldc, c)
		}
	}
	g.end()
}

// peakBF16 generates the register-only loop of AVX512-BF16.
func (g *gen) peakBF16() {
	g.function(avx512bf16, "peak", "func(steps int)", `runs a register-only loop on 12 vectors of 16 numbers, steps >= 1, with x = y = 0.

	for range steps {
		for i := range s {
			s[i] += x[1] * y[1]
			s[i] += x[0] * y[0]
		}
	}`)
	steps := g.argument("steps")
	for n := range peakSums + 1 {
		x := reg.Vector.Lookup(reg.Index(n), reg.S512)
		g.VPXORQ(x, x, x)
	}
	g.Label("loop")
	for n := range peakSums {
		g.emit("AVX512BF16", vdpbf16ps(n, peakSums, peakSums))
	}
	g.DECQ(steps)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}
