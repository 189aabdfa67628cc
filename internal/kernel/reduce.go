package kernel

import (
	"math"
	"unsafe"
)

// Reductions work on whole blocks. A tail is padded with what leaves the lanes as they are: 0 for sums of squares, -Inf for a maximum and for
// sums of exponentials. The lanes travel through memory, so that a long slice can be split over calls.

// RMSNorm writes x·r·weight with r = 1/sqrt(mean(x²) + eps), each product rounded, as Hugging Face's LlamaRMSNorm does in float32.
// All have the same length; dst may be x.
func RMSNorm(dst, x, weight []float32, eps float32) {
	n := sameLength("RMSNorm", len(dst), len(x), len(weight))
	if n == 0 {
		return
	}
	r := 1 / sqrt32(float32(sumSquares(x)/float32(n))+eps)
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		scaleMulBlocks(v, &dst[i], &x[i], &weight[i], r, min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < n; i++ {
		dst[i] = weight[i] * float32(x[i]*r)
	}
}

// sumSquares returns Σ x², a chain of fused multiply-adds in each lane.
func sumSquares(x []float32) float32 {
	var acc block
	v := current()
	whole := len(x) &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		sumSquaresBlocks(v, &acc, &x[i], min(callBlocks, (whole-i)/lanes))
	}
	if whole < len(x) {
		var t block
		copy(t[:], x[whole:])
		sumSquaresBlocks(v, &acc, &t[0], 1)
	}
	return foldSum(&acc)
}

// maximum returns the largest element, -Inf of none. A NaN is passed over: m = x where x > m.
func maximum(x []float32) float32 {
	acc := filled(negInf)
	v := current()
	whole := len(x) &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		maxBlocks(v, &acc, &x[i], min(callBlocks, (whole-i)/lanes))
	}
	if whole < len(x) {
		t := filled(negInf)
		copy(t[:], x[whole:])
		maxBlocks(v, &acc, &t[0], 1)
	}
	for w := lanes / 2; w > 0; w /= 2 {
		for l := range w {
			if acc[l+w] > acc[l] {
				acc[l] = acc[l+w]
			}
		}
	}
	return acc[0]
}

// MaxSumExp returns the maximum of a tile of logits and Σ e^(l-max). The log-sum-exp of a row is merged from its tiles' pairs.
func MaxSumExp(logits []float32) (max, sum float32) {
	max = maximum(logits)
	return max, sumExp(logits, max, false)
}

// sumExp returns Σ e^(x-shift) and, if store is set, leaves the exponentials in x.
func sumExp(x []float32, shift float32, store bool) float32 {
	var acc block
	v := current()
	whole := len(x) &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		n := min(callBlocks, (whole-i)/lanes)
		if store {
			expSumBlocks(v, &acc, &x[i], shift, n)
		} else {
			sumExpBlocks(v, &acc, &x[i], shift, n)
		}
	}
	if whole < len(x) {
		t := filled(negInf)
		copy(t[:], x[whole:])
		expSumBlocks(v, &acc, &t[0], shift, 1)
		if store {
			copy(x[whole:], t[:])
		}
	}
	return foldSum(&acc)
}

// KLSum returns Σ p·(t-s) with p = e^(t-teacherLSE), over a tile of the student's logits s and the teacher's t, all finite: a chain of fused
// multiply-adds in each lane. Summed over the tiles of a row, KL(teacher ‖ student) = Σ KLSum + studentLSE - teacherLSE.
func KLSum(student, teacher []float32, teacherLSE float32) float32 {
	n := sameLength("KLSum", len(student), len(teacher))
	var acc block
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		klSumBlocks(v, &acc, &student[i], &teacher[i], teacherLSE, min(callBlocks, (whole-i)/lanes))
	}
	if whole < n {
		s, t := filled(klPad), filled(klPad)
		copy(s[:], student[whole:])
		copy(t[:], teacher[whole:])
		klSumBlocks(v, &acc, &s[0], &t[0], teacherLSE, 1)
	}
	return foldSum(&acc) + 0 // a lane of -0 counts as +0, padded or not
}

var negInf = float32(math.Inf(-1))

// klPad is a logit of student and teacher whose probability is 0 and whose difference is 0.
const klPad = -1e30

func filled(x float32) (b block) {
	for l := range b {
		b[l] = x
	}
	return b
}

// foldSum adds the lanes: l and l+8, l and l+4, l and l+2, l and l+1.
func foldSum(acc *block) float32 {
	for w := lanes / 2; w > 0; w /= 2 {
		for l := range w {
			acc[l] += acc[l+w]
		}
	}
	return acc[0]
}

// sqrt32 rounds once: a float64 root has more than twice the bits of a float32.
func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }

func scaleMulGo(dst, x, weight *float32, r float32, blocks int) {
	d, s, w := unsafe.Slice(dst, blocks*lanes), unsafe.Slice(x, blocks*lanes), unsafe.Slice(weight, blocks*lanes)
	for i, v := range s {
		d[i] = w[i] * float32(v*r)
	}
}

func sumSquaresGo(acc *block, x *float32, blocks int) {
	for i, v := range unsafe.Slice(x, blocks*lanes) {
		acc[i%lanes] = fma32(v, v, acc[i%lanes])
	}
}

func maxGo(acc *block, x *float32, blocks int) {
	for i, v := range unsafe.Slice(x, blocks*lanes) {
		if v > acc[i%lanes] {
			acc[i%lanes] = v
		}
	}
}

func sumExpGo(acc *block, x *float32, shift float32, blocks int) {
	for i, v := range unsafe.Slice(x, blocks*lanes) {
		acc[i%lanes] += exp32(v - shift)
	}
}

func expSumGo(acc *block, x *float32, shift float32, blocks int) {
	s := unsafe.Slice(x, blocks*lanes)
	for i, v := range s {
		s[i] = exp32(v - shift)
		acc[i%lanes] += s[i]
	}
}

func klSumGo(acc *block, student, teacher *float32, lse float32, blocks int) {
	s := unsafe.Slice(student, blocks*lanes)
	for i, t := range unsafe.Slice(teacher, blocks*lanes) {
		acc[i%lanes] = fma32(exp32(t-lse), t-s[i], acc[i%lanes])
	}
}
