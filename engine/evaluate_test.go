package engine

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"sync"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
)

// offspring draws candidates that have many sub-blocks in common: each differs from
// one before it in a few units.
func (t *tiny) offspring(n int) []Candidate {
	rng := rand.New(rand.NewPCG(5, 9))
	candidates := []Candidate{nil}
	for len(candidates) < n {
		c := Candidate{}
		for unit, l := range candidates[rng.IntN(len(candidates))] {
			c[unit] = l
		}
		for range 1 + rng.IntN(2) {
			layer := rng.IntN(t.layers)
			if rng.IntN(4) == 0 {
				c[subBlock(layer, rng.IntN(2))] = Level{Name: "drop"}
				continue
			}
			sub := rng.IntN(2)
			module := subBlock(layer, sub) + "." + roleNames[sub*roleGate+rng.IntN(roleGate-sub)]
			shape := t.shapes[module+".weight"]
			w := plain{shape[0], shape[1], make([]float32, shape[0]*shape[1])}
			step := rng.IntN(3)
			for i, x := range t.weights[module+".weight"] {
				w.data[i] = float32(math.Round(float64(x)*float64(4+step))) / float32(4+step)
			}
			c[module] = Level{Name: fmt.Sprint("step-", step), Weights: w}
		}
		candidates = append(candidates, c)
	}
	return append(candidates, candidates[1]) // one of them twice
}

// TestSharing holds that scores are the same bit for bit whatever candidates share:
// one at a time without a cache, all at once, and with caches that hold
// everything, something and nothing, in both numerics.
func TestSharing(t *testing.T) {
	ctx := context.Background()
	for _, name := range []string{"llama", "mistral", "qwen2"} {
		for _, numerics := range []Numerics{Exact, Fast} {
			t.Run(fmt.Sprint(name, "/", numerics), func(t *testing.T) {
				tiny := tinyModels()[name]
				windows := tiny.texts(150, 33, 150, 2)
				candidates := tiny.offspring(20)
				alone := tiny.open(t, Options{Threads: 1, Numerics: numerics})
				teacher, err := alone.Teach(ctx, windows, nil)
				if err != nil {
					t.Fatal(err)
				}
				var want []Outcome
				for _, c := range candidates {
					want = append(want, Outcome{Windows: score(t, alone, windows, teacher, c)})
				}
				state := int64(4 * 150 * tiny.hidden)
				for _, cache := range []int64{0, 1, state, 6 * state, 1 << 30} {
					m := tiny.open(t, Options{Threads: 2, Numerics: numerics, Cache: cache})
					for round := range 2 { // the second finds what the first kept
						got, err := m.Score(ctx, windows, teacher, candidates, nil)
						if err != nil {
							t.Fatal(err)
						}
						if !reflect.DeepEqual(got, want) {
							t.Fatalf("cache of %d bytes, round %d: other scores", cache, round)
						}
						if m.decoded.used > cache/2 || m.states.used > cache/2 {
							t.Errorf("cache of %d bytes holds %d and %d", cache, m.decoded.used, m.states.used)
						}
					}
				}
			})
		}
	}
}

// TestSharedWork counts the sub-blocks that are computed.
func TestSharedWork(t *testing.T) {
	tiny := tinyModels()["llama"]
	windows := tiny.texts(40)
	drop := func(units ...string) Candidate {
		c := Candidate{}
		for _, u := range units {
			c[u] = Level{Name: "drop"}
		}
		return c
	}
	with := func(c Candidate, module string) Candidate {
		c[module] = tiny.level(module)
		return c
	}
	candidates := []Candidate{ // of 3 layers, 6 sub-blocks
		with(drop(), "model.layers.2.mlp.up_proj"), // 6
		with(drop(), "model.layers.1.mlp.up_proj"), // 3 more
		nil, // 1 more
		with(drop("model.layers.0.self_attn"), "model.layers.0.self_attn.q_proj"),                  // 5, as one is dropped
		with(drop("model.layers.0.self_attn"), "model.layers.2.mlp.gate_proj"),                     // 1 more
		with(drop("model.layers.2.mlp", "model.layers.2.self_attn"), "model.layers.2.mlp.up_proj"), // 0 more
	}
	count := func(cache int64, rounds int) int {
		m := tiny.open(t, Options{Threads: 1, Cache: cache})
		for range rounds {
			if _, err := m.Score(context.Background(), windows, nil, candidates, nil); err != nil {
				t.Fatal(err)
			}
		}
		return m.advanced
	}
	if got := count(1<<20, 1); got != 16 {
		t.Errorf("%d sub-blocks computed with a cache, want 16", got)
	}
	if got, want := count(1<<20, 2), 16+7; got != want { // of the second round only what no two share
		t.Errorf("%d sub-blocks computed in two rounds, want %d", got, want)
	}
	if got := count(0, 1); got <= 16 || got > 32 {
		t.Errorf("%d sub-blocks computed without a cache, want more than 16 and at most 32, those of each on its own", got)
	}
}

// TestFastIsDeterministic holds that fast scores do not depend on threads or splits, for each variant.
func TestFastIsDeterministic(t *testing.T) {
	defer useVariant(t, kernel.Active())
	for name, tiny := range tinyModels() {
		t.Run(name, func(t *testing.T) {
			windows := tiny.texts(150, 2, 33)
			for _, variant := range kernel.Variants() {
				useVariant(t, variant)
				var want []WindowScore
				for _, split := range []struct{ threads, windows int }{{2, 1}, {1, 3}, {3, 2}} {
					if variant == "go" && len(kernel.Variants()) > 1 && split.threads > 1 && name != "llama" {
						continue // it takes a hundred times as long
					}
					got := candidateScores(t, tiny.open(t, Options{Threads: split.threads, Numerics: Fast}), windows, split.windows)
					if want == nil {
						want = got
					}
					if !reflect.DeepEqual(got, want) {
						t.Fatalf("%s, %d threads, %d windows a call: %v, want %v", variant, split.threads, split.windows, got, want)
					}
				}
			}
		})
	}
}

// TestFastIsNearExact bounds what rounding to bfloat16 does, in every variant: the
// unit roundoff is 2^-9, and a log-probability of the tiny models, whose logits are
// below 20, moves by about 2^-9·20 = 0.04 in the mean, and more where attention is
// sharp.
func TestFastIsNearExact(t *testing.T) {
	defer useVariant(t, kernel.Active())
	for name, tiny := range tinyModels() {
		t.Run(name, func(t *testing.T) {
			window := tiny.texts(100)[0]
			want, err := tiny.load(t, 2).LogProbs(context.Background(), window, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, variant := range kernel.Variants() {
				useVariant(t, variant)
				got, err := tiny.open(t, Options{Threads: 2, Numerics: Fast}).LogProbs(context.Background(), window, nil)
				if err != nil {
					t.Fatal(err)
				}
				mean := 0.0
				for i := range got {
					mean += math.Abs(float64(got[i]-want[i])) / float64(len(got))
				}
				if mean == 0 || mean > 0.1 {
					t.Errorf("%s: log-probabilities differ by %v in the mean", variant, mean)
				}
			}
		})
	}
}

// TestUnderCollection scores on several models at once while the garbage collector runs without a pause, so that kernels are
// preempted and stacks move: no bit may change.
func TestUnderCollection(t *testing.T) {
	tiny := tinyModels()["llama"]
	windows := tiny.texts(150, 33)
	candidates := tiny.offspring(4)
	for _, numerics := range []Numerics{Exact, Fast} {
		open := func() *Model { return tiny.open(t, Options{Threads: 2, Numerics: numerics, Cache: 1 << 18}) }
		want, err := open().Score(context.Background(), windows, nil, candidates, nil)
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var collector, scorers sync.WaitGroup
		collector.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					runtime.GC()
				}
			}
		})
		for range 3 {
			m := open()
			scorers.Go(func() {
				for range 10 {
					got, err := m.Score(context.Background(), windows, nil, candidates, nil)
					if err != nil || !reflect.DeepEqual(got, want) {
						t.Errorf("%v: other scores, error %v", numerics, err)
						return
					}
				}
			})
		}
		scorers.Wait()
		close(stop)
		collector.Wait()
	}
}
