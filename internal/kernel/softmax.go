package kernel

// Online is a softmax that is taken over the parts of a row one after the other (Milakov and Gimelshein, Online normalizer calculation for
// softmax, arXiv:1805.02867). The zero value has seen nothing.
type Online struct {
	max, sum float32
	begun    bool
}

// Add replaces the next part of the row, which is not empty, by e^(x-m), where m is the greatest element so far: elements of -Inf become 0,
// and all become NaN where nothing has been above -Inf or something is +Inf or NaN. What was computed with the parts before must be multiplied by
// scale, 1 as long as m has not changed. At the end, [Online.Norm] remains to be multiplied with.
func (o *Online) Add(part []float32) (scale float32) {
	m := maximum(part)
	if !o.begun {
		*o = Online{max: m, sum: sumExp(part, m, true), begun: true}
		return 1
	}
	scale = 1
	if m > o.max {
		scale = exp32(o.max - m)
		o.max = m
	}
	o.sum = float32(o.sum*scale) + sumExp(part, o.max, true)
	return scale
}

// Norm is 1/Σ e^(x-m) over all parts.
func (o *Online) Norm() float32 { return 1 / o.sum }
