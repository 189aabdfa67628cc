package search

import (
	"fmt"
	"slices"
	"testing"
)

func TestUniform(t *testing.T) {
	for _, kind := range []string{Quant, Sparsity, Drop} {
		s := newSynthetic(kind, 8, 1, 0).space
		gen := newGenerator(1, 1)
		for range 200 {
			c := make(Candidate, len(s.Units))
			for u := range c {
				c[u] = gen.Intn(len(s.Units[u].Levels))
			}
			u := s.Uniform(c)
			if s.Bytes(u) > s.Bytes(c) {
				t.Fatalf("%s: uniform has %d bytes, more than %d", kind, s.Bytes(u), s.Bytes(c))
			}
			if kind == Drop {
				for _, units := range s.groups() {
					dropped := func(c Candidate) (n int) {
						for _, u := range units {
							n += c[u]
						}
						return n
					}
					if dropped(u) != dropped(c) {
						t.Fatalf("%d dropped, want %d", dropped(u), dropped(c))
					}
				}
				continue
			}
			// As near as the levels allow, and no two levels apart.
			if low, high := slices.Min(u), slices.Max(u); high-low > 1 && s.Kind == Quant {
				t.Fatalf("%s: levels %d to %d", kind, low, high)
			}
			for at := range u {
				if up := s.up(byBytes, u, at); up > 0 && s.Bytes(u)+up <= s.Bytes(c) {
					t.Fatalf("%s: %d bytes, %d more would fit in %d", kind, s.Bytes(u), up, s.Bytes(c))
				}
			}
		}
		for i, c := range s.UniformLevels() {
			if !s.Uniform(c).Equal(c) {
				t.Errorf("%s: the uniform candidate for uniform level %d is %s", kind, i, s.Uniform(c))
			}
		}
		if got, want := len(s.UniformLevels()), len(s.Units[0].Levels); got != want {
			t.Errorf("%s: %d uniform levels, want %d", kind, got, want)
		}
	}
}

// TestEvenlySpaced drops a quarter of 16 sub-blocks of each type.
func TestEvenlySpaced(t *testing.T) {
	s := newSynthetic(Drop, 16, 1, 0).space
	c := make(Candidate, 32)
	for i := range 8 {
		c[i] = 1
	}
	var dropped []string
	for _, l := range s.Config(s.Uniform(c)) {
		if l[1] == LevelDrop {
			dropped = append(dropped, l[0][len("model.layers."):])
		}
	}
	if got, want := fmt.Sprint(dropped), "[1.self_attn 1.mlp 5.self_attn 5.mlp 9.self_attn 9.mlp 13.self_attn 13.mlp]"; got != want {
		t.Logf("%s", s.Uniform(c))
		t.Errorf("dropped %s, want %s", got, want)
	}
	if got := spaced([]int{10, 11, 12, 13, 14, 15}, 2); !slices.Equal(got, []int{11, 14, 10, 12, 13, 15}) {
		t.Errorf("two of six: %v", got)
	}
}

func TestRandomCandidates(t *testing.T) {
	s := newSynthetic(Quant, 8, 1, 0).space
	target := mustTarget(t, "bpw=3.25")
	a, err := s.RandomCandidates(target, 20, 5)
	if err != nil {
		t.Fatal(err)
	}
	distinct := map[string]bool{}
	for _, c := range a {
		checkTarget(t, s, target, c)
		distinct[c.String()] = true
	}
	if len(distinct) < 15 {
		t.Errorf("%d distinct of 20", len(distinct))
	}
	if b, _ := s.RandomCandidates(target, 20, 5); fmt.Sprint(a) != fmt.Sprint(b) {
		t.Error("the same seed gives others")
	}
	if b, _ := s.RandomCandidates(target, 20, 6); fmt.Sprint(a) == fmt.Sprint(b) {
		t.Error("another seed gives the same")
	}
	if _, err := s.RandomCandidates(mustTarget(t, "bpw=1"), 1, 1); err == nil {
		t.Error("a target out of reach was met")
	}
}
