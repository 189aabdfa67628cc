package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Tiles of C that live in registers: 14 x 32 leaves 4 of the 32 registers of AVX-512 for B and A, 6 x 16 leaves 4 of the 16 of AVX2.
const (
	rowsAVX512 = 14
	rowsAVX2   = 6
)

// A tile of rows reads a panel twice as fast as memory delivers it. So each call fetches fetchLines cache lines every fetchSteps steps, a quarter
// of a panel, into the second-level cache.
const (
	fetchLines = 2
	fetchSteps = 4
)

const matmulDoc = `computes a tile of %[1]d x %[2]d. Strides are in bytes, k >= 1.%[3]s

	for i := range %[1]d {
		for j := range %[2]d {
			s := c[i][j] // 0 unless accumulate
			for l := range k {
				s = fma32(a[i][l], b[l*32+j], s)
			}
			c[i][j] = s
		}
	}`

func matmul(g *gen) {
	for rows := 1; rows <= rowsAVX512; rows++ {
		g.matmulTile(avx512, rows)
	}
	for rows := 1; rows <= rowsAVX2; rows++ {
		g.matmulTile(avx2, rows)
	}
}

const aheadDoc = "\n128 of every 512 bytes are fetched that lie ahead bytes after those of b."

// matmulTile generates the product of some rows of A and two registers' width of a panel.
func (g *gen) matmulTile(i isa, rows int) {
	width := 2 * i.bytes / 4
	g.function(i, fmt.Sprintf("matmul%dx%d", rows, width),
		"func(k int, a *float32, lda int, b, c *float32, ldc int, accumulate bool, ahead int)", fmt.Sprintf(matmulDoc, rows, width, aheadDoc))
	k, a, lda, b, c, ldc := g.argument("k"), g.argument("a"), g.argument("lda"), g.argument("b"), g.argument("c"), g.argument("ldc")
	ahead := g.argument("ahead")

	spec := reg.S256
	if i == avx512 {
		spec = reg.S512
	}
	register := func(n int) reg.Register { return reg.Vector.Lookup(reg.Index(n), spec) }
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
	sum := func(r, half int) reg.Register { return register(2*r + half) }
	free := 2 * rows
	panel := [2]reg.Register{register(free), register(free + 1)}
	broadcast := [2]reg.Register{register(free + 2), register(free + 3)}

	for r := range 2 * rows {
		g.zero(register(r))
	}
	out := g.GP64()
	accumulate := g.GP8()
	g.Load(g.Param("accumulate"), accumulate)
	g.TESTB(accumulate, accumulate)
	g.JZ(operand.LabelRef("start"))
	g.MOVQ(c, out)
	for r := range rows {
		for half := range 2 {
			g.VMOVUPS(at(out, half*i.bytes), sum(r, half))
		}
		if r < rows-1 {
			g.ADDQ(ldc, out)
		}
	}
	g.Label("start")
	// C is needed when the product is done, and its rows are too far apart for the hardware to guess.
	g.MOVQ(c, out)
	for r := range rows {
		for offset := 0; offset < 2*i.bytes; offset += cacheLine {
			g.PREFETCHT0(at(out, offset))
		}
		if r < rows-1 {
			g.ADDQ(ldc, out)
		}
	}

	const unroll = fetchSteps
	step := func(u int) {
		for half := range 2 {
			g.VMOVUPS(at(b, u*panelBytes+half*i.bytes), panel[half])
		}
		for r := range rows {
			x := broadcast[r%2]
			g.VBROADCASTSS(row(r, 4*u), x)
			for half := range 2 {
				g.VFMADD231PS(panel[half], x, sum(r, half))
			}
		}
	}
	advance := func(steps int) {
		g.ADDQ(operand.I32(steps*panelBytes), b)
		for _, p := range base {
			g.ADDQ(operand.I8(4*steps), p)
		}
	}
	tail := g.GP64()
	g.MOVQ(k, tail)
	g.ANDQ(operand.I8(unroll-1), tail)
	g.SHRQ(operand.U8(2), k)
	g.JZ(operand.LabelRef("tail"))
	g.Label("loop")
	for u := range unroll {
		if u%(fetchSteps/fetchLines) == 0 {
			m := at(b, u/(fetchSteps/fetchLines)*cacheLine)
			m.Index, m.Scale = ahead, 1
			g.PREFETCHT1(m)
		}
		step(u)
	}
	advance(unroll)
	g.DECQ(k)
	g.JNZ(operand.LabelRef("loop"))
	g.Label("tail")
	g.TESTQ(tail, tail)
	g.JZ(operand.LabelRef("done"))
	g.Label("single")
	step(0)
	advance(1)
	g.DECQ(tail)
	g.JNZ(operand.LabelRef("single"))
	g.Label("done")

	for r := range rows {
		for half := range 2 {
			g.VMOVUPS(sum(r, half), at(c, half*i.bytes))
		}
		if r < rows-1 {
			g.ADDQ(ldc, c)
		}
	}
	g.end()
}

const (
	panelBytes = 128 // a step of a panel: 32 float32
	cacheLine  = 64
)
