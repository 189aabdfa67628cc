package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tiles names functions that need AMX.
var tiles = isa{"AMX", 64}

const matmulAMXDoc = `computes rows of C for a panel%[1]s.
Strides are in bytes; steps of a tile's depth, 32 columns, >= 1. The sums over the 16 even and over the 16 odd columns of a step are apart
until its end; each rounding is to nearest, denormals are flushed to zero.

	load(config)
	for i := range rows {
		for j := range 32 {
			s := c[i][j] // 0 unless accumulate
			for l := range steps {
				var even, odd float32
				for k := range 16 {
					even += a[i][32*l+2*k] * b[16*l+k][j][0]
					odd += a[i][32*l+2*k+1] * b[16*l+k][j][1]
				}
				s += even + odd
			}
			c[i][j] = s
		}
	}
	release()`

// amx generates the product with tiles of 16 rows of 64 bytes: blocks of 2 x 2 tiles of C, and 1 x 2 where at most 16 rows are left.
func amx(g *gen) {
	const signature = "steps int, a *uint16, lda int, b *uint16, c *float32, ldc int, accumulate bool, config *byte)"
	g.function(tiles, "matmulBlocks", "func(blocks, "+signature,
		fmt.Sprintf(matmulAMXDoc, ": 32·blocks rows, blocks >= 1, or if config has\nfewer, 17 … 31 and blocks = 1"))
	g.matmulAMX(2)
	g.function(tiles, "matmulRows", "func("+signature, fmt.Sprintf(matmulAMXDoc, ", as many as config says, 1 … 16"))
	g.matmulAMX(1)
}

// The tiles: 0 … 3 are C, row by row, 4 and 5 are A, 6 and 7 are B.
const (
	tileA = 4
	tileB = 6
)

// matmulAMX generates the product for blocks of C two tiles high, or for a single one a tile high.
func (g *gen) matmulAMX(height int) {
	config, blocks, steps := reg.RAX, reg.R12, reg.RCX
	a, lda := [2]reg.GPPhysical{reg.RSI, reg.RDI}, reg.RDX
	b, ldb := reg.R10, reg.R11
	c, ldc := [2]reg.GPPhysical{reg.R8, reg.R9}, reg.RAX
	// below sets p to a tile's height below q.
	below := func(p, q, stride reg.Register) {
		g.MOVQ(stride, p)
		g.SHLQ(operand.U8(4), p)
		g.ADDQ(q, p)
	}
	g.Load(g.Param("config"), config)
	g.emit("AMX-TILE", ldtilecfg(config))
	g.Load(g.Param("a"), a[0])
	g.Load(g.Param("lda"), lda)
	g.MOVQ(operand.U32(panelBytes), ldb)
	g.Load(g.Param("c"), c[0])
	g.Load(g.Param("ldc"), ldc)
	if height == 2 {
		g.Load(g.Param("blocks"), blocks)
		g.Label("block")
		below(a[1], a[0], lda)
		below(c[1], c[0], ldc)
	}
	g.Load(g.Param("accumulate"), reg.BL)
	g.TESTB(reg.BL, reg.BL)
	g.JZ(operand.LabelRef("zero"))
	for i := range height {
		for j := range 2 {
			g.emit("AMX-TILE", tileloadd(2*i+j, c[i], ldc, int8(64*j)))
		}
	}
	g.JMP(operand.LabelRef("start"))
	g.Label("zero")
	for t := range 2 * height {
		g.emit("AMX-TILE", tilezero(t))
	}
	g.Label("start")
	g.Load(g.Param("b"), b)
	g.Load(g.Param("steps"), steps)

	g.Label("loop")
	for i := range height {
		g.emit("AMX-TILE", tileloadd(tileA+i, a[i], lda, 0))
		for j := range 2 {
			if i == 0 {
				g.emit("AMX-TILE", tileloadd(tileB+j, b, ldb, int8(64*j)))
			}
			g.emit("AMX-BF16", tdpbf16ps(2*i+j, tileA+i, tileB+j))
		}
		g.ADDQ(operand.I8(64), a[i])
	}
	g.ADDQ(operand.I32(16*panelBytes), b)
	g.DECQ(steps)
	g.JNZ(operand.LabelRef("loop"))

	for i := range height {
		for j := range 2 {
			g.emit("AMX-TILE", tilestored(c[i], ldc, int8(64*j), 2*i+j))
		}
	}
	if height == 2 {
		g.Load(g.Param("steps"), steps)
		g.SHLQ(operand.U8(6), steps)
		g.SUBQ(steps, a[1]) // back to the first column
		below(a[0], a[1], lda)
		below(c[0], c[1], ldc)
		g.DECQ(blocks)
		g.JNZ(operand.LabelRef("block"))
	}
	g.emit("AMX-TILE", tilerelease())
	g.RET()
}
