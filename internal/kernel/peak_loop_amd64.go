//go:build amd64 && !noasm

package kernel

// peakLoop runs the loop of a variant and returns the operations.
func peakLoop(v variant, bf16 bool, steps int) int64 {
	const multiplyAdd = 2
	n := int64(steps) * multiplyAdd
	if bf16 {
		switch v {
		case amx:
			peakAMX(steps, &tileConfigs[2*tileRows][0])
			return n * 4 * tileRows * 16 * depthBF16
		case avx512bf16:
			peakAVX512BF16(steps)
			return n * peakSums * 16 * 2
		}
	}
	switch min(v, avx512) {
	case avx512:
		peakAVX512(steps, peakFactor)
		return n * peakSums * 16
	case avx2:
		peakAVX2(steps, peakFactor)
		return n * peakSums * 8
	default:
		return peakGoLoop(steps)
	}
}
