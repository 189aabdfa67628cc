//go:build amd64 && !noasm

package kernel

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// Supports asks the operating system as well: whether it saves the wide registers.
var (
	hasAVX2   = cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3)
	hasAVX512 = hasAVX2 && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL)
	hasBF16   = hasAVX512 && cpuid.CPU.Supports(cpuid.AVX512BF16)
	hasAMX    = hasAVX512 && cpuid.CPU.Supports(cpuid.AMXTILE, cpuid.AMXBF16) && permitAMX()
)

func supported(v variant) bool {
	return [numVariants]bool{pureGo: true, avx2: hasAVX2, avx512: hasAVX512, avx512bf16: hasBF16, amx: hasAMX}[v]
}

// preferred tells whether a variant that is supported is faster than those below it. VDPBF16PS does twice as many operations a second as
// VFMADD231PS on Zen 4, and half as many on Sapphire Rapids.
func preferred(v variant) bool { return v != avx512bf16 || cpuid.CPU.VendorID == cpuid.AMD }

// cacheL2 is the size of a core's second-level cache in bytes; 0 or less: unknown.
func cacheL2() int { return cpuid.CPU.Cache.L2 }

// The functions below choose the variant by calls that the compiler sees: through function values, every buffer on the stack would escape.

func expBlocks(v variant, dst, x *float32, blocks int) {
	switch v {
	case avx512:
		expAVX512(dst, x, blocks)
	case avx2:
		expAVX2(dst, x, blocks)
	default:
		expGo(dst, x, blocks)
	}
}

func siluMulBlocks(v variant, dst, gate, up *float32, blocks int) {
	switch v {
	case avx512:
		siluMulAVX512(dst, gate, up, blocks)
	case avx2:
		siluMulAVX2(dst, gate, up, blocks)
	default:
		siluMulGo(dst, gate, up, blocks)
	}
}

func addBlocks(v variant, dst, x *float32, blocks int) {
	switch v {
	case avx512:
		addAVX512(dst, x, blocks)
	case avx2:
		addAVX2(dst, x, blocks)
	default:
		addGo(dst, x, blocks)
	}
}

func scaleBlocks(v variant, x *float32, s float32, blocks int) {
	switch v {
	case avx512:
		scaleAVX512(x, s, blocks)
	case avx2:
		scaleAVX2(x, s, blocks)
	default:
		scaleGo(x, s, blocks)
	}
}

func scaleMulBlocks(v variant, dst, x, weight *float32, r float32, blocks int) {
	switch v {
	case avx512:
		scaleMulAVX512(dst, x, weight, r, blocks)
	case avx2:
		scaleMulAVX2(dst, x, weight, r, blocks)
	default:
		scaleMulGo(dst, x, weight, r, blocks)
	}
}

func sumSquaresBlocks(v variant, acc *block, x *float32, blocks int) {
	switch v {
	case avx512:
		sumSquaresAVX512(acc, x, blocks)
	case avx2:
		sumSquaresAVX2(acc, x, blocks)
	default:
		sumSquaresGo(acc, x, blocks)
	}
}

func maxBlocks(v variant, acc *block, x *float32, blocks int) {
	switch v {
	case avx512:
		maxAVX512(acc, x, blocks)
	case avx2:
		maxAVX2(acc, x, blocks)
	default:
		maxGo(acc, x, blocks)
	}
}

func sumExpBlocks(v variant, acc *block, x *float32, shift float32, blocks int) {
	switch v {
	case avx512:
		sumExpAVX512(acc, x, shift, blocks)
	case avx2:
		sumExpAVX2(acc, x, shift, blocks)
	default:
		sumExpGo(acc, x, shift, blocks)
	}
}

func expSumBlocks(v variant, acc *block, x *float32, shift float32, blocks int) {
	switch v {
	case avx512:
		expSumAVX512(acc, x, shift, blocks)
	case avx2:
		expSumAVX2(acc, x, shift, blocks)
	default:
		expSumGo(acc, x, shift, blocks)
	}
}

func klSumBlocks(v variant, acc *block, student, teacher *float32, lse float32, blocks int) {
	switch v {
	case avx512:
		klSumAVX512(acc, student, teacher, lse, blocks)
	case avx2:
		klSumAVX2(acc, student, teacher, lse, blocks)
	default:
		klSumGo(acc, student, teacher, lse, blocks)
	}
}

func ropeBlocks(v variant, lo, hi, cos, sin *float32, blocks int) {
	switch v {
	case avx512:
		ropeAVX512(lo, hi, cos, sin, blocks)
	case avx2:
		ropeAVX2(lo, hi, cos, sin, blocks)
	default:
		ropeBlocksGo(lo, hi, cos, sin, blocks)
	}
}

func addScaledBlocks(v variant, dst, x *float32, s float32, blocks int) {
	switch v {
	case avx512:
		addScaledAVX512(dst, x, s, blocks)
	case avx2:
		addScaledAVX2(dst, x, s, blocks)
	default:
		addScaledGo(dst, x, s, blocks)
	}
}

func siluMulGradBlocks(v variant, grad, gate, up *float32, blocks int) {
	switch v {
	case avx512:
		siluMulGradAVX512(grad, gate, up, blocks)
	case avx2:
		siluMulGradAVX2(grad, gate, up, blocks)
	default:
		siluMulGradGo(grad, gate, up, blocks)
	}
}

func softmaxGradBlocks(v variant, grad, p *float32, mean float32, blocks int) {
	switch v {
	case avx512:
		softmaxGradAVX512(grad, p, mean, blocks)
	case avx2:
		softmaxGradAVX2(grad, p, mean, blocks)
	default:
		softmaxGradGo(grad, p, mean, blocks)
	}
}

func normGradBlocks(v variant, dst, grad, x, weight *float32, r, k float32, blocks int) {
	switch v {
	case avx512:
		normGradAVX512(dst, grad, x, weight, r, k, blocks)
	case avx2:
		normGradAVX2(dst, grad, x, weight, r, k, blocks)
	default:
		normGradGo(dst, grad, x, weight, r, k, blocks)
	}
}

func dotBlocks(v variant, acc *block, x, y *float32, blocks int) {
	switch v {
	case avx512:
		dotAVX512(acc, x, y, blocks)
	case avx2:
		dotAVX2(acc, x, y, blocks)
	default:
		dotGo(acc, x, y, blocks)
	}
}

func dotMulBlocks(v variant, acc *block, x, y, weight *float32, blocks int) {
	switch v {
	case avx512:
		dotMulAVX512(acc, x, y, weight, blocks)
	case avx2:
		dotMulAVX2(acc, x, y, weight, blocks)
	default:
		dotMulGo(acc, x, y, weight, blocks)
	}
}

func dotRows(v variant, dst, x, matrix *float32, ld int, rows *int32, fours, blocks int) {
	switch v {
	case avx512:
		dotRowsAVX512(dst, x, matrix, 4*ld, rows, fours, blocks)
	case avx2:
		dotRowsAVX2(dst, x, matrix, 4*ld, rows, fours, blocks)
	default:
		dotRowsGo(dst, x, matrix, ld, rows, fours, blocks)
	}
}

func roundBlocksBF16(v variant, dst *uint16, src *float32, blocks int) {
	switch v {
	case avx512:
		roundBF16AVX512(dst, src, blocks)
	case avx2:
		roundBF16AVX2(dst, src, blocks)
	default:
		roundGo(dst, src, blocks)
	}
}

func expandBlocksBF16(v variant, dst *float32, src *uint16, blocks int) {
	if v == pureGo {
		expandGo(dst, src, blocks)
	} else {
		expandBF16AVX2(dst, src, blocks)
	}
}

func expandPairs(v variant, dst *float32, src *uint16, steps int) {
	if v == pureGo {
		expandPairsGo(dst, src, steps)
	} else {
		expandPairsAVX2(dst, src, steps)
	}
}

// packPairs packs by the kernel for float32: a pair of bfloat16 numbers moves as one number of 32 bits.
func packPairs(v variant, dst, src []uint16, ld, cols int) {
	if v == pureGo {
		packPairsGo(dst, src, ld, cols)
		return
	}
	for i := 0; i < PanelWidth; i += 8 {
		pack8AVX2((*float32)(unsafe.Pointer(&dst[2*i])), (*float32)(unsafe.Pointer(&src[i*ld])), 2*ld, cols/16)
	}
}
