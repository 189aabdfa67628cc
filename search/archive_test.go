package search

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// evaluation is a short way to write one.
func evaluation(digest string, bytes int64, kl float64, tokens int64) Evaluation {
	return Evaluation{Digest: digest, Bytes: bytes, KL: kl, Tokens: tokens}
}

func digests(front []Evaluation) (out []string) {
	for _, e := range front {
		out = append(out, e.Digest)
	}
	return out
}

// TestArchiveRules writes out what the archive's two steps mean.
func TestArchiveRules(t *testing.T) {
	type stage = []Evaluation
	for _, c := range []struct {
		name   string
		stages []stage
		want   []string
	}{
		{"empty", nil, nil},
		{"dominance", []stage{{evaluation("a", 10, 3, 1), evaluation("b", 20, 2, 1), evaluation("c", 20, 3, 1), evaluation("d", 5, 4, 1)}}, []string{"d", "a", "b"}},
		{"equals stay together", []stage{{evaluation("b", 10, 3, 1), evaluation("a", 10, 3, 1)}}, []string{"a", "b"}},
		{"the later parent wins on harder text", []stage{{evaluation("a", 10, 3, 8), evaluation("b", 10, 4, 8)}, {evaluation("a", 10, 6, 8), evaluation("c", 10, 5, 8)}}, []string{"c"}},
		{"who lost before stays out", []stage{{evaluation("a", 10, 3, 8), evaluation("lucky", 10, 3.1, 8)}, {evaluation("a", 10, 9, 8)}}, []string{"a"}},
		{"who comes back may win", []stage{{evaluation("a", 10, 3, 8), evaluation("b", 10, 2, 8)}, {evaluation("a", 10, 4, 8), evaluation("b", 10, 5, 8)}}, []string{"a"}},
		{"fewer tokens displace nobody", []stage{{evaluation("a", 10, 3, 8)}, {evaluation("lucky", 10, 1, 2), evaluation("small", 5, 2, 2)}}, []string{"a"}},
		{"fewer tokens where nothing is known", []stage{{evaluation("a", 10, 3, 8)}, {evaluation("small", 5, 4, 2), evaluation("large", 20, 2, 2), evaluation("bad", 20, 5, 2)}}, []string{"small", "a", "large"}},
		{"failed", []stage{{evaluation("a", 10, 3, 1), {Digest: "f", Failed: true, Tokens: 1}}}, []string{"a"}},
		{"doubled", []stage{{evaluation("a", 10, 3, 1), evaluation("a", 10, 3, 1)}}, []string{"a"}},
	} {
		a := NewArchive()
		n := 0
		for _, s := range c.stages {
			a.Add(s)
			n += len(s)
		}
		if got := digests(a.Front()); !slices.Equal(got, c.want) {
			t.Errorf("%s: front %v, want %v", c.name, got, c.want)
		}
		if a.Len() != n {
			t.Errorf("%s: %d evaluations counted, want %d", c.name, a.Len(), n)
		}
	}
}

// TestArchiveSingle compares with dominance by its definition, where every candidate is measured
// once and on the same text, for two and three objectives and evaluations in any split and order.
func TestArchiveSingle(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	three := []Objective{
		func(e Evaluation) float64 { return float64(e.Bytes) },
		func(e Evaluation) float64 { return e.KL },
		func(e Evaluation) float64 { return e.NLL },
	}
	for round := range 200 {
		objectives := three[:2+round%2]
		var all []Evaluation
		for i := range 1 + rng.IntN(60) {
			e := evaluation(fmt.Sprint(i), rng.Int64N(12), float64(rng.IntN(12)), 7)
			e.NLL = float64(rng.IntN(4))
			all = append(all, e)
		}
		a := NewArchive(objectives...)
		point := a.point
		var want []string
		for _, e := range all {
			beaten := false
			for _, o := range all {
				better, worse := false, false
				for _, f := range objectives {
					better = better || f(o) < f(e)
					worse = worse || f(o) > f(e)
				}
				beaten = beaten || better && !worse
			}
			if !beaten {
				want = append(want, e.Digest)
			}
		}
		slices.Sort(want)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		cut := rng.IntN(len(all) + 1)
		a.Add(all[:cut])
		a.Add(all[cut:])
		front := a.Front()
		got := digests(front)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: front %v, want %v", round, got, want)
		}
		if !slices.IsSortedFunc(front, func(x, y Evaluation) int { return slices.Compare(point(x), point(y)) }) {
			t.Fatalf("round %d: front is not sorted", round)
		}
	}
}

// TestArchiveMixed: whatever goes in, the front is mutually non-dominated, nothing on it was beaten
// where it was last scored, and no candidate was pushed off by one measured on less.
func TestArchiveMixed(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	for round := range 300 {
		a, shuffled, padded := NewArchive(), NewArchive(), NewArchive()
		for range 1 + rng.IntN(8) {
			var stage []Evaluation
			tokens := int64(1 + rng.IntN(3))
			for range 1 + rng.IntN(6) {
				d := rng.IntN(12)
				stage = append(stage, evaluation(fmt.Sprint(d), int64(d/2), float64(rng.IntN(6)), tokens))
			}
			slices.SortFunc(stage, func(x, y Evaluation) int { return int(x.KL - y.KL) })
			stage = slices.CompactFunc(stage, func(x, y Evaluation) bool { return x.Digest == y.Digest })
			a.Add(stage)
			// One that is worse than another of its stage changes nothing.
			worse := stage[0]
			worse.Digest, worse.Bytes, worse.KL = "worse", worse.Bytes+1, worse.KL+1
			padded.Add(append(slices.Clone(stage), worse))
			seen := map[string]bool{}
			stage = slices.DeleteFunc(slices.Clone(stage), func(e Evaluation) bool { was := seen[e.Digest]; seen[e.Digest] = true; return was })
			rng.Shuffle(len(stage), func(i, j int) { stage[i], stage[j] = stage[j], stage[i] })
			shuffled.Add(stage)
		}
		front := a.Front()
		if fmt.Sprint(front) != fmt.Sprint(shuffled.Front()) {
			t.Fatalf("round %d: the order within stages matters:\n%v\n%v", round, front, shuffled.Front())
		}
		if fmt.Sprint(front) != fmt.Sprint(padded.Front()) {
			t.Fatalf("round %d: a dominated evaluation matters:\n%v\n%v", round, front, padded.Front())
		}
		on := map[string]bool{}
		for _, e := range front {
			on[e.Digest] = true
			if !a.last[e.Digest].stands {
				t.Fatalf("round %d: %s was beaten and is on the front", round, e.Digest)
			}
			for _, o := range front {
				if dominates(a.point(o), a.point(e)) {
					t.Fatalf("round %d: %v dominates %v", round, o, e)
				}
			}
		}
		for d, s := range a.last {
			if !s.stands || on[d] {
				continue
			}
			if !slices.ContainsFunc(front, func(o Evaluation) bool {
				p, q := a.point(s.Evaluation), a.point(o)
				return o.Tokens == s.Tokens && dominates(q, p) || o.Tokens > s.Tokens && (weaklyDominates(q, p) || weaklyDominates(p, q))
			}) && !slices.ContainsFunc(slices.Collect(standings(a)), func(o Evaluation) bool {
				return o.Tokens == s.Tokens && dominates(a.point(o), a.point(s.Evaluation))
			}) {
				t.Fatalf("round %d: %s is off the front for no reason", round, d)
			}
		}
	}
}

// standings yields those that stand.
func standings(a *Archive) func(yield func(Evaluation) bool) {
	return func(yield func(Evaluation) bool) {
		for _, s := range a.last {
			if s.stands && !yield(s.Evaluation) {
				return
			}
		}
	}
}

// TestArchiveSearch: after a search at one target the front is what the search would answer.
func TestArchiveSearch(t *testing.T) {
	for _, j := range jobs(t) {
		o := mustNew(t, j.method, j.job)
		a := NewArchive()
		for trials := o.Ask(j.job.Budget); trials != nil; trials = o.Ask(j.job.Budget) {
			var stage []Evaluation
			for _, tr := range trials {
				r := j.m.score(tr)
				stage = append(stage, Evaluation{Candidate: tr.Candidate, Digest: j.job.Space.Phenotype(tr.Candidate),
					Bytes: j.job.Space.Bytes(tr.Candidate), KL: r.KL, NLL: r.NLL, Tokens: int64(len(tr.Windows) * j.job.SeqLen)})
			}
			a.Add(stage)
			if err := o.Tell(j.m.scores(trials)); err != nil {
				t.Fatal(err)
			}
		}
		front := a.Front()
		if j.job.Target.Kind == "" {
			if len(front) < 2 {
				t.Errorf("%s: a front of %d points", j.name, len(front))
			}
			continue
		}
		if j.job.Space.Loose { // sizes differ: a smaller parent stands beside the child that is better
			continue
		}
		if len(front) > 1 || !front[0].Candidate.Equal(o.Progress().Incumbents[0]) {
			t.Errorf("%s: front %v, the search answers %s", j.name, front, o.Progress().Incumbents[0])
		}
	}
}

func TestFinalists(t *testing.T) {
	a := NewArchive()
	var stage []Evaluation
	for i := range int64(11) {
		stage = append(stage, evaluation(fmt.Sprint(i), 100*i, float64(10-i)/10, 1))
	}
	a.Add(stage)
	for _, c := range []struct {
		n    int
		want []int64
	}{{0, nil}, {1, []int64{0}}, {2, []int64{0, 10}}, {3, []int64{0, 5, 10}}, {11, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, {20, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}} {
		var got []int64
		for _, e := range a.Finalists(c.n) {
			got = append(got, e.Bytes/100)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%d finalists: %v, want %v", c.n, got, c.want)
		}
	}
	if got := NewArchive().Finalists(3); len(got) != 0 {
		t.Errorf("finalists of nothing: %v", got)
	}
}

func TestHypervolume(t *testing.T) {
	for _, c := range []struct {
		points    [][]float64
		reference []float64
		want      float64
	}{
		{nil, []float64{1, 1}, 0},
		{[][]float64{{0, 0}}, []float64{2, 3}, 6},
		{[][]float64{{1}, {3}}, []float64{5}, 4},
		{[][]float64{{0, 2}, {1, 1}, {2, 0}}, []float64{3, 3}, 6},
		{[][]float64{{0, 2}, {1, 1}, {2, 0}, {2, 2}, {9, 0}, {0, 3}}, []float64{3, 3}, 6}, // dominated, outside, on the edge
		{[][]float64{{0, 0, 1}, {1, 1, 0}}, []float64{2, 2, 2}, 5},
		{[][]float64{{0, 0, 0, 0}, {1, 1, 1, 1}}, []float64{2, 2, 2, 2}, 16},
	} {
		if got := Hypervolume(c.points, c.reference); got != c.want {
			t.Errorf("%v to %v: %g, want %g", c.points, c.reference, got, c.want)
		}
	}
}

// TestHypervolumeExact counts unit cells, and checks that order, dominated points and a third
// objective that is the same for all make no difference.
func TestHypervolumeExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range 200 {
		d, side := 1+rng.IntN(4), 6
		points := make([][]float64, rng.IntN(12))
		for i := range points {
			points[i] = make([]float64, d)
			for k := range points[i] {
				points[i][k] = float64(rng.IntN(side + 1))
			}
		}
		reference := slices.Repeat([]float64{float64(side)}, d)
		var want float64
		for cell := range int(math.Pow(float64(side), float64(d))) {
			at := make([]float64, d)
			for k, rest := 0, cell; k < d; k, rest = k+1, rest/side {
				at[k] = float64(rest % side)
			}
			if slices.ContainsFunc(points, func(p []float64) bool { return weaklyDominates(p, at) }) {
				want++
			}
		}
		if got := Hypervolume(points, reference); got != want {
			t.Fatalf("round %d: %v: %g, want %g", round, points, got, want)
		}
		flat := make([][]float64, len(points))
		for i, p := range points {
			flat[i] = append(slices.Clone(p), 3)
		}
		rng.Shuffle(len(flat), func(i, j int) { flat[i], flat[j] = flat[j], flat[i] })
		if got := Hypervolume(flat, append(reference, 5)); got != 2*want {
			t.Fatalf("round %d: with a constant objective %g, want %g", round, got, 2*want)
		}
	}
}
