package kernel

import (
	"fmt"
	"slices"
	"unsafe"
)

// What only backward passes need. Elementwise functions round every operation on its own, except where one says fma.

// AddScaled adds s·x to dst, with one rounding: dst[i] = fma(x[i], s, dst[i]).
func AddScaled(dst, x []float32, s float32) {
	n := sameLength("AddScaled", len(dst), len(x))
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		addScaledBlocks(v, &dst[i], &x[i], s, min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < n; i++ {
		dst[i] = fma32(x[i], s, dst[i])
	}
}

// SiLUMulGrad is the gradient of [SiLUMul]: grad, the gradient of its result, becomes the result itself, gate the gradient of gate, and up
// that of up. All have the same length.
func SiLUMulGrad(grad, gate, up []float32) {
	n := sameLength("SiLUMulGrad", len(grad), len(gate), len(up))
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		siluMulGradBlocks(v, &grad[i], &gate[i], &up[i], min(callBlocks, (whole-i)/lanes))
	}
	if whole < n {
		var a, b, c block
		copy(a[:], grad[whole:])
		copy(b[:], gate[whole:])
		copy(c[:], up[whole:])
		siluMulGradBlocks(v, &a[0], &b[0], &c[0], 1)
		copy(grad[whole:], a[:])
		copy(gate[whole:], b[:])
		copy(up[whole:], c[:])
	}
}

// SoftmaxGrad turns grad, the gradient of the probabilities p, into that of what the softmax was taken of: p·(grad - Σ p·grad). Both have the
// same length.
func SoftmaxGrad(grad, p []float32) {
	n := sameLength("SoftmaxGrad", len(grad), len(p))
	mean := Dot(grad, p)
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		softmaxGradBlocks(v, &grad[i], &p[i], mean, min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < n; i++ {
		grad[i] = p[i] * (grad[i] - mean)
	}
}

// RMSNormGrad is the gradient of [RMSNorm] of x: it adds that of x to dst, and turns grad, the gradient of the result, into this row's part of
// the gradient of weight. All have the same length; dst must not overlap the others.
func RMSNormGrad(dst, grad, x, weight []float32, eps float32) {
	n := sameLength("RMSNormGrad", len(dst), len(grad), len(x), len(weight))
	if n == 0 {
		return
	}
	r := 1 / sqrt32(float32(sumSquares(x)/float32(n))+eps)
	var acc block
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		dotMulBlocks(v, &acc, &grad[i], &x[i], &weight[i], min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < n; i++ {
		acc[i-whole] = fma32(float32(grad[i]*weight[i]), x[i], acc[i-whole])
	}
	k := float32(float32(float32(r*r)*r) * float32(foldSum(&acc)/float32(n)))
	for i := 0; i < whole; i += callBlocks * lanes {
		normGradBlocks(v, &dst[i], &grad[i], &x[i], &weight[i], r, k, min(callBlocks, (whole-i)/lanes))
	}
	if whole < n {
		normGrad(dst[whole:], grad[whole:], x[whole:], weight[whole:], r, k)
	}
}

// ExpSum replaces each element by e^(x-shift) and returns their sum.
func ExpSum(x []float32, shift float32) float32 { return sumExp(x, shift, true) }

// Dot returns Σ x·y, a chain of fused multiply-adds in each lane.
func Dot(x, y []float32) float32 {
	n := sameLength("Dot", len(x), len(y))
	var acc block
	v := current()
	whole := n &^ (lanes - 1)
	for i := 0; i < whole; i += callBlocks * lanes {
		dotBlocks(v, &acc, &x[i], &y[i], min(callBlocks, (whole-i)/lanes))
	}
	for i := whole; i < n; i++ {
		acc[i-whole] = fma32(x[i], y[i], acc[i-whole])
	}
	return foldSum(&acc)
}

// Dots adds to each element of dst what Dot returns for x and a row of a matrix: rows start ld numbers apart, and dst[j] belongs to row
// rows[j]. A row has as many numbers as x, at most 16384.
func Dots(dst []float32, x, matrix []float32, ld int, rows []int32) {
	sameLength("Dots", len(dst), len(rows))
	n := len(x)
	if n > callBlocks*lanes {
		panic(fmt.Sprintf("kernel: Dots: rows of %d numbers, at most %d are taken", n, callBlocks*lanes))
	}
	if len(rows) == 0 || n == 0 {
		return
	}
	checkMatrix("rows of Dots", matrix, ld, int(slices.Max(rows))+1, n)
	if least := slices.Min(rows); least < 0 {
		panic(fmt.Sprintf("kernel: Dots: row %d", least))
	}
	if n%lanes != 0 {
		for j, r := range rows {
			dst[j] += Dot(x, matrix[int(r)*ld:][:n])
		}
		return
	}
	v := current()
	whole := len(rows) &^ 3
	for j, most := 0, callBlocks/(n/lanes); j < whole; j += 4 * most {
		dotRows(v, &dst[j], &x[0], &matrix[0], ld, &rows[j], min(most, (whole-j)/4), n/lanes)
	}
	if rest := rows[whole:]; len(rest) > 0 {
		var sums [4]float32
		four := [4]int32{rest[0], rest[0], rest[0], rest[0]}
		copy(four[:], rest)
		copy(sums[:], dst[whole:])
		dotRows(v, &sums[0], &x[0], &matrix[0], ld, &four[0], 1, n/lanes)
		copy(dst[whole:], sums[:])
	}
}

func addScaledGo(dst, x *float32, s float32, blocks int) {
	d := unsafe.Slice(dst, blocks*lanes)
	for i, v := range unsafe.Slice(x, blocks*lanes) {
		d[i] = fma32(v, s, d[i])
	}
}

func siluMulGradGo(grad, gate, up *float32, blocks int) {
	d, g, u := unsafe.Slice(grad, blocks*lanes), unsafe.Slice(gate, blocks*lanes), unsafe.Slice(up, blocks*lanes)
	for i, v := range g {
		s := 1 / (1 + exp32(-v))
		a := float32(v * s)
		d[i], g[i], u[i] = float32(a*u[i]), float32(float32(d[i]*u[i])*fma32(a, 1-s, s)), float32(d[i]*a)
	}
}

func softmaxGradGo(grad, p *float32, mean float32, blocks int) {
	d := unsafe.Slice(grad, blocks*lanes)
	for i, v := range unsafe.Slice(p, blocks*lanes) {
		d[i] = v * (d[i] - mean)
	}
}

func normGradGo(dst, grad, x, weight *float32, r, k float32, blocks int) {
	n := blocks * lanes
	normGrad(unsafe.Slice(dst, n), unsafe.Slice(grad, n), unsafe.Slice(x, n), unsafe.Slice(weight, n), r, k)
}

func normGrad(dst, grad, x, weight []float32, r, k float32) {
	for i, v := range x {
		dst[i] += float32(float32(grad[i]*weight[i])*r) - float32(v*k)
		grad[i] *= float32(v * r)
	}
}

func dotGo(acc *block, x, y *float32, blocks int) {
	s := unsafe.Slice(y, blocks*lanes)
	for i, v := range unsafe.Slice(x, blocks*lanes) {
		acc[i%lanes] = fma32(v, s[i], acc[i%lanes])
	}
}

func dotMulGo(acc *block, x, y, weight *float32, blocks int) {
	s, w := unsafe.Slice(y, blocks*lanes), unsafe.Slice(weight, blocks*lanes)
	for i, v := range unsafe.Slice(x, blocks*lanes) {
		acc[i%lanes] = fma32(float32(v*w[i]), s[i], acc[i%lanes])
	}
}

func dotRowsGo(dst, x, matrix *float32, ld int, rows *int32, fours, blocks int) {
	d := unsafe.Slice(dst, 4*fours)
	for j, r := range unsafe.Slice(rows, 4*fours) {
		var acc block
		dotGo(&acc, x, (*float32)(unsafe.Add(unsafe.Pointer(matrix), 4*int(r)*ld)), blocks)
		d[j] += foldSum(&acc)
	}
}
