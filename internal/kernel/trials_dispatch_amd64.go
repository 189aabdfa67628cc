//go:build amd64 && !noasm

package kernel

// fitTrials has checked arguments; there are weights.
func fitTrials(v variant, t *Trials, sums *[3][8]float64, x, w []float64) {
	switch {
	case v >= avx512 && t.Table != nil:
		fitTrialsTableAVX512(sums, &x[0], &w[0], len(x), &t.Inverse, &t.Offset, t.Low, t.Top, &t.Table[0])
	case v >= avx512:
		fitTrialsAVX512(sums, &x[0], &w[0], len(x), &t.Inverse, &t.Offset, t.Low, t.Top)
	case v >= avx2 && t.Table != nil:
		fitTrialsTableAVX2(sums, &x[0], &w[0], len(x), &t.Inverse, &t.Offset, t.Low, t.Top, &t.Table[0])
	case v >= avx2:
		fitTrialsAVX2(sums, &x[0], &w[0], len(x), &t.Inverse, &t.Offset, t.Low, t.Top)
	default:
		fitTrialsGo(t, sums, x, w)
	}
}

// errTrials has checked arguments; there are weights.
func errTrials(v variant, t *Trials, sums *[8]float64, x, w []float64) {
	switch {
	case v >= avx512 && t.Table != nil:
		errTrialsTableAVX512(sums, &x[0], &w[0], len(x), &t.Scale, &t.Inverse, &t.Offset, t.Low, t.Top, &t.Table[0])
	case v >= avx512:
		errTrialsAVX512(sums, &x[0], &w[0], len(x), &t.Scale, &t.Inverse, &t.Offset, t.Low, t.Top)
	case v >= avx2 && t.Table != nil:
		errTrialsTableAVX2(sums, &x[0], &w[0], len(x), &t.Scale, &t.Inverse, &t.Offset, t.Low, t.Top, &t.Table[0])
	case v >= avx2:
		errTrialsAVX2(sums, &x[0], &w[0], len(x), &t.Scale, &t.Inverse, &t.Offset, t.Low, t.Top)
	default:
		errTrialsGo(t, sums, x, w)
	}
}
