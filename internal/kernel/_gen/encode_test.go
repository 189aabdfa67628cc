package main

import (
	"encoding/hex"
	"testing"

	"github.com/mmcloughlin/avo/reg"
)

// TestEncode compares with what GNU as 2.40 makes of the text, and GNU objdump reads back.
func TestEncode(t *testing.T) {
	for _, c := range []struct {
		code        code
		text, bytes string
	}{
		{vdpbf16ps(0, 1, 2), "vdpbf16ps zmm0, zmm1, zmm2", "62f2764852c2"},
		{vdpbf16ps(31, 30, 29), "vdpbf16ps zmm31, zmm30, zmm29", "62020e4052fd"},
		{vdpbf16ps(8, 16, 7), "vdpbf16ps zmm8, zmm16, zmm7", "62727e4052c7"},
		{vdpbf16ps(16, 7, 8), "vdpbf16ps zmm16, zmm7, zmm8", "62c2464852c0"},
		{vdpbf16ps(7, 8, 16), "vdpbf16ps zmm7, zmm8, zmm16", "62b23e4852f8"},
		{ldtilecfg(reg.RAX), "ldtilecfg [rax]", "c4e2784900"},
		{ldtilecfg(reg.R15), "ldtilecfg [r15]", "c4c2784907"},
		{tilerelease(), "tilerelease", "c4e27849c0"},
		{tilezero(0), "tilezero tmm0", "c4e27b49c0"},
		{tilezero(7), "tilezero tmm7", "c4e27b49f8"},
		{tileloadd(0, reg.RAX, reg.RCX, 64), "tileloadd tmm0, [rax+rcx*1+0x40]", "c4e27b4b440840"},
		{tileloadd(6, reg.R8, reg.R9, 0), "tileloadd tmm6, [r8+r9*1+0x0]", "c4827b4b740800"},
		{tileloadd(3, reg.RBX, reg.R15, 127), "tileloadd tmm3, [rbx+r15*1+0x7f]", "c4a27b4b5c3b7f"},
		{tileloadd(5, reg.R11, reg.RDX, -128), "tileloadd tmm5, [r11+rdx*1-0x80]", "c4c27b4b6c1380"},
		{tilestored(reg.RDI, reg.RSI, 0, 2), "tilestored [rdi+rsi*1+0x0], tmm2", "c4e27a4b543700"},
		{tilestored(reg.R14, reg.R10, 64, 7), "tilestored [r14+r10*1+0x40], tmm7", "c4827a4b7c1640"},
		{tdpbf16ps(0, 4, 6), "tdpbf16ps tmm0, tmm4, tmm6", "c4e24a5cc4"},
		{tdpbf16ps(3, 5, 7), "tdpbf16ps tmm3, tmm5, tmm7", "c4e2425cdd"},
		{tdpbf16ps(1, 2, 3), "tdpbf16ps tmm1, tmm2, tmm3", "c4e2625cca"},
	} {
		if got := hex.EncodeToString(c.code.bytes); c.code.text != c.text || got != c.bytes {
			t.Errorf("%s: %s, want %s: %s", c.code.text, got, c.text, c.bytes)
		}
	}
}

func TestLine(t *testing.T) {
	const want = "BYTE $0xc4; BYTE $0xe2; BYTE $0x78; BYTE $0x49; BYTE $0xc0 // tilerelease"
	if got := tilerelease().line(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestNoEncoding holds that registers whose addresses would mean something else are refused.
func TestNoEncoding(t *testing.T) {
	for _, r := range []reg.GPPhysical{reg.RSP, reg.RBP, reg.R12, reg.R13} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was encoded", r.Asm())
				}
			}()
			tileloadd(0, r, reg.RAX, 0)
		}()
	}
}
