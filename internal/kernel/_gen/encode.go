package main

import (
	"fmt"
	"strings"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/reg"
)

// Neither Go's assembler nor avo knows the instructions for bfloat16 and for tiles. This file encodes the few that package kernel
// uses; the manual, Intel 64 and IA-32 Architectures Software Developer's Manual, Volume 2, gives the forms quoted. Registers are physical:
// the bytes are fixed before avo allocates, and a function that encodes general registers leaves none to allocate.

// code is an encoded instruction.
type code struct {
	bytes []byte
	text  string // the instruction in the manual's words and operand order
}

// line is the instruction as BYTE directives on a line.
func (c code) line() string {
	s := make([]string, len(c.bytes))
	for i, b := range c.bytes {
		s[i] = fmt.Sprintf("BYTE $0x%02x", b)
	}
	return strings.Join(s, "; ") + " // " + c.text
}

// emit adds an encoded instruction of an instruction set extension. avo writes an opcode without operands as it is.
func (g *gen) emit(extension string, c code) {
	g.Instruction(&ir.Instruction{Opcode: c.line(), ISA: []string{extension}})
}

// Fields of the prefixes EVEX and VEX.
const (
	pp00   = 0 // no prefix
	ppF3   = 2
	ppF2   = 3
	map38  = 2 // opcodes 0F 38
	modReg = 3 // ModRM.mod of a register operand
	rmSIB  = 4 // ModRM.rm of an operand with a SIB byte
)

// bit is bit i of n, inverted: so the prefixes hold the high bits of register numbers.
func bit(n, i int) byte { return byte(^n>>i) & 1 }

func modRM(mod, reg, rm int) byte { return byte(mod<<6 | reg&7<<3 | rm&7) }

// vdpbf16ps is VDPBF16PS zmm1, zmm2, zmm3: EVEX.512.F3.0F38.W0 52 /r.
func vdpbf16ps(zmm1, zmm2, zmm3 int) code {
	return code{[]byte{
		0x62,
		bit(zmm1, 3)<<7 | bit(zmm3, 4)<<6 | bit(zmm3, 3)<<5 | bit(zmm1, 4)<<4 | map38,
		byte(^zmm2&15)<<3 | 1<<2 | ppF3,
		2<<5 | bit(zmm2, 4)<<3, // 512 bits, no mask
		0x52,
		modRM(modReg, zmm1, zmm3),
	}, fmt.Sprintf("vdpbf16ps zmm%d, zmm%d, zmm%d", zmm1, zmm2, zmm3)}
}

// vex is a VEX.128 prefix of three bytes, W0, opcode map 0F 38, with the register number vvvv.
func vex(index, base, vvvv int, pp byte) []byte {
	return []byte{0xc4, 1<<7 | bit(index, 3)<<6 | bit(base, 3)<<5 | map38, byte(^vvvv&15)<<3 | pp}
}

// ldtilecfg is LDTILECFG m512, the memory at a register: VEX.128.NP.0F38.W0 49 /0.
func ldtilecfg(base reg.GPPhysical) code {
	b := number(base)
	return code{append(vex(0, b, 0, pp00), 0x49, modRM(0, 0, b)), fmt.Sprintf("ldtilecfg [%s]", name(base))}
}

// tilerelease is TILERELEASE: VEX.128.NP.0F38.W0 49 C0.
func tilerelease() code { return code{append(vex(0, 0, 0, pp00), 0x49, 0xc0), "tilerelease"} }

// tilezero is TILEZERO tmm: VEX.128.F2.0F38.W0 49 11:rrr:000.
func tilezero(tmm int) code {
	return code{append(vex(0, 0, 0, ppF2), 0x49, modRM(modReg, tmm, 0)), fmt.Sprintf("tilezero tmm%d", tmm)}
}

// tileloadd is TILELOADD tmm, sibmem, row r at base + r·stride + disp: VEX.128.F2.0F38.W0 4B /r.
func tileloadd(tmm int, base, stride reg.GPPhysical, disp int8) code {
	bytes, address := sibmem(ppF2, tmm, base, stride, disp)
	return code{bytes, fmt.Sprintf("tileloadd tmm%d, %s", tmm, address)}
}

// tilestored is TILESTORED sibmem, tmm: VEX.128.F3.0F38.W0 4B /r.
func tilestored(base, stride reg.GPPhysical, disp int8, tmm int) code {
	bytes, address := sibmem(ppF3, tmm, base, stride, disp)
	return code{bytes, fmt.Sprintf("tilestored %s, tmm%d", address, tmm)}
}

// sibmem is a move of a tile to or from memory, and the text of its address.
func sibmem(pp byte, tmm int, base, stride reg.GPPhysical, disp int8) (bytes []byte, address string) {
	b, s := number(base), number(stride)
	const disp8 = 1 // ModRM.mod
	return append(vex(s, b, 0, pp), 0x4b, modRM(disp8, tmm, rmSIB), byte(s&7<<3|b&7), byte(disp)),
		fmt.Sprintf("[%s+%s*1%+#x]", name(base), name(stride), disp)
}

// tdpbf16ps is TDPBF16PS tmm1, tmm2, tmm3, tmm1 += tmm2 · tmm3: VEX.128.F3.0F38.W0 5C 11:rrr:bbb, vvvv is tmm3.
func tdpbf16ps(tmm1, tmm2, tmm3 int) code {
	c := append(vex(0, 0, tmm3, ppF3), 0x5c, modRM(modReg, tmm1, tmm2))
	return code{c, fmt.Sprintf("tdpbf16ps tmm%d, tmm%d, tmm%d", tmm1, tmm2, tmm3)}
}

// number is a 64-bit register's number in an encoding. As bases, SP, BP, R12 and R13 have encodings of their own, which nothing here needs.
func number(r reg.GPPhysical) int {
	n := int(r.PhysicalIndex())
	if n&7 == 4 || n&7 == 5 {
		panic("gen: no encoding for " + r.Asm()) // a bug of this generator
	}
	return n
}

// name is a 64-bit register's name in the manual.
func name(r reg.GPPhysical) string {
	if n := number(r); n >= 8 {
		return fmt.Sprintf("r%d", n)
	}
	return "r" + strings.ToLower(r.Asm())
}
