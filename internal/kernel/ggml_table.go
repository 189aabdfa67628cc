package kernel

import "math"

// The types of this file hold blocks of 32 weights whose codes stand for values of a table. The
// low nibbles of the 16 bytes qs are weights 0…15, the high nibbles weights 16…31.

// IQ4NLValues are the integers that the codes of IQ4_NL stand for, ascending.
var IQ4NLValues = [16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// MXFP4Values are twice the numbers of E2M1, the elements of MXFP4, that its codes stand for. Code 8 is -0 in E2M1 and 0 in ggml.
var MXFP4Values = [16]int8{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

// maxE8M0 is the largest exponent of MXFP4 with which all its weights are finite. 255 is NaN in E8M0.
const maxE8M0 = 252

// HalfE8M0 is half of 2^(e-127), what ggml multiplies the entries of MXFP4Values by.
func HalfE8M0(e uint8) float32 {
	if e < 2 { // subnormal
		return math.Float32frombits(0x00200000 << e)
	}
	return math.Float32frombits(uint32(e-1) << 23)
}

// decodeIQ4NL reads 18 bytes: d, qs[16]. w = d·table[q].
func decodeIQ4NL(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[18:], dst[32:] {
		lookTable(dst, src[2:], half(src), &IQ4NLValues)
	}
}

// decodeMXFP4 reads 17 bytes: e, qs[16]. w = 2^(e-128)·table[q].
func decodeMXFP4(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[17:], dst[32:] {
		lookTable(dst, src[1:], HalfE8M0(src[0]), &MXFP4Values)
	}
}

func lookTable(dst []float32, qs []byte, d float32, table *[16]int8) {
	var values [16]float32
	for q, v := range table {
		values[q] = d * float32(v)
	}
	lookNibbles((*[32]float32)(dst), (*[16]byte)(qs), &values)
}
