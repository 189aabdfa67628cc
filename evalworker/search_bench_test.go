//go:build unix

package evalworker

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/paretopress/paretopress/engine"
)

// searchList is a file of bench/peers/time_search.py: the candidates of a generation of a search, with the
// tokens on which they are scored.
type searchList struct {
	Parent map[string]string `json:"parent"` // units to levels
	Warm   []int32           `json:"warm"`   // a window for the parent, before the clock starts
	Stages []struct {
		Name       string              `json:"name"`
		Candidates []map[string]string `json:"candidates"`
		Windows    [][]int32           `json:"windows"`
	} `json:"stages"`
}

// BenchmarkSearch is the rate of the scoring of a generation's candidates, as numerics/stage: tokens that are
// credited, candidates times windows times their length. Levels and what the dense model predicts are made
// before, and the parent is scored on a window of its own; then candidates come sorted and in groups, as
// a worker scores them. kl is that of the candidate that is listed first.
//
// PARETOPRESS_SEARCH names the list, PARETOPRESS_SMOLLM2 the model.
func BenchmarkSearch(b *testing.B) {
	file, model := os.Getenv("PARETOPRESS_SEARCH"), os.Getenv("PARETOPRESS_SMOLLM2")
	if file == "" || model == "" {
		b.Skip("PARETOPRESS_SEARCH and PARETOPRESS_SMOLLM2 do not name a list of candidates and its model")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	var list searchList
	if err := json.Unmarshal(data, &list); err != nil {
		b.Fatal(err)
	}
	for _, n := range []engine.Numerics{engine.Exact, engine.Fast} {
		for _, stage := range list.Stages {
			b.Run(n.String()+"/"+stage.Name, func(b *testing.B) {
				var tokens int
				var kl float64
				var cpu time.Duration
				for b.Loop() {
					b.StopTimer() // a model of its own: what another has kept would not be there in a search
					g := newGeneration(b, modelKey{ref: model, numerics: n}, list.Parent, list.Warm, stage.Candidates, stage.Windows)
					start := cpuTime(b)
					b.StartTimer()
					kl = g.score(b)
					b.StopTimer()
					cpu += cpuTime(b) - start
					tokens += len(stage.Candidates) * len(stage.Windows) * len(stage.Windows[0])
					g.close(b)
					b.StartTimer()
				}
				b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
				b.ReportMetric(float64(tokens)/cpu.Seconds(), "tokens/cpu-s")
				b.ReportMetric(kl, "kl")
			})
		}
	}
}

// generation is candidates that are ready to be scored.
type generation struct {
	bench      *Workbench
	slot       *slot
	candidates []engine.Candidate
	order      []int // of the candidates, as a worker takes them
	windows    [][]int32
	teacher    *engine.Teacher
}

func newGeneration(b *testing.B, key modelKey, parent map[string]string, warm []int32, levels []map[string]string, windows [][]int32) *generation {
	ctx := context.Background()
	g := &generation{bench: NewWorkbench(Options{}), windows: windows}
	var err error
	if g.slot, err = g.bench.models.acquire(ctx, key); err != nil {
		b.Fatal(err)
	}
	if g.candidates, err = g.slot.candidates(append([]map[string]string{parent}, levels...), nil); err != nil {
		b.Fatal(err)
	}
	dense, err := g.slot.model.Teach(ctx, [][]int32{warm}, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := score(ctx, g.slot, [][]int32{warm}, dense, g.candidates[0]); err != nil {
		b.Fatal(err)
	}
	g.candidates = g.candidates[1:]
	if g.teacher, err = g.bench.teachers.get(ctx, g.slot, windows, func() {}); err != nil {
		b.Fatal(err)
	}
	for i := range levels {
		g.order = append(g.order, i)
	}
	modules := g.slot.model.Config().Modules()
	slices.SortStableFunc(g.order, func(i, j int) int {
		for _, m := range modules {
			if c := cmp.Compare(levels[i][m.Name], levels[j][m.Name]); c != 0 {
				return c
			}
		}
		return 0
	})
	return g
}

// score scores all candidates and returns the KL divergence of the first.
func (g *generation) score(b *testing.B) (kl float64) {
	for order := g.order; len(order) > 0; {
		n := min(len(order), groupSize)
		group := make([]engine.Candidate, n)
		for i, c := range order[:n] {
			group[i] = g.candidates[c]
		}
		outcomes, err := g.slot.model.Score(context.Background(), g.windows, g.teacher, group, nil)
		if err != nil {
			b.Fatal(err)
		}
		for i, o := range outcomes {
			if o.Err != nil {
				b.Fatal(o.Err)
			}
			if order[i] == 0 {
				var sum, scored float64
				for _, w := range o.Windows {
					sum, scored = sum+w.KL, scored+float64(w.Tokens)
				}
				kl = sum / scored
			}
		}
		order = order[n:]
	}
	return kl
}

func (g *generation) close(b *testing.B) {
	g.bench.models.release(g.slot)
	if err := g.bench.Close(); err != nil {
		b.Fatal(err)
	}
}

// cpuTime is the time that the process has computed, on all threads.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
