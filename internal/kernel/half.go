package kernel

import "math"

// MaxF16 is the largest finite binary16 number.
const MaxF16 = 65504

// EncodeF16 rounds x to the nearest IEEE binary16 number, ties to even. What is too large becomes an
// infinity, as IEEE 754 rounding demands.
func EncodeF16(x float32) uint16 {
	b := math.Float32bits(x)
	sign, abs := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case abs > 0x7f800000: // NaN
		return sign | 0x7e00
	case abs >= 0x477ff000: // halfway between MaxF16 and what would follow it, or above
		return sign | 0x7c00
	case abs < 0x38800000: // below the smallest normal number, 2^-14
		// Added to 1/2, the last bit of the sum is worth 2^-24: the unit of subnormal numbers.
		return sign | uint16(math.Float32bits(math.Float32frombits(abs)+0.5)-0x3f000000)
	}
	abs += 0xfff + abs>>13&1 // rounds the 13 bits that go, ties to even
	return sign | uint16((abs-0x38000000)>>13)
}

// DecodeF16 is the value of the IEEE binary16 number h.
func DecodeF16(h uint16) float32 {
	sign, abs := uint32(h&0x8000)<<16, uint32(h&0x7fff)
	switch {
	case abs < 0x0400: // zero or subnormal
		return math.Float32frombits(sign | math.Float32bits(float32(abs)*0x1p-24))
	case abs >= 0x7c00: // infinity or NaN
		return math.Float32frombits(sign | 0x7f800000 | abs&0x3ff<<13)
	}
	return math.Float32frombits(sign | abs<<13 + 0x38000000)
}

// EncodeBF16 rounds x to the nearest bfloat16 number, ties to even.
func EncodeBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if b&0x7fffffff > 0x7f800000 { // NaN: rounding could carry into the sign
		return uint16(b>>16) | 0x0040
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// DecodeBF16 is the value of the bfloat16 number h: the upper half of a binary32 number.
func DecodeBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }
