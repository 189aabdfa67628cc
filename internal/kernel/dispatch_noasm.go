//go:build !amd64 || noasm

package kernel

func cacheL2() int { return 0 }

func transposeTiles(_ variant, _ []float32, _ int, _ []float32, _, _, _ int) (r, c int) { return 0, 0 }

func packBlocks(_ variant, dst, src []float32, ld, cols int) { packBlocksGo(dst, src, ld, cols) }

func expBlocks(_ variant, dst, x *float32, blocks int) {
	expGo(dst, x, blocks)
}

func siluMulBlocks(_ variant, dst, gate, up *float32, blocks int) {
	siluMulGo(dst, gate, up, blocks)
}

func addBlocks(_ variant, dst, x *float32, blocks int) {
	addGo(dst, x, blocks)
}

func scaleBlocks(_ variant, x *float32, s float32, blocks int) {
	scaleGo(x, s, blocks)
}

func scaleMulBlocks(_ variant, dst, x, weight *float32, r float32, blocks int) {
	scaleMulGo(dst, x, weight, r, blocks)
}

func sumSquaresBlocks(_ variant, acc *block, x *float32, blocks int) {
	sumSquaresGo(acc, x, blocks)
}

func maxBlocks(_ variant, acc *block, x *float32, blocks int) {
	maxGo(acc, x, blocks)
}

func sumExpBlocks(_ variant, acc *block, x *float32, shift float32, blocks int) {
	sumExpGo(acc, x, shift, blocks)
}

func expSumBlocks(_ variant, acc *block, x *float32, shift float32, blocks int) {
	expSumGo(acc, x, shift, blocks)
}

func klSumBlocks(_ variant, acc *block, student, teacher *float32, lse float32, blocks int) {
	klSumGo(acc, student, teacher, lse, blocks)
}

func ropeBlocks(_ variant, lo, hi, cos, sin *float32, blocks int) {
	ropeBlocksGo(lo, hi, cos, sin, blocks)
}

func addScaledBlocks(_ variant, dst, x *float32, s float32, blocks int) {
	addScaledGo(dst, x, s, blocks)
}

func siluMulGradBlocks(_ variant, grad, gate, up *float32, blocks int) {
	siluMulGradGo(grad, gate, up, blocks)
}

func softmaxGradBlocks(_ variant, grad, p *float32, mean float32, blocks int) {
	softmaxGradGo(grad, p, mean, blocks)
}

func normGradBlocks(_ variant, dst, grad, x, weight *float32, r, k float32, blocks int) {
	normGradGo(dst, grad, x, weight, r, k, blocks)
}

func dotBlocks(_ variant, acc *block, x, y *float32, blocks int) {
	dotGo(acc, x, y, blocks)
}

func dotMulBlocks(_ variant, acc *block, x, y, weight *float32, blocks int) {
	dotMulGo(acc, x, y, weight, blocks)
}

func dotRows(_ variant, dst, x, matrix *float32, ld int, rows *int32, fours, blocks int) {
	dotRowsGo(dst, x, matrix, ld, rows, fours, blocks)
}

func (p *productBF16) run(v variant) { p.expand(v) }

func roundBlocksBF16(_ variant, dst *uint16, src *float32, blocks int) { roundGo(dst, src, blocks) }

func expandBlocksBF16(_ variant, dst *float32, src *uint16, blocks int) { expandGo(dst, src, blocks) }

func expandPairs(_ variant, dst *float32, src *uint16, steps int) { expandPairsGo(dst, src, steps) }

func packPairs(_ variant, dst, src []uint16, ld, cols int) { packPairsGo(dst, src, ld, cols) }
