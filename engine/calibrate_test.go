package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
)

func calibrate(t *testing.T, m *Model, windows [][]int32, from, to int) map[int][]Gram {
	t.Helper()
	blocks := make(map[int][]Gram)
	next := from
	err := m.Calibrate(context.Background(), windows, from, to, func(block int, grams []Gram) error {
		if block != next {
			t.Errorf("block %d is visited when %d is due", block, next)
		}
		next++
		blocks[block] = grams
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if next != to {
		t.Errorf("blocks up to %d are visited, want %d", next, to)
	}
	return blocks
}

func TestGramsMatchReference(t *testing.T) {
	for _, name := range []string{"llama", "qwen3", "llama-tied"} {
		tiny := tinyModels()[name]
		m := tiny.load(t, 2)
		windows := tiny.texts(testLengths...)
		tokens := 0
		var inputs []map[string]matrix
		for _, w := range windows {
			tokens += len(w)
			_, in := tiny.run(w)
			inputs = append(inputs, in)
		}
		for block, grams := range calibrate(t, m, windows, 0, tiny.layers+1) {
			var modules []string
			for _, g := range grams {
				modules = append(modules, g.Modules...)
				if g.Tokens != tokens {
					t.Errorf("%v: %d tokens, want %d", g.Modules, g.Tokens, tokens)
				}
				for _, module := range g.Modules {
					compareGram(t, g, module, inputs)
				}
			}
			var want []string
			if block == tiny.layers {
				want = []string{map[bool]string{false: unitHead, true: unitEmbedding}[tiny.tied]}
			}
			for _, module := range m.Config().Modules() {
				if module.Block == block {
					want = append(want, module.Name)
				}
			}
			if !slices.Equal(modules, want) {
				t.Errorf("block %d: Grams of %v, want %v", block, modules, want)
			}
		}
	}
}

// compareGram holds a Gram against the sum of the outer products of a module's
// inputs in float64.
func compareGram(t *testing.T, g Gram, module string, inputs []map[string]matrix) {
	t.Helper()
	for i := range g.Cols {
		for j := range g.Cols {
			var want, size float64
			for _, in := range inputs {
				for _, x := range in[module] {
					want += x[i] * x[j]
					size += math.Abs(x[i] * x[j])
				}
			}
			if got := float64(g.Sum[i*g.Cols+j]); math.Abs(got-want) > 1e-5*size {
				t.Fatalf("%s: element %d, %d of the Gram is %v, want %v", module, i, j, got, want)
			}
		}
	}
}

func TestGramsAreExact(t *testing.T) {
	defer useVariant(t, kernel.Active())
	tiny := tinyModels()["mistral"]
	windows := tiny.texts(150, 64, 129, 300, 300, 300)
	var want map[int][]Gram
	for _, variant := range kernel.Variants() {
		useVariant(t, variant)
		for _, threads := range []int{1, 2, 3} { // the number of threads decides the size of a batch
			m := tiny.load(t, threads)
			got := calibrate(t, m, windows, 0, 4)
			if want == nil {
				want = got
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s, %d threads: other Grams", variant, threads)
			}
		}
	}
}

// TestFastGrams: in fast numerics too the size of a batch decides nothing, and the sums are near those of
// exact numerics: each of the two factors of a product is rounded by up to 2^-9 of its value, and the inputs
// of later modules have been through as many roundings.
func TestFastGrams(t *testing.T) {
	tiny := tinyModels()["llama"]
	windows := tiny.texts(150, 64, 129, 33, 300, 301)
	exact := calibrate(t, tiny.load(t, 1), windows, 0, 4)
	defer useVariant(t, kernel.Active())
	for _, variant := range kernel.Variants() {
		useVariant(t, variant)
		want := calibrate(t, tiny.open(t, Options{Threads: 1, Numerics: Fast}), windows, 0, 4)
		for _, threads := range []int{2, 3} {
			got := calibrate(t, tiny.open(t, Options{Threads: threads, Numerics: Fast}), windows, 0, 4)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s, %d threads: other Grams", variant, threads)
			}
		}
		for block, grams := range want {
			for i, g := range grams {
				var off, size float64
				for k, x := range g.Sum {
					y := exact[block][i].Sum[k]
					off += math.Pow(float64(x-y), 2)
					size += math.Pow(float64(y), 2)
				}
				if !(math.Sqrt(off/size) < 0x1p-7*float64(max(1, block))) {
					t.Errorf("%s, block %d, %v: off by %.1e of its norm", variant, block, g.Modules, math.Sqrt(off/size))
				}
			}
		}
	}
}

func TestCalibrateRange(t *testing.T) {
	tiny := tinyModels()["llama"]
	m := tiny.load(t, 2)
	windows := tiny.texts(testLengths...)
	all := calibrate(t, m, windows, 0, 3)
	some := calibrate(t, m, windows, 1, 2)
	if !reflect.DeepEqual(some[1], all[1]) {
		t.Error("a block's Grams depend on the range of blocks")
	}
	for _, r := range [][2]int{{-1, 2}, {2, 1}, {0, 5}} {
		if m.Calibrate(context.Background(), windows, r[0], r[1], nil) == nil {
			t.Errorf("blocks %v of 3 are accepted", r)
		}
	}
	failure := fmt.Errorf("visit failed")
	visits := 0
	err := m.Calibrate(context.Background(), windows, 0, 3, func(int, []Gram) error { visits++; return failure })
	if !errors.Is(err, failure) || visits != 1 {
		t.Errorf("error %v after %d visits, want %v after 1", err, visits, failure)
	}
}
