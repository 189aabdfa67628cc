//go:build !amd64 || noasm

package kernel

func fitTrials(_ variant, t *Trials, sums *[3][8]float64, x, v []float64) { fitTrialsGo(t, sums, x, v) }
func errTrials(_ variant, t *Trials, sums *[8]float64, x, v []float64)    { errTrialsGo(t, sums, x, v) }
