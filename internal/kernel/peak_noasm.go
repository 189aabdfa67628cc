//go:build !amd64 || noasm

package kernel

// peakLoop runs the loop of a variant and returns the operations.
func peakLoop(_ variant, _ bool, steps int) int64 { return peakGoLoop(steps) }
