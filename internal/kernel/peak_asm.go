//go:build amd64 && !noasm

package kernel

// peakLoop runs the loop of a variant and returns the operations.
func peakLoop(v variant, bf16 bool, steps int) int64 {
	switch v {
	case avx512:
		peakAVX512(steps, peakFactor)
		return int64(steps) * peakSums * 2 * 16
	case avx2:
		peakAVX2(steps, peakFactor)
		return int64(steps) * peakSums * 2 * 8
	default:
		return peakGoLoop(steps)
	}
}
