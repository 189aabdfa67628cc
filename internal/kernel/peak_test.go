package kernel

import (
	"testing"
	"time"
)

// TestPeak holds that the operations of a call are proportional to its rounds, over calls of assembly.
func TestPeak(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		for _, bf16 := range []bool{false, true} {
			one := Peak(bf16, 1)
			if one <= 0 || one%2 != 0 {
				t.Fatalf("a step does %d operations", one)
			}
			for _, steps := range []int{0, 2, peakSteps, 2*peakSteps + 3} {
				if got := Peak(bf16, steps); got != int64(steps)*one {
					t.Errorf("%d steps of %d operations are %d operations", steps, one, got)
				}
			}
			start := time.Now()
			n := Peak(bf16, 100*peakSteps)
			t.Logf("bf16 %v: %.1f GFLOP/s", bf16, float64(n)/float64(time.Since(start).Nanoseconds()))
		}
	})
}
