package kernel

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// DecodeF16s writes the values of little-endian binary16 numbers, two bytes each. A NaN stays a NaN.
func DecodeF16s(dst []float32, src []byte) {
	checkBytes("binary16 numbers", len(dst), 2*len(dst), src)
	v := current()
	whole := len(dst) &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		decodeF16Blocks(v, &dst[i], &src[2*i], min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < len(dst); i++ {
		dst[i] = DecodeF16(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// DecodeBF16s writes the values of little-endian bfloat16 numbers, two bytes each.
func DecodeBF16s(dst []float32, src []byte) {
	checkBytes("bfloat16 numbers", len(dst), 2*len(dst), src)
	v := current()
	whole := len(dst) &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		decodeBF16Blocks(v, &dst[i], &src[2*i], min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < len(dst); i++ {
		dst[i] = DecodeBF16(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// RoundF16s rounds each number to the nearest binary16 number, ties to even, and to an infinity where [EncodeF16] does. A NaN stays a
// NaN. dst and src have the same length and may be the same slice.
func RoundF16s(dst, src []float32) {
	n := sameLength("RoundF16s", len(dst), len(src))
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		roundF16Blocks(v, &dst[i], &src[i], min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < n; i++ {
		dst[i] = DecodeF16(EncodeF16(src[i]))
	}
}

// DecodeQ4_1 writes the weights of blocks in ggml's format Q4_1: 32 weights in 20 bytes, a binary16 scale d, a binary16 minimum m and 16
// bytes of codes, the low nibbles before the high ones. A weight is d·code + m, rounded after the product and after the sum.
func DecodeQ4_1(dst []float32, src []byte) {
	if len(dst)%32 != 0 {
		panic(fmt.Sprintf("kernel: %d weights are no whole blocks of Q4_1", len(dst)))
	}
	checkBytes("weights in Q4_1", len(dst), len(dst)/32*20, src)
	v := current()
	for i := 0; i < len(dst); i += callBlocks * lanes {
		decodeQ4_1Blocks(v, &dst[i], &src[i/32*20], min(callBlocks/2, (len(dst)-i)/32))
	}
}

func checkBytes(what string, n, bytes int, src []byte) {
	if len(src) < bytes {
		panic(fmt.Sprintf("kernel: %d %s in %d bytes", n, what, len(src)))
	}
}

func decodeF16Go(dst *float32, src *byte, blocks int) {
	d, s := unsafe.Slice(dst, blocks*lanes), unsafe.Slice(src, 2*blocks*lanes)
	for i := range d {
		d[i] = DecodeF16(binary.LittleEndian.Uint16(s[2*i:]))
	}
}

func decodeBF16Go(dst *float32, src *byte, blocks int) {
	d, s := unsafe.Slice(dst, blocks*lanes), unsafe.Slice(src, 2*blocks*lanes)
	for i := range d {
		d[i] = DecodeBF16(binary.LittleEndian.Uint16(s[2*i:]))
	}
}

func roundF16Go(dst, src *float32, blocks int) {
	d, s := unsafe.Slice(dst, blocks*lanes), unsafe.Slice(src, blocks*lanes)
	for i, x := range s {
		d[i] = DecodeF16(EncodeF16(x))
	}
}

func decodeQ4_1Go(dst *float32, src *byte, blocks int) {
	all := unsafe.Slice(dst, 32*blocks)
	for block := unsafe.Slice(src, 20*blocks); len(block) > 0; block, all = block[20:], all[32:] {
		d, m := DecodeF16(binary.LittleEndian.Uint16(block)), DecodeF16(binary.LittleEndian.Uint16(block[2:]))
		for j, q := range block[4:20] {
			all[j] = float32(d*float32(q&15)) + m
			all[j+16] = float32(d*float32(q>>4)) + m
		}
	}
}
