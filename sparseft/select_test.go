package sparseft

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// bruteTop sorts all gradients.
func bruteTop(g Gradient, t Target, k int) []int32 {
	dense := make([]float32, t.Rows*t.Cols)
	g.Rows(dense, 0, t.Rows)
	all := make([]int32, len(dense))
	for i := range all {
		all[i] = int32(i)
	}
	slices.SortStableFunc(all, func(a, b int32) int {
		return cmp.Compare(math.Abs(float64(dense[b])), math.Abs(float64(dense[a])))
	})
	top := all[:k]
	slices.Sort(top)
	return top
}

// TestScored holds that numbers give back what they were made of, and their order.
func TestScored(t *testing.T) {
	list := []scored{
		score(float32(math.Inf(1)), 0), score(-3, 5), score(3, math.MaxInt32), score(1e-45, 1), score(0, 0), score(float32(math.Copysign(0, -1)), 7),
	}
	if !slices.IsSorted(list) || slices.Contains(list, 0) {
		t.Errorf("%x", list)
	}
	if s := list[1]; s.score() != 3 || s.value() != -3 || s.index() != 5 {
		t.Errorf("%x: %v, %v, %d", s, s.score(), s.value(), s.index())
	}
	if s := list[2]; s.score() != 3 || s.value() != 3 || s.index() != math.MaxInt32 {
		t.Errorf("%x: %v, %v, %d", s, s.score(), s.value(), s.index())
	}
	if s := list[5]; s.score() != 0 || !math.Signbit(float64(s.value())) || s.index() != 7 {
		t.Errorf("%x: %v, %v, %d", s, s.score(), s.value(), s.index())
	}
}

// TestTop compares the choice with sorting, with many ties, and holds that the order of the offers stays.
func TestTop(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		n := 1 + r.IntN(60)
		all := make([]scored, n)
		for i := range all {
			all[i] = score(float32(r.IntN(8)), int32(i))
		}
		k := r.IntN(n + 3)
		best := top{k: k}
		var want []scored
		sorted := slices.Clone(all)
		slices.Sort(sorted)
		for _, i := range r.Perm(n) {
			if f := best.floor(); all[i].score() >= f {
				best.offer(all[i])
			}
			if slices.Contains(sorted[:min(k, n)], all[i]) {
				want = append(want, all[i])
			}
		}
		if got := best.kept(); !slices.Equal(got, want) {
			t.Fatalf("%d of %x: %x, want %x", k, all, got, want)
		}
	}
}

// TestChooser compares a choice under a mask with taking weights one by one.
func TestChooser(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		n := 1 + r.IntN(40)
		g := &tensor{total: n, cols: n, rows: 1, mask: NewMask(n)}
		for i := range n {
			if r.IntN(2) == 0 {
				g.mask.Keep(i)
			}
		}
		g.kept = g.mask.Count()
		g.regrow = r.IntN(n - g.kept + 1)
		all := make([]scored, n)
		for i := range all {
			all[i] = score(float32(r.IntN(10)), int32(i))
		}
		k := r.IntN(n + 1)
		c := g.choose(k)
		for _, s := range all {
			c.offer(s)
		}
		got := c.sorted()
		slices.Sort(all)
		var want []scored
		outside := 0
		for _, s := range all {
			if len(want) == k {
				break
			}
			if !g.mask.Has(int(s.index())) {
				if outside == g.regrow {
					continue
				}
				outside++
			}
			want = append(want, s)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

// TestSample holds that samples are sorted sets of what is allowed, and that every weight has the same chance.
func TestSample(t *testing.T) {
	const n, k, rounds = 30, 6, 6000
	count := make([]int, n)
	for round := range rounds {
		s := sample(random(uint64(round), "t", "test"), k, n, 15, func(i int) bool { return i%2 == 0 })
		if len(s) != k || checkIndices(s, n) != nil {
			t.Fatal(s)
		}
		for _, at := range s {
			count[at]++
		}
	}
	for i, c := range count {
		if i%2 == 1 && c > 0 || i%2 == 0 && math.Abs(float64(c)-rounds*k/15) > 150 { // 4 standard deviations
			t.Errorf("weight %d was drawn %d times", i, c)
		}
	}
	if a, b := sample(random(1, "a", "x"), 5, 99, 99, func(int) bool { return true }), sample(random(1, "b", "x"), 5, 99, 99, func(int) bool { return true }); slices.Equal(a, b) {
		t.Error("two tensors have the same random support")
	}
}

// bruteReselect says what SpIEL-AG's rule makes of a support, as its description reads: the new support, and what was
// dropped.
func bruteReselect(index []int32, delta []float32, n int, candidates []int32, scores []float32) (next, dropped []int32) {
	order := make([]int, len(index))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(math.Abs(float64(delta[a])), math.Abs(float64(delta[b])))
	})
	var drop []int32
	for _, i := range order[:n] {
		drop = append(drop, index[i])
	}
	var survivors []int32
	for _, at := range index {
		if !slices.Contains(drop, at) {
			survivors = append(survivors, at)
		}
	}
	by := make([]int, len(candidates))
	for i := range by {
		by[i] = i
	}
	slices.SortStableFunc(by, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	var grow []int32
	for _, i := range by {
		if len(grow) < n && !slices.Contains(survivors, candidates[i]) {
			grow = append(grow, candidates[i])
		}
	}
	incoming := slices.DeleteFunc(slices.Clone(grow), func(at int32) bool { return slices.Contains(drop, at) })
	outgoing := slices.DeleteFunc(slices.Clone(drop), func(at int32) bool { return slices.Contains(grow, at) })
	outgoing = outgoing[:len(incoming)]
	next = slices.DeleteFunc(slices.Clone(index), func(at int32) bool { return slices.Contains(outgoing, at) })
	next = append(next, incoming...)
	slices.Sort(next)
	slices.Sort(outgoing)
	return next, outgoing
}

// TestReselect compares reselections with the rule read literally, ties and too few candidates included.
func TestReselect(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 3000 {
		total := 4 + r.IntN(40)
		k := 1 + r.IntN(total)
		g := &tensor{name: "t", rows: 1, cols: total, total: total, kept: total, quota: k, base: Dense{make([]float32, total), total}}
		s := &sparse{tensor: g}
		s.adopt(sample(r, k, total, total, func(int) bool { return true }))
		for i := range s.delta {
			s.delta[i] = float32(r.IntN(7) - 3)
		}
		var candidates []int32
		var scores []float32
		var list []scored
		for i := range total {
			if r.IntN(3) == 0 {
				candidates, scores = append(candidates, int32(i)), append(scores, float32(r.IntN(4)))
				list = append(list, score(scores[len(scores)-1], int32(i)))
			}
		}
		slices.Sort(list)
		n := r.IntN(k + 1)
		want, left := bruteReselect(s.index, s.delta, n, candidates, scores)
		p := s.propose(n, list)
		grow, stay := allocate([]*proposal{p}, false)
		old, was := s.index, s.delta
		s.apply(s.settle(p, grow[0], stay[0]), func(to, from, grown int) {})
		if !slices.Equal(s.index, want) || !slices.Equal(s.left, left) {
			t.Fatalf("support %v, δ %v, %d of it dropped, candidates %v: %v without %v, want %v without %v", old, was, n, list, s.index, s.left, want, left)
		}
		for i, at := range s.index {
			if j, in := slices.BinarySearch(old, at); in && s.delta[i] != was[j] || !in && s.delta[i] != 0 {
				t.Fatalf("δ of %d became %v", at, s.delta[i])
			}
		}
	}
}

// TestAllocate compares the distribution over tensors with sorting all candidates, and holds the budget constant.
func TestAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 500 {
		var ps []*proposal
		slots, candidates := 0, 0
		var scores []float32
		for range 1 + r.IntN(4) {
			p := &proposal{drop: make([]int32, r.IntN(6))}
			for i := range r.IntN(9) {
				p.grow = append(p.grow, score(float32(r.IntN(5)), int32(i)))
			}
			slices.Sort(p.grow)
			slots += len(p.drop)
			candidates += len(p.grow)
			for _, s := range p.grow {
				scores = append(scores, s.score())
			}
			ps = append(ps, p)
		}
		grow, stay := allocate(ps, true)
		grown, kept := 0, 0
		var sum, best float32
		for i, p := range ps {
			grown += grow[i]
			kept += stay[i]
			for _, s := range p.grow[:grow[i]] {
				sum += s.score()
			}
		}
		slices.SortFunc(scores, func(a, b float32) int { return cmp.Compare(b, a) })
		for _, s := range scores[:min(slots, candidates)] {
			best += s
		}
		if grown != min(slots, candidates) || grown+kept != slots || sum != best {
			t.Fatalf("%v and %v for %d of %d slots, score %v of %v", grow, stay, grown, slots, sum, best)
		}
	}
}

// TestInvariants trains with the methods that reselect and looks at every reselection: k is constant, no index is repeated,
// at most ⌊pk⌋ change, survivors keep their state bit for bit, what is dropped is the base again, SM3's bounds stay.
func TestInvariants(t *testing.T) {
	for _, m := range []Method{SpIELAG, SpIELMA} {
		p := newProblem(11, 2, [2]int{12, 10}, [2]int{9, 14})
		o := options(m, 60, 60)
		o.WeightDecay = 0.5
		tr := start(t, p, o)
		changes := 0
		for !tr.Done() {
			for !tr.Due() {
				p.microbatch(t, tr)
			}
			step, _ := tr.Cursor()
			// A twin that never reselects shows what the optimizer alone does.
			twin, err := Restore(p.targets, o, state(t, tr))
			if err != nil {
				t.Fatal(err)
			}
			twin.options.SelectionAccumulationSteps = -1
			if _, err := twin.Step(); err != nil {
				t.Fatal(err)
			}
			patches, err := tr.Step()
			if err != nil {
				t.Fatal(err)
			}
			tr.Apply(patches, p.work)
			for i, c := range patches {
				s, before := supportOf(tr, i), supportOf(twin, i)
				k := len(before.index)
				if len(s.index) != k || checkIndices(s.index, s.total) != nil {
					t.Fatalf("%s: the support became %v", m, s.index)
				}
				changed := 0
				for j, at := range before.index {
					now, in := slices.BinarySearch(s.index, at)
					if !in {
						changed++
						if p.work[i][at] != p.base(i)[at] {
							t.Errorf("%s: dropped weight %d is not the base's", m, at)
						}
						continue
					}
					if s.delta[now] != before.delta[j] {
						t.Errorf("%s: δ of survivor %d changed", m, at)
					}
					if ag, ok := tr.tuners[i].(*spielAG); ok {
						old := twin.tuners[i].(*spielAG).adam
						if ag.adam.m[now] != old.m[j] || ag.adam.v[now] != old.v[j] || ag.adam.age[now] != old.age[j] {
							t.Errorf("%s: the moments of survivor %d changed", m, at)
						}
					}
				}
				limit := 0
				if tr.options.reselect(step + 1) {
					limit = int(tr.options.share(step+1) * float64(k))
				}
				if changed > limit {
					t.Errorf("%s: %d of %d changed at step %d, at most %d may", m, changed, k, step+1, limit)
				}
				changes += changed
				if ma, ok := tr.tuners[i].(*spielMA); ok {
					old := twin.tuners[i].(*spielMA)
					if !slices.Equal(ma.row, old.row) || !slices.Equal(ma.col, old.col) {
						t.Errorf("%s: the bounds changed", m)
					}
				}
				if len(c.Indices) != k+changed {
					t.Errorf("%s: a patch of %d weights for %d and %d dropped", m, len(c.Indices), k, changed)
				}
			}
			checkWork(t, p, tr)
		}
		if changes < 60 {
			t.Errorf("%s: only %d weights changed places", m, changes)
		}
	}
}

// TestFirstSupport holds that with k candidates and p = 1 the first support is the top k of the first gradient.
func TestFirstSupport(t *testing.T) {
	for _, c := range []Candidates{FirstStep, FirstMicrobatch} {
		p := newProblem(12, 2, [2]int{12, 10})
		o := options(SpIELAG, 20, 15)
		o.Candidates, o.Accumulation = c, 4
		tr := start(t, p, o)
		samples := 2
		if c == FirstStep {
			samples = 8
		}
		g, _ := p.gradient(0, samples)
		want := bruteTop(g[0], p.targets[0], 15)
		for range 2 {
			p.step(t, tr)
		}
		if got := supportOf(tr, 0).index; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c, got, want)
		}
	}
}

// TestCrossTensor holds that the budget moves between tensors, and stays the same in all.
func TestCrossTensor(t *testing.T) {
	for _, m := range []Method{SpIELAG, SpIELMA} {
		p := newProblem(13, 8, [2]int{12, 10}, [2]int{12, 10})
		for j, x := range p.base(0) { // nothing to learn
			p.goal[0][j] = float64(x)
		}
		o := options(m, 60, 40)
		o.CrossTensor, o.CandidateFactor = true, 2
		tr := p.train(t, o)
		checkWork(t, p, tr)
		a, b := len(supportOf(tr, 0).index), len(supportOf(tr, 1).index)
		t.Logf("%s: %d and %d", m, a, b)
		if a+b != 40 || b < 35 {
			t.Errorf("%s: %d and %d trainable weights", m, a, b)
		}
	}
}
