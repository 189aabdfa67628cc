package sparseft

import "math"

// rate is the learning rate of a step, counted from 1: it rises linearly from 0 over the warmup, then stays, falls
// linearly to 0 or along half a cosine, as the schedules of transformers do.
func (o Options) rate(step int) float64 {
	done := step - 1
	if done < o.Warmup {
		return o.LearningRate * float64(done) / float64(o.Warmup)
	}
	progress := min(1, float64(done-o.Warmup)/float64(max(1, o.Steps-o.Warmup)))
	switch o.Scheduler {
	case Linear:
		return o.LearningRate * (1 - progress)
	case Cosine:
		return o.LearningRate * ((1 + cosPi(progress)) / 2)
	}
	return o.LearningRate
}

// reselect tells whether the support is chosen anew after a step.
func (o Options) reselect(step int) bool {
	return o.reselects() && step <= o.Steps && step%o.ReselectionSteps == o.SelectionAccumulationSteps
}

// share is the share p of the trainable weights that is replaced after a step: all at the first reselection, then
// r0·(1-t/T); with the cosine policy r0·(1+cos(πt/T))/2 from the first on.
func (o Options) share(step int) float64 {
	progress := float64(step) / float64(o.Steps)
	if o.ReselectionRatePolicy == Cosine {
		return o.InitialReselectionRate * (1 + cosPi(progress)) / 2
	}
	if step == o.SelectionAccumulationSteps {
		return 1
	}
	return o.InitialReselectionRate * (1 - progress)
}

// window tells whether the gradients of a step count towards growth, and whether the step is the first of its window. The
// first window is the γ steps before the first reselection; later ones begin γ steps before a reselection's own, at a
// multiple of S. A window without a reselection at its end is left out.
func (o Options) window(step int) (in, first bool) {
	if o.Method == StaticGrad || o.Method == DSEE && o.Omega == StaticGrad {
		return step == 1, step == 1
	}
	if o.Method != SpIELAG {
		return false, false
	}
	at := step % o.ReselectionSteps
	if at > o.SelectionAccumulationSteps || step-at+o.SelectionAccumulationSteps > o.Steps {
		return false, false
	}
	return true, at == 0 || step == 1
}

// cosPi is cos(πx) for x from 0 to 1, with the same bits on every CPU (math.Cos may fuse products with sums).
func cosPi(x float64) float64 {
	switch {
	case x > 0.75:
		return -cosPi(1 - x)
	case x > 0.25:
		y := math.Pi * (0.5 - x) // cos(πx) = sin(y), |y| ≤ π/4
		return y * series(y*y, 3)
	}
	y := math.Pi * x
	return series(y*y, 2)
}

// series is 1 - s/((n-1)n)·(1 - s/((n+1)(n+2))·(…)): the cosine of √s for n = 2, and the sine over √s for n = 3.
func series(s float64, n int) float64 {
	sum := 1.0
	for i := n + 18; i >= n; i -= 2 {
		sum = 1 - float64(s*sum)/float64((i-1)*i)
	}
	return sum
}
