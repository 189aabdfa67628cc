package search

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestTrajectory holds the first stages of every kind of search: a change here changes what every
// stored run would have done.
func TestTrajectory(t *testing.T) {
	var b strings.Builder
	for _, j := range jobs(t) {
		fmt.Fprintf(&b, "%s\n", j.name)
		o := mustNew(t, j.method, j.job)
		for range 12 {
			trials := o.Ask(j.job.Budget)
			if trials == nil {
				break
			}
			fmt.Fprintf(&b, "%-32s ids %d-%d windows %v", o.Progress().Stage, trials[0].ID, trials[len(trials)-1].ID, trials[0].Windows)
			for _, tr := range trials[:min(2, len(trials))] {
				fmt.Fprintf(&b, " %.12s", j.job.Space.Phenotype(tr.Candidate))
			}
			b.WriteByte('\n')
			if err := o.Tell(j.m.scores(trials)); err != nil {
				t.Fatal(err)
			}
		}
		b.WriteByte('\n')
	}
	golden(t, "trajectory.txt", b.String())
}

// TestResume restores a search from its state before and after every Ask and after every half of a
// Tell, and wants the same trials as without.
func TestResume(t *testing.T) {
	for _, j := range jobs(t) {
		t.Run(j.name, func(t *testing.T) {
			plain := mustNew(t, j.method, j.job)
			again := mustNew(t, j.method, j.job)
			restore := func() {
				t.Helper()
				state, err := again.State()
				if err != nil {
					t.Fatal(err)
				}
				if again, err = Restore(j.job.Space, state); err != nil {
					t.Fatal(err)
				}
				if state2, err := again.State(); err != nil || string(state2) != string(state) {
					t.Fatalf("the state of a restored search differs (%v):\n%s\n%s", err, state, state2)
				}
			}
			for step := 0; ; step++ {
				restore()
				want, got := plain.Ask(j.job.Budget), again.Ask(j.job.Budget)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("step %d: got\n%v\nwant\n%v", step, got, want)
				}
				if want == nil {
					break
				}
				restore()
				results := j.m.scores(want)
				if err := plain.Tell(results); err != nil {
					t.Fatal(err)
				}
				// The other is told backwards and in two parts.
				results = reversed(results)
				if err := again.Tell(results[:len(results)/2]); err != nil {
					t.Fatal(err)
				}
				restore()
				if rest := again.Ask(j.job.Budget); len(rest) != len(want)-len(results)/2 {
					t.Fatalf("step %d: %d trials left after %d of %d were told", step, len(rest), len(results)/2, len(want))
				}
				if err := again.Tell(results[len(results)/2:]); err != nil {
					t.Fatal(err)
				}
			}
			if p, q := fmt.Sprint(plain.Progress()), fmt.Sprint(again.Progress()); p != q {
				t.Errorf("progress %s, want %s", q, p)
			}
			if plain.Progress().Generation < 3 {
				t.Errorf("only %d generations fit: the test says little", plain.Progress().Generation)
			}
		})
	}
}

// TestExtend gives the budget in pieces and wants what a search has that had it from the start.
func TestExtend(t *testing.T) {
	for _, j := range jobs(t) {
		t.Run(j.name, func(t *testing.T) {
			whole := finish(t, mustNew(t, j.method, j.job), j.m, j.job.Budget)
			o := mustNew(t, j.method, j.job)
			var pieces [][]Trial
			for budget := int64(0); budget <= j.job.Budget; budget += j.job.Budget / 10 {
				pieces = append(pieces, finish(t, o, j.m, budget)...)
				if spent := o.Progress().Tokens; spent > budget {
					t.Fatalf("spent %d of %d tokens", spent, budget)
				}
			}
			if fmt.Sprint(pieces) != fmt.Sprint(whole) {
				t.Errorf("%d stages in pieces differ from %d at once", len(pieces), len(whole))
			}
			var tokens int64
			for _, stage := range whole {
				tokens += int64(len(stage)) * int64(len(stage[0].Windows)) * int64(j.job.SeqLen)
			}
			if got := o.Progress().Tokens; got != tokens {
				t.Errorf("%d tokens counted, the trials have %d", got, tokens)
			}
		})
	}
}

// TestTrials checks what holds for every trial of every search: it meets the target, stage-mates are
// distinct and share their windows, ids count up.
func TestTrials(t *testing.T) {
	for _, j := range jobs(t) {
		t.Run(j.name, func(t *testing.T) {
			o := mustNew(t, j.method, j.job)
			id := 0
			for _, stage := range finish(t, o, j.m, j.job.Budget) {
				seen := map[string]bool{}
				for _, tr := range stage {
					if tr.ID != id {
						t.Fatalf("id %d after %d", tr.ID, id-1)
					}
					id++
					if err := j.job.Space.Check(tr.Candidate); err != nil {
						t.Fatal(err)
					}
					if j.job.Target.Kind != "" {
						checkTarget(t, j.job.Space, j.job.Target, tr.Candidate)
					}
					if seen[tr.Candidate.String()] && j.method == methodEvoPress {
						t.Fatalf("trial %d is in its stage twice", tr.ID)
					}
					seen[tr.Candidate.String()] = true
					if !slices.Equal(tr.Windows, stage[0].Windows) {
						t.Fatalf("windows %v and %v in a stage", tr.Windows, stage[0].Windows)
					}
					if !slices.IsSorted(tr.Windows) || len(slices.Compact(slices.Clone(tr.Windows))) != len(tr.Windows) || tr.Windows[0] < 0 || tr.Windows[len(tr.Windows)-1] >= j.job.Windows {
						t.Fatalf("windows %v of %d", tr.Windows, j.job.Windows)
					}
				}
			}
			for _, c := range o.Progress().Incumbents {
				if j.job.Target.Kind != "" {
					checkTarget(t, j.job.Space, j.job.Target, c)
				}
			}
		})
	}
}

// checkTarget checks a target by its definition.
func checkTarget(t *testing.T, s *Space, target Target, c Candidate) {
	t.Helper()
	switch target.Kind {
	case TargetSparsity:
		if got := float64(s.Cost(c)) / float64(s.Params()); math.Abs(got-target.Value) > 1e-3 {
			t.Fatalf("sparsity %g, want %s", got, target)
		}
	case TargetBits:
		if got := s.BitsPerWeight(c); got > target.Value {
			t.Fatalf("%g bits a weight, want %s", got, target)
		}
	case TargetSize:
		if got := float64(s.Bytes(c)); got > target.Value {
			t.Fatalf("%g bytes, want %s", got, target)
		}
	case TargetDrop:
		for _, units := range s.groups() {
			n := 0
			for _, u := range units {
				n += c[u]
			}
			if want := math.Floor(float64(target.Value*float64(len(units))) + 0.5); float64(n) != want {
				t.Fatalf("%d of a type dropped, want %g", n, want)
			}
		}
	}
}

// TestStages follows a generation: the parent enters the last stage and no other, survivors are the
// best of their stage, merges join after the first.
func TestStages(t *testing.T) {
	m := newSynthetic(Quant, 6, 1, 0.3)
	schedule := Schedule{Initial: Stage{4, 1}, Offspring: 10, Flips: 3, Merge: []int{3}, Stages: []Stage{{4, 1}, {2, 2}, {1, 3}}}
	o := mustNew(t, methodEvoPress, Job{Space: m.space, Target: mustTarget(t, "bpw=3"), SeqLen: 10, Windows: 8, Schedule: &schedule})
	ask := func() ([]Trial, []Result) {
		trials := o.Ask(1 << 40)
		results := m.scores(trials)
		if err := o.Tell(results); err != nil {
			t.Fatal(err)
		}
		return trials, results
	}
	best := func(trials []Trial, results []Result, n int) (out []Candidate) {
		order := slices.Clone(results)
		slices.SortFunc(order, func(a, b Result) int { return int(math.Copysign(1, a.KL-b.KL)) })
		for _, r := range order[:n] {
			out = append(out, trials[r.ID-trials[0].ID].Candidate)
		}
		return out
	}
	has := func(trials []Trial, c Candidate) bool {
		return slices.ContainsFunc(trials, func(t Trial) bool { return t.Candidate.Equal(c) })
	}
	trials, results := ask()
	parent := best(trials, results, 1)[0]
	for generation := range 10 {
		var keep []Candidate
		for stage, want := range []struct{ trials, windows, keep int }{{10, 1, 4}, {5, 2, 2}, {3, 3, 1}} {
			trials, results = ask()
			if len(trials) > want.trials || len(trials) < want.trials-1 || len(trials[0].Windows) != want.windows {
				t.Fatalf("stage %d has %d trials on %d windows, want %d on %d", stage, len(trials), len(trials[0].Windows), want.trials, want.windows)
			}
			if has(trials, parent) != (stage == 2) {
				t.Fatalf("generation %d, stage %d: parent among the trials: %v", generation, stage, stage != 2)
			}
			for _, c := range keep {
				if !has(trials, c) {
					t.Fatalf("survivor %s is not in stage %d", c, stage)
				}
			}
			keep = best(trials, results, want.keep)
		}
		parent = keep[0]
		if got := o.Progress().Incumbents[0]; !got.Equal(parent) {
			t.Fatalf("parent %s, want %s", got, parent)
		}
	}
}

// TestKnapsack compares with the exact optimum of an additive model: the search comes within a few
// percent, and beats uniform and random search of the same budget.
func TestKnapsack(t *testing.T) {
	for _, c := range []struct {
		kind, target string
		blocks       int
		within       float64 // of the optimum, relative
	}{
		{Quant, "bpw=3", 8, 0.02}, {Quant, "bpw=3.25", 8, 0.02}, {Sparsity, "sparsity=0.5", 8, 0.05}, {Drop, "drop=0.25", 16, 1e-9},
		{"loose", "size=24kB", 8, 0.08}, {"loose", "size=22001", 8, 0.08},
		{"embedded", "size=27kB", 8, 0.08}, {"embedded", "size=31kB", 8, 0.08},
	} {
		for seed := range uint64(3) {
			var m *synthetic
			if c.kind == "loose" || c.kind == "embedded" {
				m = newSynthetic(Quant, c.blocks, seed, 0).blockFormats()
				if c.kind == "embedded" {
					m = m.embedded()
				}
			} else {
				m = newSynthetic(c.kind, c.blocks, seed, 0)
			}
			job := Job{Space: m.space, Target: mustTarget(t, c.target), Seed: seed, Budget: 8000, SeqLen: 1, Windows: 4}
			g, err := m.space.goal(job.Target)
			if err != nil {
				t.Fatal(err)
			}
			evo, random := mustNew(t, methodEvoPress, job), mustNew(t, methodRandom, job)
			finish(t, evo, m, job.Budget)
			finish(t, random, m, job.Budget)
			var optimum float64
			if c.kind == Drop {
				for _, units := range m.space.groups() {
					part := &synthetic{space: &Space{Kind: Drop}}
					for _, u := range units {
						part.space.Units = append(part.space.Units, m.space.Units[u])
						part.weight = append(part.weight, m.weight[u])
					}
					optimum += part.optimum(-int64(c.blocks) / 4)
				}
			} else {
				optimum = m.optimum(g.sets[0].limit)
			}
			found := evo.Progress().Incumbents[0]
			uniform := m.space.Uniform(found)
			got, even, rnd := m.kl(found), m.kl(uniform), m.kl(random.Progress().Incumbents[0])
			t.Logf("%s seed %d: optimum %.4f, found %.4f, random %.4f, uniform %.4f", c.target, seed, optimum, got, rnd, even)
			if got > optimum*(1+c.within) || got < optimum*(1-1e-9) {
				t.Errorf("%s seed %d: found %g, the optimum is %g", c.target, seed, got, optimum)
			}
			if got >= even || got >= rnd {
				t.Errorf("%s seed %d: found %g, uniform has %g, random search %g", c.target, seed, got, even, rnd)
			}
		}
	}
}

// TestSmallBudget is a search of minutes on a processor: 100,000 tokens in windows of 512, on which a
// unit's weight is off by a half. The true KL of what it finds is below that of uniform every time.
func TestSmallBudget(t *testing.T) {
	for _, c := range []struct {
		kind, target string
		gain         float64 // mean over seeds, relative to uniform
	}{{Quant, "bpw=3", 0.1}, {Sparsity, "sparsity=0.5", 0.1}, {Drop, "drop=0.25", 0.5}} {
		var gain float64
		const seeds = 5
		for seed := range uint64(seeds) {
			m := newSynthetic(c.kind, 16, seed, 0.5)
			job := Job{Space: m.space, Target: mustTarget(t, c.target), Seed: seed, Budget: 100_000, SeqLen: 512, Windows: 40}
			o := mustNew(t, methodEvoPress, job)
			finish(t, o, m, job.Budget)
			found := o.Progress().Incumbents[0]
			got, even := m.kl(found), m.kl(m.space.Uniform(found))
			if got >= even {
				t.Errorf("%s seed %d: found %g, uniform has %g", c.target, seed, got, even)
			}
			gain += (even - got) / even / seeds
		}
		t.Logf("%s: %.1f %% below uniform", c.target, 100*gain)
		if gain < c.gain {
			t.Errorf("%s: %.1f %% below uniform, want %.0f", c.target, 100*gain, 100*c.gain)
		}
	}
}

// TestFailures feeds a search nothing but bad scores in many ways: it goes on, keeps its parent and
// never lets a failure win over a score.
func TestFailures(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, j := range jobs(t) {
		t.Run(j.name, func(t *testing.T) {
			o := mustNew(t, j.method, j.job)
			all := mustNew(t, j.method, j.job)
			good := map[string]bool{}
			for {
				trials := o.Ask(j.job.Budget)
				if trials == nil {
					break
				}
				results := j.m.scores(trials)
				for i := range results {
					switch rng.IntN(6) {
					case 0:
						results[i].KL = math.NaN()
					case 1:
						results[i].KL = math.Inf(-1)
					case 2:
						results[i].NLL = math.Inf(1)
					case 3:
						results[i].Failed, results[i].KL = true, -1
					default:
						good[trials[i].Candidate.String()] = true
					}
				}
				if err := o.Tell(results); err != nil {
					t.Fatal(err)
				}
				if _, err := o.State(); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range o.Progress().Incumbents {
				if !good[c.String()] {
					t.Errorf("incumbent %s never had a score", c)
				}
			}
			for trials := all.Ask(j.job.Budget); trials != nil; trials = all.Ask(j.job.Budget) {
				var results []Result
				for _, tr := range trials {
					results = append(results, Result{ID: tr.ID, KL: math.NaN()})
				}
				before := fmt.Sprint(all.Progress().Incumbents)
				if err := all.Tell(results); err != nil {
					t.Fatal(err)
				}
				if after := fmt.Sprint(all.Progress().Incumbents); before != "[]" && len(before) == len(after) && after != before {
					t.Fatalf("a failed trial took over: %s, before %s", after, before)
				}
			}
		})
	}
}

func TestTellErrors(t *testing.T) {
	for _, j := range jobs(t) {
		o := mustNew(t, j.method, j.job)
		if err := o.Tell([]Result{{ID: 0}}); err == nil {
			t.Errorf("%s: a result before the first ask was taken", j.name)
		}
		trials := o.Ask(j.job.Budget)
		results := j.m.scores(trials)
		before, err := o.State()
		if err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string][]Result{
			"unknown":          {results[0], {ID: trials[len(trials)-1].ID + 1}},
			"negative":         {results[0], {ID: -1}},
			"twice in a batch": {results[1], results[1]},
		} {
			if err := o.Tell(bad); err == nil {
				t.Errorf("%s: %s was taken", j.name, name)
			}
			if after, _ := o.State(); string(after) != string(before) {
				t.Errorf("%s: %s: part of it was taken", j.name, name)
			}
		}
		if err := o.Tell(results[:1]); err != nil {
			t.Fatal(err)
		}
		if err := o.Tell(results[:1]); err == nil {
			t.Errorf("%s: told twice", j.name)
		}
		if err := o.Tell(nil); err != nil {
			t.Errorf("%s: nothing to tell is no error: %v", j.name, err)
		}
	}
}

// TestOnlyCandidate scores the one candidate that there is, once and on as much text as a last stage takes, and has it for an answer.
func TestOnlyCandidate(t *testing.T) {
	pair := []Level{{Name: "a", Bytes: 4}, {Name: "b", Bytes: 2}}
	for name, c := range map[string]struct {
		target string
		levels []Level
	}{
		"one level":          {"bpw=4", pair[:1]},
		"one level, all":     {"", pair[:1]},
		"all at the lowest":  {"bpw=2", pair},
		"all at the highest": {"bpw=4", pair},
	} {
		s := &Space{Kind: Quant, Units: []Unit{{Name: "x", Params: 8, Levels: c.levels}, {Name: "y", Params: 8, Levels: c.levels}}}
		m := &synthetic{space: s, weight: []float64{1, 1}}
		for _, loose := range []bool{false, true} {
			s.Loose = loose
			job := Job{Space: s, Target: mustTarget(t, c.target), Budget: 1000, SeqLen: 1, Windows: 9}
			o := mustNew(t, methodEvoPress, job)
			trials := o.Ask(1000)
			state, err := o.State()
			if err != nil {
				t.Fatal(err)
			}
			if o, err = Restore(s, state); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			stages := finish(t, o, m, 1<<40)
			last := len(o.(*evoPress).Schedule.Stages) - 1
			if len(trials) != 1 || len(stages) != 1 || len(trials[0].Windows) != o.(*evoPress).Schedule.Stages[last].Windows {
				t.Errorf("%s, loose %v: asks %v, %d stages", name, loose, trials, len(stages))
				continue
			}
			p := o.Progress()
			if want := m.score(trials[0]).KL; p.Best != want || len(p.Incumbents) != 1 || !p.Incumbents[0].Equal(trials[0].Candidate) || p.Tokens != int64(len(trials[0].Windows)) {
				t.Errorf("%s, loose %v: %+v, the candidate scores %v", name, loose, p, want)
			}
		}
	}
}

// TestOnlyCandidateFails ends all the same where the candidate has no score to be had.
func TestOnlyCandidateFails(t *testing.T) {
	s := &Space{Kind: Quant, Units: []Unit{{Name: "x", Params: 8, Levels: []Level{{Name: "a", Bytes: 4}}}}}
	o := mustNew(t, methodEvoPress, Job{Space: s, Target: mustTarget(t, "bpw=4"), Budget: 1000, SeqLen: 1, Windows: 3})
	if err := o.Tell([]Result{{ID: o.Ask(1000)[0].ID, Failed: true}}); err != nil {
		t.Fatal(err)
	}
	if again := o.Ask(1000); again != nil {
		t.Errorf("asks for %v", again)
	}
}

// TestAlone ends where there is nothing left to try.
func TestAlone(t *testing.T) {
	level := []Level{{Name: "a", Bytes: 4}, {Name: "b", Bytes: 2}}
	s := &Space{Kind: Quant, Units: []Unit{{Name: "x", Params: 8, Levels: level}}}
	for _, target := range []string{"bpw=3", ""} {
		o := mustNew(t, methodEvoPress, Job{Space: s, Target: mustTarget(t, target), Budget: 1000, SeqLen: 1, Windows: 3})
		stages := finish(t, o, &synthetic{space: s, weight: []float64{1}}, 1000)
		if len(stages) > 2 || len(o.Progress().Incumbents) == 0 {
			t.Errorf("target %q: %d stages in a space of two candidates, incumbents %v", target, len(stages), o.Progress().Incumbents)
		}
	}
}

// TestGenerations ends every rung at the schedule's number of generations, whatever the budget.
func TestGenerations(t *testing.T) {
	m := newSynthetic(Drop, 4, 1, 0.2) // its rungs drop 1 of 4, which has 16 candidates, and 2 of 4
	schedule := Schedule{Initial: Stage{3, 1}, Offspring: 4, Flips: 3, Stages: []Stage{{1, 2}}, Generations: 3}
	o := mustNew(t, methodEvoPress, Job{Space: m.space, Budget: 1000, SeqLen: 1, Windows: 4, Schedule: &schedule})
	finish(t, o, m, 1<<40)
	if p := o.Progress(); p.Generation != 6 || len(p.Incumbents) != 2 {
		t.Errorf("%d generations on %d rungs, want 3 on 2", p.Generation, len(p.Incumbents))
	}
}
