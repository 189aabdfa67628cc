package builtin

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
)

// dist is a distribution over 0 … len(p)-1.
type dist struct {
	p   []float64 // probabilities
	cum []float64 // inclusive partial sums of the weights, unnormalised
}

// newDist normalises weights, which must be positive.
func newDist(weights []float64) *dist {
	d := &dist{p: make([]float64, len(weights)), cum: make([]float64, len(weights))}
	var sum float64
	for i, w := range weights {
		sum += w
		d.cum[i] = sum
	}
	for i, w := range weights {
		d.p[i] = w / sum
	}
	return d
}

// zipf gives n weights that fall as 1/(rank+shift), the Zipf-Mandelbrot law with exponent 1.
func zipf(n int, shift float64) []float64 {
	w := make([]float64, n)
	for i := range w {
		w[i] = 1 / (float64(i) + shift)
	}
	return w
}

// chooser makes the generator's random choices and adds up what they cost: -log of the probability of each.
type chooser struct {
	rng  *rand.Rand
	nats float64
	shut bool // the text has its length: choices no longer count
}

func newChooser(seed uint64) *chooser {
	return &chooser{rng: rand.New(rand.NewPCG(seed, lexiconSeed))}
}

// charge adds the cost of an event of probability p.
func (c *chooser) charge(p float64) {
	if !c.shut {
		c.nats -= math.Log(p)
	}
}

// coin is true with probability p.
func (c *chooser) coin(p float64) bool {
	if c.rng.Float64() < p {
		c.charge(p)
		return true
	}
	c.charge(1 - p)
	return false
}

// uniform is one of 0 … n-1.
func (c *chooser) uniform(n int) int {
	i := c.rng.IntN(n)
	c.charge(1 / float64(n))
	return i
}

// between is one of lo … hi.
func (c *chooser) between(lo, hi int) int { return lo + c.uniform(hi-lo+1) }

// draw is a value of d that is not charged: the caller charges the marginal probability of what it leads to.
func (c *chooser) draw(d *dist) int {
	x := c.rng.Float64() * d.cum[len(d.cum)-1]
	i := sort.Search(len(d.cum), func(i int) bool { return d.cum[i] > x })
	return min(i, len(d.cum)-1) // x may round up to the sum
}

// from is a value of d.
func (c *chooser) from(d *dist) int {
	i := c.draw(d)
	c.charge(d.p[i])
	return i
}

// mixture is a value of a with probability share, otherwise one of b. Where both can give the value, the text does not
// show which did, so what is charged is the value's probability under the mixture. aP gives a's probability of a value.
func (c *chooser) mixture(share float64, a func() int, aP func(int) float64, b *dist) int {
	var v int
	if c.rng.Float64() < share {
		v = a()
	} else {
		v = c.draw(b)
	}
	c.charge(float64(share*aP(v)) + float64((1-share)*b.p[v]))
	return v
}

// distinct is n different values of d in order; each is drawn again until it is new, and charged as what it then is: a
// value of d given that it is none of those before.
func (c *chooser) distinct(n int, d *dist) []int {
	out := make([]int, 0, n)
	left := 1.0
	for len(out) < n {
		v := c.draw(d)
		if slices.Contains(out, v) {
			continue
		}
		c.charge(d.p[v] / left)
		left -= d.p[v]
		out = append(out, v)
	}
	return out
}
