package engine

import (
	"encoding/binary"

	"github.com/paretopress/paretopress/internal/kernel"
)

// The formats of this file hold blocks of 32 weights: a binary16 scale d, in the _1 types a
// binary16 minimum m, and codes. The low four bits of weights 0…15 are the low nibbles of the 16
// bytes qs, those of weights 16…31 the high nibbles; qh is a little-endian word whose bit j is
// the fifth bit of weight j. Each value is one float32 product, and in the _1 types one float32
// sum, rounded after each as the reference does.

// decodeQ4_0 reads 18 bytes: d, qs[16]. w = d·(q-8).
func decodeQ4_0(src []byte, dst []float32) {
	for ; len(dst) > 0; src, dst = src[18:], dst[32:] {
		d, qs := half(src), src[2:18]
		for j, q := range qs {
			dst[j] = d * float32(int(q&15)-8)
			dst[j+16] = d * float32(int(q>>4)-8)
		}
	}
}

// decodeQ4_1 reads 20 bytes: d, m, qs[16]. w = d·q + m.
func decodeQ4_1(src []byte, dst []float32) { kernel.DecodeQ4_1(dst, src) }

// decodeQ5_0 reads 22 bytes: d, qh[4], qs[16]. w = d·(q-16).
func decodeQ5_0(src []byte, dst []float32) {
	for ; len(dst) > 0; src, dst = src[22:], dst[32:] {
		d, qh, qs := half(src), binary.LittleEndian.Uint32(src[2:]), src[6:22]
		for j, q := range qs {
			dst[j] = d * float32(int(uint32(q&15)|qh>>j&1<<4)-16)
			dst[j+16] = d * float32(int(uint32(q>>4)|qh>>(j+16)&1<<4)-16)
		}
	}
}

// decodeQ5_1 reads 24 bytes: d, m, qh[4], qs[16]. w = d·q + m.
func decodeQ5_1(src []byte, dst []float32) {
	for ; len(dst) > 0; src, dst = src[24:], dst[32:] {
		d, m, qh, qs := half(src), half(src[2:]), binary.LittleEndian.Uint32(src[4:]), src[8:24]
		for j, q := range qs {
			dst[j] = float32(d*float32(uint32(q&15)|qh>>j&1<<4)) + m
			dst[j+16] = float32(d*float32(uint32(q>>4)|qh>>(j+16)&1<<4)) + m
		}
	}
}

// decodeQ8_0 reads 34 bytes: d, qs[32] of int8. w = d·q.
func decodeQ8_0(src []byte, dst []float32) {
	for ; len(dst) > 0; src, dst = src[34:], dst[32:] {
		d := half(src)
		for j, q := range src[2:34] {
			dst[j] = d * float32(int8(q))
		}
	}
}
