//go:build amd64 && !noasm

package kernel

func supported(v variant) bool { return v == pureGo }

func (t tile) wide(_ variant, rows int) { t.wideGo(rows) }

func packBlocks(_ variant, dst, src []float32, ld, cols int) { packBlocksGo(dst, src, ld, cols) }

func expBlocks(_ variant, dst, x *float32, n int)                    { expGo(dst, x, n) }
func siluMulBlocks(_ variant, dst, gate, up *float32, n int)         { siluMulGo(dst, gate, up, n) }
func addBlocks(_ variant, dst, x *float32, n int)                    { addGo(dst, x, n) }
func scaleBlocks(_ variant, x *float32, s float32, n int)            { scaleGo(x, s, n) }
func scaleMulBlocks(_ variant, dst, x, w *float32, r float32, n int) { scaleMulGo(dst, x, w, r, n) }
func sumSquaresBlocks(_ variant, acc *block, x *float32, n int)      { sumSquaresGo(acc, x, n) }
func maxBlocks(_ variant, acc *block, x *float32, n int)             { maxGo(acc, x, n) }
func sumExpBlocks(_ variant, acc *block, x *float32, shift float32, n int) {
	sumExpGo(acc, x, shift, n)
}
func expSumBlocks(_ variant, acc *block, x *float32, shift float32, n int) {
	expSumGo(acc, x, shift, n)
}
func klSumBlocks(_ variant, acc *block, s, t *float32, lse float32, n int) {
	klSumGo(acc, s, t, lse, n)
}

func ropeBlocks(_ variant, lo, hi, cos, sin *float32, n int) { ropeBlocksGo(lo, hi, cos, sin, n) }
