package search

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestPublished counts the tokens that the published schedules evaluate: section 4 of the paper and
// the scripts of its repository.
func TestPublished(t *testing.T) {
	for _, c := range []struct {
		kind string
		want float64 // million tokens
	}{{Drop, 26.3}, {Sparsity, 183.5}, {Quant, 176.9}} {
		s, err := Published(c.kind, 2048, 32, 12)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		windows := s.cost() * int64(s.Generations)
		if c.kind == Drop {
			windows += s.Initial.cost()
		}
		if got := float64(windows) * 2048 / 1e6; got < c.want-0.1 || got > c.want+0.1 {
			t.Errorf("%s: %.1f million tokens, want %.1f", c.kind, got, c.want)
		}
	}
	if s, _ := Published(Quant, 8192, 0, 0); s.Stages[0].Windows != 1 || s.Stages[2].Windows != 16 {
		t.Errorf("windows of 8192 tokens: %v", s.Stages)
	}
	for _, bad := range []struct {
		kind   string
		seqLen int
	}{{"width", 512}, {Quant, 0}} {
		if _, err := Published(bad.kind, bad.seqLen, 0, 0); err == nil {
			t.Errorf("%v has a published schedule", bad)
		}
	}
}

// TestScheduleFor: a schedule is valid, is good for more than one generation, takes no more
// windows than there are, and grows with the budget.
func TestScheduleFor(t *testing.T) {
	for _, kind := range []string{Quant, Sparsity, Drop} {
		before := int64(0)
		for _, budget := range []int64{30e3, 100e3, 300e3, 1e6, 6e6, 200e6} {
			s, err := ScheduleFor(kind, budget, 512, 40)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(); err != nil {
				t.Errorf("%s %d: %v", kind, budget, err)
			}
			if s.windows() > 40 {
				t.Errorf("%s %d: %d of 40 windows", kind, budget, s.windows())
			}
			if generations := (budget/512 - s.Initial.cost()) / s.cost(); generations < 2 {
				t.Errorf("%s: %d tokens are %d generations", kind, budget, generations)
			}
			if s.cost() < before {
				t.Errorf("%s: %d tokens take %d windows a generation, fewer than %d", kind, budget, s.cost(), before)
			}
			before = s.cost()
		}
		for _, windows := range []int{1, 2} {
			s, err := ScheduleFor(kind, 100e3, 512, windows)
			if err != nil || s.windows() > windows {
				t.Errorf("%s: %d of %d windows (%v)", kind, s.windows(), windows, err)
			}
		}
		if _, err := ScheduleFor(kind, 1000, 512, 40); err == nil || !strings.Contains(err.Error(), "budget of 1000 tokens is too small") {
			t.Errorf("%s: error %v", kind, err)
		}
		if _, err := ScheduleFor(kind, 1e6, 512, 0); err == nil {
			t.Errorf("%s: a schedule without windows", kind)
		}
	}
}

// TestPublishedBudget refuses a budget that ends before the first generation of a given schedule does.
func TestPublishedBudget(t *testing.T) {
	space := randomSpace(rand.New(rand.NewPCG(1, 1)))
	schedule := Schedule{Initial: Stage{4, 1}, Offspring: 8, Flips: 3, Stages: []Stage{{2, 1}, {1, 2}}}
	for budget, ok := range map[int64]bool{0: true, 10 * 17: false, 10 * 18: true} { // 4, 8 and 2 · (2 + 1) windows
		job := Job{Space: space, Budget: budget, SeqLen: 10, Windows: 8, Schedule: &schedule}
		if _, err := New(methodEvoPress, job); (err == nil) != ok || !ok && !strings.Contains(err.Error(), "too small") {
			t.Errorf("%d tokens: %v", budget, err)
		}
	}
}

func TestScheduleValidate(t *testing.T) {
	good := Schedule{Initial: Stage{4, 1}, Offspring: 8, Flips: 3, Merge: []int{3}, Stages: []Stage{{2, 1}, {1, 2}}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Schedule){
		"offspring":      func(s *Schedule) { s.Offspring = 0 },
		"no stages":      func(s *Schedule) { s.Stages = nil },
		"two at the end": func(s *Schedule) { s.Stages[1].Keep = 2 },
		"flips":          func(s *Schedule) { s.Flips = 0 },
		"initial":        func(s *Schedule) { s.Initial.Keep = 0 },
		"keep more":      func(s *Schedule) { s.Stages[0].Keep = 9 },
		"no windows":     func(s *Schedule) { s.Stages[0].Windows = 0 },
		"windows":        func(s *Schedule) { s.Initial.Windows = 1 << 30 },
		"merge one":      func(s *Schedule) { s.Merge = []int{1} },
		"merge too many": func(s *Schedule) { s.Merge = []int{9} },
		"generations":    func(s *Schedule) { s.Generations = -1 },
	} {
		s := good.clamp(100)
		change(&s)
		if err := s.Validate(); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// TestLadder: the rungs go down in size, each to one that candidates have a choice at, within the space.
func TestLadder(t *testing.T) {
	for _, c := range []struct {
		kind   string
		blocks int
		rungs  int
	}{{Quant, 8, 8}, {Sparsity, 8, 8}, {Drop, 32, 8}, {Drop, 6, 3}, {Drop, 1, 1}} {
		s := newSynthetic(c.kind, c.blocks, 1, 0).space
		schedule, err := ScheduleFor(c.kind, 1e6, 512, 40)
		if err != nil {
			t.Fatal(err)
		}
		targets, turn := s.ladder(schedule, 20_000)
		if len(targets) != c.rungs || turn < turnGenerations {
			t.Errorf("%s of %d blocks: %v for %d generations each", c.kind, c.blocks, targets, turn)
		}
		size := s.Bytes(make(Candidate, len(s.Units))) + 1
		for _, target := range targets {
			g, err := s.goal(target)
			if err != nil {
				t.Fatal(err)
			}
			if b := s.Bytes(s.even(g)); b >= size {
				t.Errorf("%s of %d blocks: %s has %d bytes after %d", c.kind, c.blocks, target, b, size)
			} else {
				size = b
			}
		}
		o := mustNew(t, methodEvoPress, Job{Space: s, Budget: 1e6, SeqLen: 512, Windows: 40})
		finish(t, o, newSynthetic(c.kind, c.blocks, 1, 0.2), 1e6)
		if got := o.Progress(); len(got.Incumbents) == 0 || c.blocks > 1 && got.Generation < 5 {
			t.Errorf("%s of %d blocks: %+v", c.kind, c.blocks, got)
		}
	}
}
