package kernel

// Independent sums of the register-only loops, in assembly and in Go.
const (
	peakSums   = 12
	peakSumsGo = 6
)

// peakSteps is how many rounds a call of assembly runs, 3 to 30 µs: a goroutine cannot be preempted in assembly.
const peakSteps = 1024

// Peak runs steps rounds of a loop that multiplies and adds in registers alone, with the instructions that the active variant's
// matrix product uses — that of [MatMul], or with bf16 that of [MatMulBF16] — and returns the number of floating-point operations it
// did, two for each multiply-add. A round takes some nanoseconds. Operations divided by the time of the call is the rate that no matrix
// product on one processor core can exceed; `paretopress bench` prints the kernels as a share of it.
func Peak(bf16 bool, steps int) int64 {
	v := currentBF16()
	var operations int64
	for ; steps > 0; steps -= peakSteps {
		operations += peakLoop(v, bf16, min(steps, peakSteps))
	}
	return operations
}

// peakGo is the loop for fma32. It returns the sums so that they are computed.
//
//go:noinline
func peakGo(steps int, x float32) (float32, float32, float32, float32, float32, float32) {
	var s0, s1, s2, s3, s4, s5 float32
	for range steps {
		s0, s1, s2 = fma32(x, x, s0), fma32(x, x, s1), fma32(x, x, s2)
		s3, s4, s5 = fma32(x, x, s3), fma32(x, x, s4), fma32(x, x, s5)
	}
	return s0, s1, s2, s3, s4, s5
}

// peakGoLoop runs peakGo and returns the operations.
func peakGoLoop(steps int) int64 {
	peakGo(steps, peakFactor)
	return int64(steps) * peakSumsGo * 2
}

// peakFactor is squared and added: a sum stays finite and normal, and passes the short cut of fma32.
const peakFactor = 0x1.8p-4
