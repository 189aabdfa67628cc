package kernel

import "encoding/binary"

// The types of this file hold blocks of 32 weights: a binary16 scale d, in the _1 types a
// binary16 minimum m, and codes. The low four bits of weights 0…15 are the low nibbles of the 16
// bytes qs, those of weights 16…31 the high nibbles; qh is a little-endian word whose bit j is
// the fifth bit of weight j. Each value is one float32 product, and in the _1 types one float32
// sum, rounded after each as the reference does. Q4_1 is in stored.go.

// decodeQ4_0 reads 18 bytes: d, qs[16]. w = d·(q-8).
func decodeQ4_0(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[18:], dst[32:] {
		d := half(src)
		var values [16]float32
		for q := range values {
			values[q] = d * float32(q-8)
		}
		lookNibbles((*[32]float32)(dst), (*[16]byte)(src[2:]), &values)
	}
}

// lookNibbles writes what the codes of 32 weights stand for.
func lookNibbles(w *[32]float32, qs *[16]byte, values *[16]float32) {
	for j, q := range qs {
		w[j] = values[q&15]
		w[j+16] = values[q>>4]
	}
}

// decodeQ5_0 reads 22 bytes: d, qh[4], qs[16]. w = d·(q-16).
func decodeQ5_0(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[22:], dst[32:] {
		d, qh := half(src), binary.LittleEndian.Uint32(src[2:])
		w := (*[32]float32)(dst)
		for j, q := range (*[16]byte)(src[6:]) {
			w[j] = d * float32(int32(uint32(q&15)|qh<<4&16)-16)
			w[j+16] = d * float32(int32(uint32(q>>4)|qh>>12&16)-16)
			qh >>= 1
		}
	}
}

// decodeQ5_1 reads 24 bytes: d, m, qh[4], qs[16]. w = d·q + m.
func decodeQ5_1(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[24:], dst[32:] {
		d, m, qh := half(src), half(src[2:]), binary.LittleEndian.Uint32(src[4:])
		w := (*[32]float32)(dst)
		for j, q := range (*[16]byte)(src[8:]) {
			w[j] = float32(d*float32(int32(uint32(q&15)|qh<<4&16))) + m
			w[j+16] = float32(d*float32(int32(uint32(q>>4)|qh>>12&16))) + m
			qh >>= 1
		}
	}
}

// decodeQ8_0 reads 34 bytes: d, qs[32] of int8. w = d·q.
func decodeQ8_0(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[34:], dst[32:] {
		d, w := half(src), (*[32]float32)(dst)
		for j, q := range (*[32]byte)(src[2:]) {
			w[j] = d * float32(int8(q))
		}
	}
}
