package kernel

import (
	"encoding/binary"
	"fmt"
)

// GGMLBlock is a block of one of ggml's types, its numbers apart. Types with blocks of 32 use Scale, the _1 types Min, and the first
// 32 codes.
type GGMLBlock struct {
	Scale  uint16     // the bits of d; in MXFP4 the exponent, at most 255
	Min    uint16     // the bits of m or dmin, where the type has one
	Scales [16]uint8  // of the sub-blocks: 4 bits in Q2_K, 6 in Q3_K (32 more than they stand for), Q4_K and Q5_K, an int8 in Q6_K
	Mins   [16]uint8  // 4 bits in Q2_K, 6 in Q4_K and Q5_K
	Codes  [256]uint8 // as stored: not negative, but for Q8_0, where they are int8
}

// Pack writes the block to dst in the form that [GGMLType.Decode] reads. Numbers with more bits than their place are a fault of the caller.
func (t GGMLType) Pack(dst []byte, b *GGMLBlock) {
	dst = dst[:t.BlockBytes()]
	switch t {
	case Q4_0, IQ4NL:
		binary.LittleEndian.PutUint16(dst, b.Scale)
		packNibbles(dst[2:], b.Codes[:32])
	case Q4_1:
		binary.LittleEndian.PutUint16(dst, b.Scale)
		binary.LittleEndian.PutUint16(dst[2:], b.Min)
		packNibbles(dst[4:], b.Codes[:32])
	case Q5_0:
		binary.LittleEndian.PutUint16(dst, b.Scale)
		packFives(dst[2:], b.Codes[:32])
	case Q5_1:
		binary.LittleEndian.PutUint16(dst, b.Scale)
		binary.LittleEndian.PutUint16(dst[2:], b.Min)
		packFives(dst[4:], b.Codes[:32])
	case Q8_0:
		binary.LittleEndian.PutUint16(dst, b.Scale)
		copy(dst[2:], b.Codes[:32])
	case MXFP4:
		dst[0] = uint8(b.Scale)
		packNibbles(dst[1:], b.Codes[:32])
	case Q2K:
		packQ2K(dst, b)
	case Q3K:
		packQ3K(dst, b)
	case Q4K:
		packQ4K(dst, b)
	case Q5K:
		packQ5K(dst, b)
	case Q6K:
		packQ6K(dst, b)
	default:
		panic(fmt.Sprintf("kernel: no packing for %v", t))
	}
}

// packNibbles writes the codes of 32 weights: those of the first half are the low nibbles.
func packNibbles(dst []byte, codes []uint8) {
	for j := range 16 {
		dst[j] = codes[j]&15 | codes[j+16]<<4
	}
}

// packFives writes the fifth bits of the codes of 32 weights as a word, then their low nibbles.
func packFives(dst []byte, codes []uint8) {
	var high uint32
	for j, c := range codes {
		high |= uint32(c>>4&1) << j
	}
	binary.LittleEndian.PutUint32(dst, high)
	packNibbles(dst[4:], codes)
}

// packTwos sets the two low bits of the codes of 256 weights as Q2_K, Q3_K and the high bits of Q6_K lie: weight 128h+32k+l has bits
// 2k, 2k+1 of dst[32h+l].
func packTwos(dst []byte, codes *[256]uint8, shift int) {
	for i := range 64 {
		h, l := i/32*128, i%32
		dst[i] = codes[h+l]>>shift&3 | codes[h+32+l]>>shift&3<<2 | codes[h+64+l]>>shift&3<<4 | codes[h+96+l]>>shift&3<<6
	}
}

// packHighBits sets bit s of dst[l] to the given bit of the code of weight 32s+l.
func packHighBits(dst []byte, codes *[256]uint8, bit int) {
	for l := range 32 {
		dst[l] = 0
		for s := range 8 {
			dst[l] |= codes[32*s+l] >> bit & 1 << s
		}
	}
}

func packQ2K(dst []byte, b *GGMLBlock) {
	for s := range 16 {
		dst[s] = b.Scales[s]&15 | b.Mins[s]<<4
	}
	packTwos(dst[16:], &b.Codes, 0)
	binary.LittleEndian.PutUint16(dst[80:], b.Scale)
	binary.LittleEndian.PutUint16(dst[82:], b.Min)
}

func packQ3K(dst []byte, b *GGMLBlock) {
	packHighBits(dst, &b.Codes, 2)
	packTwos(dst[32:], &b.Codes, 0)
	scales := dst[96:108]
	clear(scales)
	for s := range 16 {
		scales[s%8] |= b.Scales[s] & 15 << (s / 8 * 4)
		scales[8+s%4] |= b.Scales[s] >> 4 & 3 << (s / 4 * 2)
	}
	binary.LittleEndian.PutUint16(dst[108:], b.Scale)
}

// packScalesK writes the head of Q4_K and Q5_K: see scaleMinK.
func packScalesK(dst []byte, b *GGMLBlock) {
	binary.LittleEndian.PutUint16(dst, b.Scale)
	binary.LittleEndian.PutUint16(dst[2:], b.Min)
	for s := range 4 {
		dst[4+s] = b.Scales[s]&63 | b.Scales[s+4]>>4<<6
		dst[8+s] = b.Mins[s]&63 | b.Mins[s+4]>>4<<6
		dst[12+s] = b.Scales[s+4]&15 | b.Mins[s+4]<<4
	}
}

// packNibblesK writes the low nibbles of the codes of Q4_K and Q5_K.
func packNibblesK(dst []byte, codes *[256]uint8) {
	for i := range 128 {
		dst[i] = codes[i/32*64+i%32]&15 | codes[i/32*64+32+i%32]<<4
	}
}

func packQ4K(dst []byte, b *GGMLBlock) {
	packScalesK(dst, b)
	packNibblesK(dst[16:], &b.Codes)
}

func packQ5K(dst []byte, b *GGMLBlock) {
	packScalesK(dst, b)
	packHighBits(dst[16:], &b.Codes, 4)
	packNibblesK(dst[48:], &b.Codes)
}

func packQ6K(dst []byte, b *GGMLBlock) {
	for i := range 128 {
		at := i/64*128 + i%64
		dst[i] = b.Codes[at]&15 | b.Codes[at+64]<<4
	}
	packTwos(dst[128:], &b.Codes, 4)
	for s, sc := range b.Scales {
		dst[192+s] = sc
	}
	binary.LittleEndian.PutUint16(dst[208:], b.Scale)
}
