package search

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the expected output of transcripts instead of checking it")

// golden compares text with a file below testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; see what changed with -rewrite and git diff. Got:\n%s", path, got)
	}
}

// synthetic is a model whose KL is known: each unit adds its own, and each window weighs the units
// in its own way. Its numbers take nothing but correctly rounded operations, so that transcripts are
// the same on every machine.
type synthetic struct {
	space  *Space
	weight []float64
	seed   uint64
	spread float64 // half of how much a unit's weight may change from window to window, relative
}

// newSynthetic makes a space of blocks like a small transformer's. Quant levels have 6 to 2 bits,
// sparsity levels remove 4 to 12 sixteenths, drop units are sub-blocks.
func newSynthetic(kind string, blocks int, seed uint64, spread float64) *synthetic {
	rng := rand.New(rand.NewPCG(seed, 0))
	m := &synthetic{space: &Space{Kind: kind, FixedBytes: 1000}, seed: seed, spread: spread}
	add := func(u Unit) {
		m.space.Units = append(m.space.Units, u)
		x := 0.5 + float64(2*rng.Float64())
		m.weight = append(m.weight, float64(math.Sqrt(float64(u.Params))*float64(x*x*x))) // a few weigh much more than most
	}
	for b := range blocks {
		if kind == Drop {
			for _, role := range []string{"self_attn", "mlp"} {
				add(Unit{Name: fmt.Sprintf("model.layers.%d.%s", b, role), Group: role, Params: 64,
					Levels: []Level{{Name: LevelDense, Bytes: 128}, {Name: LevelDrop, Cost: 1}}})
			}
			continue
		}
		for _, role := range []struct {
			name string
			size int64
		}{{"self_attn.q_proj", 2}, {"self_attn.k_proj", 1}, {"self_attn.v_proj", 1}, {"self_attn.o_proj", 2}, {"mlp.gate_proj", 4}, {"mlp.down_proj", 4}} {
			u := Unit{Name: fmt.Sprintf("model.layers.%d.%s", b, role.name), Group: fmt.Sprint(role.size), Params: 64 * role.size}
			for l := range int64(5) {
				if kind == Quant {
					u.Levels = append(u.Levels, Level{Name: fmt.Sprintf("rtn-%db-g64", 6-l), Bytes: (8*(6-l) + 2) * role.size})
				} else {
					removed := u.Params / 8 * (2 + l)
					u.Levels = append(u.Levels, Level{Name: fmt.Sprintf("magnitude-%.3f", float64(2+l)/8), Bytes: u.Params/8 + 2*(u.Params-removed), Cost: removed})
				}
			}
			add(u)
		}
	}
	return m
}

// blockFormats gives the units of a quantization space the bytes of ggml's block formats: those of 256 weights where a
// module admits them, those of 32 elsewhere. They have no common measure.
func (m *synthetic) blockFormats() *synthetic {
	m.space.Loose = true
	for i := range m.space.Units {
		u := &m.space.Units[i]
		bytes := [...]int64{272, 192, 176, 144, 136}
		if u.Group == "4" {
			bytes = [...]int64{210, 176, 144, 110, 84}
		}
		for l := range u.Levels {
			u.Levels[l].Bytes = bytes[l] * u.Params / 64
		}
	}
	return m
}

// embedded puts embeddings before the units of a space of block formats: a quarter as many weights as all others, no K-quants, and
// errors that matter little.
func (m *synthetic) embedded() *synthetic {
	params := m.space.Params() / 4 / 64 * 64
	u := Unit{Name: "model.embed_tokens", Group: "embeddings", Params: params}
	for l, bytes := range [...]int64{272, 192, 176, 144, 136} {
		u.Levels = append(u.Levels, Level{Name: fmt.Sprintf("rtn-%db-g64", 6-l), Bytes: bytes * params / 64})
	}
	m.space.Units = append([]Unit{u}, m.space.Units...)
	m.weight = append([]float64{8 * slices.Max(m.weight)}, m.weight...)
	return m
}

// part is what unit u adds at level l.
func (m *synthetic) part(u, l int) float64 {
	if m.space.Kind == Drop {
		return float64(m.weight[u] * float64(l))
	}
	return float64(m.weight[u] * [...]float64{1. / 81, 1. / 27, 1. / 9, 1. / 3, 1}[l])
}

// kl is the true KL of a candidate.
func (m *synthetic) kl(c Candidate) float64 {
	var sum float64
	for u, l := range c {
		sum += m.part(u, l)
	}
	return sum
}

// score is what an evaluator would say on some windows.
func (m *synthetic) score(t Trial) Result {
	var sum float64
	for _, w := range t.Windows {
		rng := rand.New(rand.NewPCG(m.seed, uint64(w)+1))
		for u, l := range t.Candidate {
			sum += float64(m.part(u, l) * (1 + float64(m.spread*(float64(4*rng.Float64())-2))))
		}
	}
	kl := sum / float64(len(t.Windows))
	return Result{ID: t.ID, KL: kl, NLL: 2 + kl}
}

func (m *synthetic) scores(trials []Trial) []Result {
	out := make([]Result, len(trials))
	for i, t := range trials {
		out[i] = m.score(t)
	}
	return out
}

// optimum is the exact solution of the multiple-choice knapsack for a limit of the conserved
// measure over all units, by dynamic programming over what is kept above the smallest candidate.
func (m *synthetic) optimum(limit int64) float64 {
	s := m.space
	size := s.conserved()
	smallest := int64(0)
	for u := range s.Units {
		levels := s.Units[u].Levels
		smallest += size.of(levels[len(levels)-1])
	}
	room := int(limit - smallest)
	best := make([]float64, room+1) // best[r]: least KL of the units so far with at most r above the smallest
	for u := range s.Units {
		levels := s.Units[u].Levels
		next := make([]float64, room+1)
		for r := range next {
			next[r] = math.Inf(1)
			for l := range levels {
				if extra := int(size.of(levels[l]) - size.of(levels[len(levels)-1])); extra <= r {
					next[r] = min(next[r], best[r-extra]+m.part(u, l))
				}
			}
		}
		best = next
	}
	return best[room]
}

// finish runs an optimiser until the budget is spent, shuffling what it tells, and returns the stages.
func finish(t *testing.T, o Optimizer, m *synthetic, budget int64) (stages [][]Trial) {
	t.Helper()
	shuffle := rand.New(rand.NewPCG(uint64(len(stages)), 9))
	for {
		trials := o.Ask(budget)
		if trials == nil {
			return stages
		}
		stages = append(stages, trials)
		results := m.scores(trials)
		shuffle.Shuffle(len(results), func(i, j int) { results[i], results[j] = results[j], results[i] })
		if err := o.Tell(results); err != nil {
			t.Fatal(err)
		}
		if len(stages) > 100_000 {
			t.Fatal("the search does not end")
		}
	}
}

func mustTarget(t testing.TB, s string) Target {
	t.Helper()
	target, err := ParseTarget(s)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func mustNew(t testing.TB, method string, job Job) Optimizer {
	t.Helper()
	o, err := New(method, job)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// jobs are one for each kind of space and without a target, small enough to run to the end.
func jobs(t testing.TB) []struct {
	name   string
	method string
	m      *synthetic
	job    Job
} {
	var out []struct {
		name   string
		method string
		m      *synthetic
		job    Job
	}
	for _, c := range []struct{ method, kind, target string }{
		{methodEvoPress, Quant, "bpw=3"}, {methodEvoPress, Quant, "bpw=4.25"}, {methodEvoPress, Sparsity, "sparsity=0.5"},
		{methodEvoPress, Drop, "drop=0.25"}, {methodEvoPress, Quant, ""}, {methodEvoPress, Drop, ""}, {methodEvoPress, Sparsity, "size=9kB"},
		{methodRandom, Quant, "bpw=3"}, {methodRandom, Sparsity, ""}, {methodEvoPress, "loose", "size=18kB"}, {methodEvoPress, "loose", ""},
	} {
		var m *synthetic
		if c.kind == "loose" {
			m = newSynthetic(Quant, 6, 5, 0.3).blockFormats()
		} else {
			m = newSynthetic(c.kind, 6, 5, 0.3)
		}
		out = append(out, struct {
			name   string
			method string
			m      *synthetic
			job    Job
		}{c.method + " " + c.kind + " " + c.target, c.method, m,
			Job{Space: m.space, Target: mustTarget(t, c.target), Seed: 7, Budget: 300 * 128, SeqLen: 128, Windows: 12}})
	}
	return out
}

func reversed(r []Result) []Result {
	r = slices.Clone(r)
	slices.Reverse(r)
	return r
}
