package sparseft

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// noise is a gradient that costs nothing to compute: what is measured is what this package does with it.
type noise struct {
	data []float32
	cols int
}

func (n noise) Rows(dst []float32, from, to int) { copy(dst, n.data[from*n.cols:to*n.cols]) }

func (n noise) At(dst []float32, indices []int32) {
	for i, at := range indices {
		dst[i] = n.data[at]
	}
}

// BenchmarkStep is a microbatch and a step of one tensor of SmolLM2-135M's down projections at 2 % of its weights: outside
// windows, in the first step of one, and with a reselection at its end.
func BenchmarkStep(b *testing.B) {
	const rows, cols = 576, 1536
	r := rand.New(rand.NewPCG(1, 1))
	var grads []noise
	for range 8 {
		g := noise{make([]float32, rows*cols), cols}
		for i := range g.data {
			g.data[i] = float32(r.NormFloat64())
		}
		grads = append(grads, g)
	}
	targets := []Target{{Name: "w", Rows: rows, Cols: cols, Base: Dense{make([]float32, rows*cols), cols}}}
	for _, m := range Methods {
		o := options(m, 1<<30, rows*cols/50)
		o.ReselectionSteps, o.SelectionAccumulationSteps = 20, 5
		tr, err := New(targets, o)
		if err != nil {
			b.Fatal(err)
		}
		step := func() {
			s, _ := tr.Cursor()
			if tr.Add(0, grads[s%8]) != nil || tr.EndMicrobatch(1, 1) != nil {
				b.Fatal("a gradient was refused")
			}
			if _, err := tr.Step(); err != nil {
				b.Fatal(err)
			}
		}
		for range 8 {
			step()
		}
		for _, c := range []struct {
			name  string
			phase func(step int) bool
		}{
			{"plain", func(s int) bool { return s%20 > 5 }},
			{"candidates", func(s int) bool { return s%20 == 0 }},
			{"reselect", func(s int) bool { return s%20 == 5 }},
		} {
			if c.name != "plain" && !o.reselects() || c.name == "candidates" && m != SpIELAG {
				continue
			}
			b.Run(fmt.Sprintf("%s/%s", m, c.name), func(b *testing.B) {
				b.StopTimer()
				for range b.N {
					for !c.phase(tr.state.Step + 1) {
						step()
					}
					b.StartTimer()
					step()
					b.StopTimer()
				}
			})
		}
	}
}
