package search

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Target
		out  string
	}{
		{"", Target{}, ""},
		{"sparsity=0.5", Target{TargetSparsity, 0.5}, "sparsity=0.5"},
		{"bpw=3", Target{TargetBits, 3}, "bpw=3"},
		{"drop=1", Target{TargetDrop, 1}, "drop=1"},
		{"size=90MB", Target{TargetSize, 90e6}, "size=90000000"},
		{"size=1.5 MiB", Target{TargetSize, 1.5 * (1 << 20)}, "size=1572864"},
		{"size=2GiB", Target{TargetSize, 1 << 31}, "size=2147483648"},
		{"size=3kB", Target{TargetSize, 3000}, "size=3000"},
		{"size=77", Target{TargetSize, 77}, "size=77"},
		{"size=77B", Target{TargetSize, 77}, "size=77"},
	} {
		got, err := ParseTarget(c.in)
		if err != nil || got != c.want || got.String() != c.out {
			t.Errorf("%q: %v %q (%v), want %v", c.in, got, got, err, c.want)
		}
		if again, err := ParseTarget(got.String()); err != nil || again != got {
			t.Errorf("%q: %q is read as %v (%v)", c.in, got, again, err)
		}
	}
	for _, bad := range []string{"0.5", "bpw", "bpw=", "bpw=x", "bpw=NaN", "bpw=-1", "sparsity=1.01", "drop=-0.1", "size=0", "size=1e99GB", "size=MB", "bits=3", "=3", "size=+InfMB"} {
		if got, err := ParseTarget(bad); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}

func TestReach(t *testing.T) {
	for _, c := range []struct{ kind, target, want string }{
		{Quant, "bpw=1", "has a bpw from 2.25 to 6.25"},
		{Quant, "bpw=7", "has a bpw from 2.25 to 6.25"},
		{Quant, "size=1kB", "has a size from 3016 to 6600"},
		{Sparsity, "sparsity=0.9", "has a sparsity from 0.25 to 0.75"},
		{Sparsity, "sparsity=0.1", "has a sparsity from 0.25 to 0.75"},
		{Quant, "sparsity=0.5", "not one for a quant space"},
		{Sparsity, "drop=0.5", "not one for a sparsity space"},
		{Quant, "bpw=2.25", ""}, {Quant, "bpw=6.25", ""}, {Quant, "size=3016", ""}, {Sparsity, "sparsity=0.25", ""},
		{Sparsity, "sparsity=0.75", ""}, {Drop, "drop=0", ""}, {Drop, "drop=1", ""}, {Sparsity, "bpw=9", ""}, {Drop, "bpw=8", ""},
	} {
		s := newSynthetic(c.kind, 8, 1, 0).space
		err := s.Reach(mustTarget(t, c.target))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s %s: %v", c.kind, c.target, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s %s: error %v, want %q", c.kind, c.target, err, c.want)
		case strings.HasPrefix(c.want, "has") && !errors.Is(err, ErrUnreachable):
			t.Errorf("%s %s: %v is not ErrUnreachable", c.kind, c.target, err)
		}
	}
	// A drop space of which some sub-blocks must stay.
	s := newSynthetic(Drop, 8, 1, 0).space
	for _, u := range []int{0, 2} {
		s.Units[u].Levels = s.Units[u].Levels[:1]
	}
	if err := s.Reach(mustTarget(t, "drop=0.001")); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "takes none of the") {
		t.Errorf("drop=0.001: %v", err)
	}
	if err := s.Reach(mustTarget(t, "drop=0.9")); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "takes 7 of the 8 sub-blocks of group self_attn, of which 0 to 6 can go") {
		t.Errorf("error %v", err)
	}
}

// llama8B is the linear modules of Llama-3-8B.
func llama8B(levels func(params int64) []Level) []Unit {
	var units []Unit
	for b := range 32 {
		for _, m := range []struct {
			name       string
			rows, cols int64
		}{
			{"self_attn.q_proj", 4096, 4096}, {"self_attn.k_proj", 1024, 4096}, {"self_attn.v_proj", 1024, 4096}, {"self_attn.o_proj", 4096, 4096},
			{"mlp.gate_proj", 14336, 4096}, {"mlp.up_proj", 14336, 4096}, {"mlp.down_proj", 4096, 14336},
		} {
			n := m.rows * m.cols
			units = append(units, Unit{Name: fmt.Sprintf("model.layers.%d.%s", b, m.name), Group: fmt.Sprint(n), Params: n, Levels: levels(n)})
		}
	}
	return units
}

// TestPublishedConfigs holds what is true of every configuration that EvoPress ships: the levels of
// the sparsity files sum to 0, the nominal bits of the quantization files have exactly the mean they
// were asked for, weighted or not, and a drop file of fraction f drops 32f of either type. Here they
// are of candidates drawn at random and mutated many times.
func TestPublishedConfigs(t *testing.T) {
	walk := func(t *testing.T, s *Space, target string, exchange bool, check func(c Candidate)) {
		g, err := s.goal(mustTarget(t, target))
		if err != nil {
			t.Fatal(err)
		}
		rng := newGenerator(1, 1)
		moves := newMover(s, 3, exchange)
		for range 10 {
			c := s.fill(g, rng.shuffled)
			check(c)
			for range 50 {
				if !moves.mutate(c, rng.Rand) {
					t.Fatal("no mutation was found")
				}
			}
			check(c)
		}
	}
	t.Run("sparsity", func(t *testing.T) {
		for _, mean := range []float64{0.5, 0.6, 0.7} {
			const delta, steps = 1_000_000, 8
			s := &Space{Kind: Sparsity, Units: llama8B(func(n int64) (levels []Level) {
				for l := int64(-steps); l <= steps; l++ {
					if z := int64(math.Round(mean*float64(n))) + l*delta; z >= 0 && z <= n {
						levels = append(levels, Level{Name: fmt.Sprint(l), Bytes: n/8 + 2*(n-z), Cost: z})
					}
				}
				return levels
			})}
			for u := range s.Units {
				s.Units[u].Group = "" // a level is as many weights everywhere
			}
			walk(t, s, fmt.Sprintf("sparsity=%g", mean), false, func(c Candidate) {
				sum := 0
				for _, l := range s.Config(c) {
					var level int
					fmt.Sscan(l[1], &level)
					sum += level
				}
				if sum != 0 {
					t.Fatalf("mean %g: levels sum to %d", mean, sum)
				}
			})
		}
	})
	t.Run("quant", func(t *testing.T) {
		s := &Space{Kind: Quant, Units: llama8B(func(n int64) (levels []Level) {
			for bits := int64(6); bits >= 2; bits-- {
				levels = append(levels, Level{Name: fmt.Sprint(bits), Bytes: n / 8 * bits}) // nominal, as theirs
			}
			return levels
		})}
		for _, mean := range []float64{2.25, 2.5, 3, 4} {
			for _, exchange := range []bool{false, true} {
				walk(t, s, fmt.Sprintf("bpw=%g", mean), exchange, func(c Candidate) {
					if got := s.BitsPerWeight(c); got != mean {
						t.Fatalf("%g bits a weight, want %g", got, mean)
					}
					var sum float64
					for _, l := range c {
						sum += float64(6 - l)
					}
					if got := sum / float64(len(c)); !exchange && got != mean {
						t.Fatalf("%g bits a module, want %g", got, mean)
					}
				})
			}
		}
	})
	t.Run("drop", func(t *testing.T) {
		s := newSynthetic(Drop, 32, 1, 0).space
		for _, f := range []float64{0.125, 0.25, 0.375, 0.5} {
			walk(t, s, fmt.Sprintf("drop=%g", f), false, func(c Candidate) { checkTarget(t, s, Target{TargetDrop, f}, c) })
		}
	})
}

// TestConserved mutates candidates of random spaces: the size never changes, the levels exist, and
// without exchange neither does the size of any group.
func TestConserved(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for round := range 300 {
		s := randomSpace(rng)
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		exchange := round%2 == 0
		moves := newMover(s, 1+rng.IntN(4), exchange)
		gen := newGenerator(uint64(round), 0)
		c := make(Candidate, len(s.Units))
		for u := range c {
			c[u] = rng.IntN(len(s.Units[u].Levels))
		}
		m := s.conserved()
		sums := func(c Candidate) (out []int64) {
			for _, units := range s.groups() {
				var n int64
				for _, u := range units {
					n += s.amount(m, c, u)
				}
				out = append(out, n)
			}
			return out
		}
		whole := func(c Candidate) (n int64) {
			for _, g := range sums(c) {
				n += g
			}
			return n
		}
		for range 30 {
			next := c.Clone()
			if !moves.mutate(next, gen.Rand) {
				continue
			}
			if err := s.Check(next); err != nil {
				t.Fatal(err)
			}
			if whole(next) != whole(c) {
				t.Fatalf("seed %d: size %d after a mutation, was %d", round, whole(next), whole(c))
			}
			if !exchange && fmt.Sprint(sums(next)) != fmt.Sprint(sums(c)) {
				t.Fatalf("seed %d: groups %d after a mutation, were %d", round, sums(next), sums(c))
			}
			c = next
		}
	}
}

// randomSpace has up to 20 units with levels of uneven steps.
func randomSpace(rng *rand.Rand) *Space {
	s := &Space{Kind: []string{Quant, Sparsity}[rng.IntN(2)]}
	for u := range 1 + rng.IntN(20) {
		unit := Unit{Name: fmt.Sprint("u", u), Group: fmt.Sprint(rng.IntN(3)), Params: 1 + rng.Int64N(100)}
		bytes, cost := rng.Int64N(30)+100, int64(0)
		for l := range 1 + rng.IntN(6) {
			unit.Levels = append(unit.Levels, Level{Name: fmt.Sprint("l", l), Bytes: bytes, Cost: cost})
			bytes -= 1 + rng.Int64N(3)
			if s.Kind == Sparsity {
				cost += 1 + rng.Int64N(3)
			}
		}
		s.Units = append(s.Units, unit)
	}
	return s
}

// TestFill builds candidates of random spaces for random targets in reach: they meet them, and none
// of their units could go a level up.
func TestFill(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for round := range 500 {
		s := randomSpace(rng)
		low, high := s.span(byBytes, s.units())
		target := Target{TargetSize, math.Floor(low + float64((high-low)*rng.Float64()))}
		g, err := s.goal(target)
		if err != nil {
			t.Fatal(err)
		}
		gen := newGenerator(uint64(round), 0)
		for _, c := range []Candidate{s.fill(g, gen.shuffled), s.even(g)} {
			if float64(s.Bytes(c)) > target.Value {
				t.Fatalf("seed %d: %d bytes, want at most %g", round, s.Bytes(c), target.Value)
			}
			for u := range c {
				if up := s.up(byBytes, c, u); up > 0 && float64(s.Bytes(c)+up) <= target.Value {
					t.Fatalf("seed %d: unit %d could have gone up: %d+%d of %g bytes", round, u, s.Bytes(c), up, target.Value)
				}
			}
		}
	}
}
