//go:build (!amd64 && !arm64) || noasm

package kernel

func supported(v variant) bool { return v == pureGo }

func preferred(variant) bool { return true }

func (t tile) wide(_ variant, rows int) { t.wideGo(rows) }

// peakLoop runs the loop of a variant and returns the operations.
func peakLoop(_ variant, _ bool, steps int) int64 { return peakGoLoop(steps) }
