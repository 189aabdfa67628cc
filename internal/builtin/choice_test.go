package builtin

import (
	"math"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12*max(1, math.Abs(b)) }

// The cost of independent choices is known in closed form.
func TestCostOfKnownChoices(t *testing.T) {
	c := newChooser(1)
	for range 100 {
		c.uniform(8)
		c.between(3, 4)
		c.from(newDist([]float64{5, 5, 5, 5}))
	}
	if want := 100 * 6 * math.Ln2; !near(c.nats, want) {
		t.Errorf("100 × (3+1+2) bits cost %v nats, want %v", c.nats, want)
	}

	c = newChooser(2)
	var heads int
	for range 1000 {
		if c.coin(0.9) {
			heads++
		}
	}
	want := -float64(heads)*math.Log(0.9) - float64(1000-heads)*math.Log(1-0.9)
	if !near(c.nats, want) || heads < 850 || heads > 950 {
		t.Errorf("%d of 1000 coins of 0.9 fell heads and cost %v nats, want %v", heads, c.nats, want)
	}
}

// Over many draws, the mean cost of a choice is the entropy of what it gives: of the mixture, not of the way to it, and
// of the ordered sample without replacement.
func TestMeanCostIsEntropy(t *testing.T) {
	const draws = 200_000
	a, b := newDist([]float64{3, 1, 0.5, 0.5}), newDist([]float64{1, 1, 1, 5})
	mixed := make([]float64, 4)
	for i := range mixed {
		mixed[i] = 0.3*a.p[i] + 0.7*b.p[i]
	}
	c := newChooser(3)
	counts := make([]float64, 4)
	for range draws {
		counts[c.mixture(0.3, func() int { return c.draw(a) }, func(v int) float64 { return a.p[v] }, b)]++
	}
	var entropy float64
	for i, p := range mixed {
		entropy -= p * math.Log(p)
		if math.Abs(counts[i]/draws-p) > 0.005 {
			t.Errorf("value %d came with frequency %v, want %v", i, counts[i]/draws, p)
		}
	}
	if got := c.nats / draws; math.Abs(got-entropy) > 0.005 {
		t.Errorf("a mixture's value costs %v nats on average, want its entropy %v", got, entropy)
	}

	entropy = 0
	for i, p := range a.p {
		for j, q := range a.p {
			if i != j {
				pair := p * q / (1 - p)
				entropy -= pair * math.Log(pair)
			}
		}
	}
	c = newChooser(4)
	for range draws {
		if pair := c.distinct(2, a); pair[0] == pair[1] {
			t.Fatal("distinct gave a value twice")
		}
	}
	if got := c.nats / draws; math.Abs(got-entropy) > 0.005 {
		t.Errorf("a pair costs %v nats on average, want its entropy %v", got, entropy)
	}
}

// Choices made after the text has its length are free.
func TestShutChooserIsFree(t *testing.T) {
	c := newChooser(1)
	c.shut = true
	c.uniform(100)
	c.coin(0.5)
	if c.nats != 0 {
		t.Errorf("cost %v nats, want 0", c.nats)
	}
}
