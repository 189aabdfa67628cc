package quant

import "github.com/paretopress/paretopress/internal/kernel"

// The loops of this file round weights x to a scale and add up what a least-squares fit, or the comparison of two scales, needs. v are the
// importances of the weights. They run for every scale that a search tries, and so take the inverse of a scale where they only round.

// fit is what a rounding of weights to integers k leaves to solve: sums over the weights.
type fit struct {
	v, vx      float64 // Σ v, Σ v·x: of every rounding
	vk, vkk, p float64 // Σ v·k, Σ v·k², Σ v·x·k
}

// newFit sets what does not depend on the rounding.
func newFit(x, v []float64) (s fit) {
	for i, w := range x {
		s.v += v[i]
		s.vx += float64(v[i] * w)
	}
	return s
}

// round sets what depends on it, for scale and offset.
func (s *fit) round(f *form, x, v []float64, inverse, offset float64) {
	low, top := f.low, f.top
	vk, vkk, p := 0.0, 0.0, 0.0
	v = v[:len(x)]
	if n := f.near; n != nil {
		for i, w := range x {
			t := float64(w * inverse)
			if t < low {
				t = low
			}
			if t > top {
				t = top
			}
			k := n.value[n.index(t)]
			q := float64(v[i] * k)
			vkk += float64(q * k)
			p += float64(q * w)
		}
		s.vkk, s.p = vkk, p
		return
	}
	for i, w := range x {
		t := float64((w - offset) * inverse)
		if t < low {
			t = low
		}
		if t > top {
			t = top
		}
		k := (t + shift) - shift
		q := float64(v[i] * k)
		vk += q
		vkk += float64(q * k)
		p += float64(q * w)
	}
	s.vk, s.vkk, s.p = vk, vkk, p
}

// tries rounds weights by many scales and offsets, some at a time, and shows the sums of each in the order in which they were added.
type tries struct {
	trials kernel.Trials
	n      int // that wait
	x, v   []float64
	fit    fit
	show   func(*fit)
}

func (f *form) tries(x, v []float64, show func(*fit)) *tries {
	return &tries{trials: f.trials(), x: x, v: v, fit: newFit(x, v), show: show}
}

// trials are those of the form, without scales.
func (f *form) trials() kernel.Trials {
	t := kernel.Trials{Low: f.low, Top: f.top}
	if f.near != nil {
		t.Table = &f.near.value
	}
	return t
}

// add is to try a scale, by its inverse, and an offset.
func (t *tries) add(inverse, offset float64) {
	t.trials.Inverse[t.n], t.trials.Offset[t.n] = inverse, offset
	if t.n++; t.n == len(t.trials.Inverse) {
		t.end()
	}
}

// end tries those that wait.
func (t *tries) end() {
	var sums [3][len(t.trials.Inverse)]float64
	t.trials.Fit(&sums, t.x, t.v)
	for j := range t.n {
		t.fit.vk, t.fit.vkk, t.fit.p = sums[0][j], sums[1][j], sums[2][j]
		t.show(&t.fit)
	}
	t.n = 0
}

// width8 is how many errors are computed at a time, those of all neighbours of two integers among them.
const width8 = 8

// errs computes the errors of some grades of a sub-block.
type errs struct {
	f      *form
	trials kernel.Trials
	n      int
	sums   [width8]float64
}

func (f *form) errs() *errs { return &errs{f: f, trials: f.trials()} }

// add is to compute one more, of width8 at most.
func (t *errs) add(d, dmin uint16, scale, minimum int) {
	t.grade(gradeOf(d, dmin, scale, minimum))
}

// grade is add of a grade.
func (t *errs) grade(g grade) {
	t.trials.Scale[t.n], t.trials.Inverse[t.n], t.trials.Offset[t.n] = float64(g.scale), g.inverse, float64(g.offset)
	t.n++
}

// of returns them, in the order in which they were added.
func (t *errs) of(x, v []float64) []float64 {
	if t.n <= 2 { // sooner done one by one
		for i := range t.n {
			t.sums[i] = t.f.err(x, v, t.trials.Scale[i], t.trials.Offset[i])
		}
		return t.sums[:t.n]
	}
	t.trials.Err(&t.sums, x, v)
	return t.sums[:t.n]
}

// linear is the best scale for a rounding, and by how much the error is less than that of zeros.
func (s *fit) linear() (scale, gain float64) {
	if !(s.vkk > 0) {
		return 0, 0
	}
	scale = s.p / s.vkk
	return scale, float64(scale * s.p)
}

// affine is the best scale and offset for a rounding, the offset not positive if so is asked, and by how much the error is less than that of
// zeros.
func (s *fit) affine(negative bool) (scale, offset, gain float64) {
	if d := float64(s.v*s.vkk) - float64(s.vk*s.vk); d > 1e-12*float64(s.v*s.vkk) {
		scale = (float64(s.v*s.p) - float64(s.vk*s.vx)) / d
	}
	offset = (s.vx - float64(scale*s.vk)) / s.v
	if negative && offset > 0 {
		scale, gain = s.linear()
		return scale, 0, gain
	}
	return scale, offset, float64(scale*s.p) + float64(offset*s.vx)
}

// err is Σ v·(x - x̂)².
func (f *form) err(x, v []float64, scale, offset float64) float64 {
	inverse := 0.0
	if scale != 0 {
		inverse = 1 / scale
	}
	low, top, sum := f.low, f.top, 0.0
	v = v[:len(x)]
	if n := f.near; n != nil {
		for i, w := range x {
			t := float64(w * inverse)
			if t < low {
				t = low
			}
			if t > top {
				t = top
			}
			d := w - float64(scale*n.value[n.index(t)])
			sum += float64(float64(d*d) * v[i])
		}
		return sum
	}
	for i, w := range x {
		w -= offset
		t := float64(w * inverse)
		if t < low {
			t = low
		}
		if t > top {
			t = top
		}
		d := w - float64(scale*((t+shift)-shift))
		sum += float64(float64(d*d) * v[i])
	}
	return sum
}
