package kernel

import (
	"fmt"
	"math"
)

// Trials are scales and offsets that a search for those of a block of weights tries at a time. A weight x is rounded to an integer k from Low to Top or, with a
// table, an entry of it: what (x-Offset)·Inverse, kept between Low and Top, is nearest to.
type Trials struct {
	Scale, Inverse, Offset [8]float64
	Low, Top               float64
	Table                  *[512]float64 // the entry for numbers from i/2-128 up to (i+1)/2-128 at i; nil: integers, ties to even
}

// Fit computes for each trial the sums of v·k, v·k² and v·k·x over weights x of importances v, what a least-squares fit needs. Sums are float64, each in
// the order of the weights, so that all variants agree to the bit.
func (t *Trials) Fit(sums *[3][8]float64, x, v []float64) {
	if t.check(x, v); len(x) == 0 {
		*sums = [3][8]float64{}
		return
	}
	fitTrials(current(), t, sums, x, v)
}

// Err computes for each trial the sum of v·(x - Offset - Scale·k)², likewise.
func (t *Trials) Err(sums *[8]float64, x, v []float64) {
	if t.check(x, v); len(x) == 0 {
		*sums = [8]float64{}
		return
	}
	errTrials(current(), t, sums, x, v)
}

func (t *Trials) check(x, v []float64) {
	if len(x) != len(v) {
		panic(fmt.Sprintf("kernel: %d weights of %d importances", len(x), len(v)))
	}
}

// round is k of a trial for a weight less the offset.
func (t *Trials) round(w float64, trial int) float64 {
	k := float64(w * t.Inverse[trial])
	if k < t.Low {
		k = t.Low
	}
	if k > t.Top {
		k = t.Top
	}
	if t.Table != nil {
		return t.Table[int(float64(k*2)+256)&511]
	}
	return math.RoundToEven(k)
}

func fitTrialsGo(t *Trials, sums *[3][8]float64, x, v []float64) {
	*sums = [3][8]float64{}
	for j := range 8 {
		for i, w := range x {
			k := t.round(w-t.Offset[j], j)
			q := float64(v[i] * k)
			sums[0][j] += q
			sums[1][j] += float64(q * k)
			sums[2][j] += float64(q * w)
		}
	}
}

func errTrialsGo(t *Trials, sums *[8]float64, x, v []float64) {
	*sums = [8]float64{}
	for j := range 8 {
		for i, w := range x {
			d := w - t.Offset[j]
			d -= float64(t.Scale[j] * t.round(d, j))
			sums[j] += float64(float64(d*d) * v[i])
		}
	}
}
