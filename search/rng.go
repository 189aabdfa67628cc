package search

import (
	"encoding/json"
	"math/rand"
	randv2 "math/rand/v2"
	"slices"
)

// generator is a seeded PCG behind the math/rand interface that eaopt's operators take. The
// algorithms of math/rand are frozen and keep nothing outside the source, so the 128 bits of the
// PCG are the whole random state.
type generator struct {
	*rand.Rand
	pcg *randv2.PCG
}

// newGenerator draws from the PCG that seed begins. Stream keeps uses of one seed apart.
func newGenerator(seed, stream uint64) *generator {
	pcg := randv2.NewPCG(seed, stream)
	return &generator{Rand: rand.New(source{pcg}), pcg: pcg}
}

// source adapts a PCG to [rand.Source64].
type source struct{ *randv2.PCG }

func (s source) Int63() int64 { return int64(s.Uint64() >> 1) }

// Seed is part of [rand.Source]. Nothing calls it: the state comes from the job or from JSON.
func (s source) Seed(seed int64) { s.PCG.Seed(uint64(seed), 0) }

func (g *generator) MarshalJSON() ([]byte, error) {
	b, err := g.pcg.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return json.Marshal(b)
}

func (g *generator) UnmarshalJSON(data []byte) error {
	var b []byte
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	pcg := new(randv2.PCG)
	if err := pcg.UnmarshalBinary(b); err != nil {
		return err
	}
	*g = generator{Rand: rand.New(source{pcg}), pcg: pcg}
	return nil
}

// shuffled returns the units in random order.
func (g *generator) shuffled(units []int) []int {
	units = slices.Clone(units)
	g.Shuffle(len(units), func(i, j int) { units[i], units[j] = units[j], units[i] })
	return units
}

// minibatch draws n of the windows 0 to windows-1 without repetition, ascending; all of them where
// there are no more than n.
func (g *generator) minibatch(n, windows int) []int {
	batch := g.Perm(windows)[:min(n, windows)]
	slices.Sort(batch)
	return batch
}
