package engine

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/paretopress/paretopress/internal/kernel"
)

// TestExact holds that a score is the same bit for bit for every kernel variant,
// number of threads and split of the windows into calls. The Go variant, which
// takes a hundred times as long as the others, does one split.
func TestExact(t *testing.T) {
	defer useVariant(t, kernel.Active())
	for name, tiny := range tinyModels() {
		t.Run(name, func(t *testing.T) {
			windows := tiny.texts(150, 2, 33)
			var want []WindowScore
			for _, variant := range kernel.Variants() {
				useVariant(t, variant)
				splits := []struct{ threads, windows int }{{2, 1}, {1, 3}, {3, 2}}
				if variant == "go" && len(kernel.Variants()) > 1 {
					splits = splits[:1]
				}
				for _, split := range splits {
					got := candidateScores(t, tiny.load(t, split.threads), windows, split.windows)
					if want == nil {
						want = got
					}
					if !slices.Equal(got, want) {
						t.Fatalf("%s, %d threads, %d windows a call: %v, want %v", variant, split.threads, split.windows, got, want)
					}
				}
			}
		})
	}
}

func useVariant(t *testing.T, name string) {
	t.Helper()
	if err := kernel.Use(name); err != nil {
		t.Fatal(err)
	}
}

// candidateScores teaches the dense model and scores one with a coarse module and
// a dropped sub-block, size windows a call.
func candidateScores(t *testing.T, m *Model, windows [][]int32, size int) []WindowScore {
	t.Helper()
	ctx := context.Background()
	var scores []WindowScore
	for part := range slices.Chunk(windows, size) {
		teacher, err := m.Teach(ctx, part, nil)
		if err != nil {
			t.Fatal(err)
		}
		module := m.Config().Modules()[5]
		coarse := plain{module.Rows, module.Cols, make([]float32, module.Rows*module.Cols)}
		m.layers[0].modules[roleUp].dense.DecodeRows(0, module.Rows, coarse.data)
		for i, w := range coarse.data {
			coarse.data[i] = kernel.DecodeBF16(kernel.EncodeBF16(w)) * 0.75
		}
		scores = append(scores, score(t, m, part, teacher, Candidate{
			module.Name:                {Name: "coarse", Weights: coarse},
			"model.layers.1.self_attn": {Name: "drop"},
		})...)
	}
	return scores
}

func TestOwnTeacherHasNoDivergence(t *testing.T) {
	for name, tiny := range tinyModels() {
		t.Run(name, func(t *testing.T) {
			m := tiny.load(t, 2)
			windows := tiny.texts(testLengths...)
			teacher, err := m.Teach(context.Background(), windows, nil)
			if err != nil {
				t.Fatal(err)
			}
			slices.Reverse(windows)
			windows = append(windows, windows[0])
			for i, s := range score(t, m, windows, teacher, nil) {
				if s.KL != 0 || s.NLL == 0 {
					t.Errorf("window %d: KL %v, NLL %v", i, s.KL, s.NLL)
				}
			}
		})
	}
}

func TestProgress(t *testing.T) {
	tiny := tinyModels()["llama"]
	m := tiny.load(t, 1)
	var done []int
	windows := tiny.texts(400, 100, 400, 2)
	if _, err := m.Score(context.Background(), windows, nil, []Candidate{nil}, func(n int) { done = append(done, n) }); err != nil {
		t.Fatal(err)
	}
	if want := []int{2, 4}; !slices.Equal(done, want) {
		t.Errorf("progress %v, want %v", done, want)
	}
}

func TestCancel(t *testing.T) {
	tiny := tinyModels()["llama"]
	m := tiny.load(t, 2)
	windows := tiny.texts(slices.Repeat([]int{512}, 200)...)
	ctx, cancel := context.WithCancel(context.Background())
	var stopped time.Time
	_, err := m.Score(ctx, windows, nil, []Candidate{nil}, func(n int) {
		if n > 10 {
			t.Errorf("%d windows done after the context was cancelled", n)
		}
		if stopped.IsZero() {
			stopped = time.Now()
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if _, err := m.Teach(ctx, windows, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Teach: error %v, want %v", err, context.Canceled)
	}
	if _, err := m.LogProbs(ctx, windows[0], nil); !errors.Is(err, context.Canceled) {
		t.Errorf("LogProbs: error %v, want %v", err, context.Canceled)
	}
	err = m.Calibrate(ctx, windows, 0, 1, func(int, []Gram) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Calibrate: error %v, want %v", err, context.Canceled)
	}
	// The model is of use afterwards.
	if _, err := m.Score(context.Background(), windows[:1], nil, []Candidate{nil}, nil); err != nil {
		t.Error(err)
	}
}
