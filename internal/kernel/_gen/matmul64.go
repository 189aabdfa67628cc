package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// matmul64 generates the register tiles of products in float64: two vectors wide, with as many rows as registers hold well and one for
// what is left.
func matmul64(g *gen) {
	for _, f := range []struct {
		isa
		rows int
	}{{avx512, 8}, {avx512, 1}, {avx2, 4}, {avx2, 1}} {
		g.tile64(f.isa, f.rows)
	}
}

func (g *gen) tile64(i isa, rows int) {
	columns := 2 * i.bytes / 8
	g.function(i, fmt.Sprintf("subMatMul%dx%d", rows, columns), "func(k int, a *float64, lda int, b, c *float64, ldc int)",
		fmt.Sprintf(`computes %d rows of %d columns, k >= 1, where rows of a and c start lda and ldc bytes and those of b 16
numbers apart,

	for i := range %d {
		for j := range %d {
			for l := range k {
				c[i][j] = math.FMA(-a[i][l], b[l][j], c[i][j])
			}
		}
	}`, rows, columns, rows, columns))
	k, a, lda := g.argument("k"), g.argument("a"), g.argument("lda")
	b, c, ldc := g.argument("b"), g.argument("c"), g.argument("ldc")

	// Rows in threes: a base register, and the stride as an index once and twice.
	bases := []reg.GPVirtual{a}
	for r := 3; r < rows; r += 3 {
		next := g.GP64()
		g.LEAQ(operand.Mem{Base: bases[len(bases)-1], Index: lda, Scale: 2}, next)
		g.ADDQ(lda, next)
		bases = append(bases, next)
	}
	row := func(r int) operand.Mem {
		m := operand.Mem{Base: bases[r/3]}
		if r%3 > 0 {
			m.Index, m.Scale = lda, uint8(r%3)
		}
		return m
	}
	vector := func() reg.VecVirtual { return g.vec()[0] }
	sums := make([][2]reg.VecVirtual, rows)
	at0 := g.GP64()
	g.MOVQ(c, at0)
	for r := range sums {
		for v := range sums[r] {
			sums[r][v] = vector()
			g.VMOVUPD(at(at0, v*i.bytes), sums[r][v])
		}
		if r+1 < rows {
			g.ADDQ(ldc, at0)
		}
	}
	g.Label("loop")
	b0, b1 := vector(), vector()
	g.VMOVUPD(at(b, 0), b0)
	g.VMOVUPD(at(b, i.bytes), b1)
	for r, s := range sums {
		if i == avx512 {
			g.VFNMADD231PD_BCST(row(r), b0, s[0])
			g.VFNMADD231PD_BCST(row(r), b1, s[1])
			continue
		}
		x := vector()
		g.VBROADCASTSD(row(r), x)
		g.VFNMADD231PD(x, b0, s[0])
		g.VFNMADD231PD(x, b1, s[1])
	}
	for _, p := range bases {
		g.ADDQ(operand.I8(8), p)
	}
	g.ADDQ(operand.I32(16*8), b)
	g.DECQ(k)
	g.JNZ(operand.LabelRef("loop"))
	for r := range sums {
		for v := range sums[r] {
			g.VMOVUPD(sums[r][v], at(c, v*i.bytes))
		}
		if r+1 < rows {
			g.ADDQ(ldc, c)
		}
	}
	g.end()
}
