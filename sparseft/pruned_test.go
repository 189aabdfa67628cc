package sparseft

import (
	"math"
	"strings"
	"testing"
)

// prunedProblem is a problem whose tensors are pruned 2:4; of the kept weights a few are zero themselves, and some zeros are
// negative.
func prunedProblem(seed uint64) *problem {
	p := newProblem(seed, 4, [2]int{10, 12}, [2]int{8, 16})
	for i, g := range p.targets {
		m := halfMask(g.Rows, g.Cols)
		w := p.base(i)
		m.clear(w, 0)
		for j := range w {
			switch {
			case m.Has(j) && j%11 == 0:
				w[j] = 0
			case !m.Has(j) && j%5 == 0:
				w[j] = float32(math.Copysign(0, -1))
			}
		}
		p.targets[i].Mask = m
		copy(p.work[i], w)
	}
	return p
}

// TestRestricted holds that no method touches a bit outside the mask, in the working copy, in the trained weights and in
// the merged ones, so that the pattern stays 2:4; and that the support reaches kept weights that are zero.
func TestRestricted(t *testing.T) {
	type variant struct {
		o    Options
		name string
	}
	var all []variant
	for _, m := range []Method{SpIELAG, SpIELMA, StaticRandom, StaticGrad, Full, LoRA, DSEE} {
		o := options(m, 30, 80)
		o.Accumulation = 2
		if o.lowRank() {
			o.LowRank = MergedMasked
		}
		all = append(all, variant{o, string(m)})
	}
	cross := all[0].o
	cross.CrossTensor, cross.CandidateFactor, cross.Candidates = true, 2, FirstMicrobatch
	all = append(all, variant{cross, "spiel-ag across tensors"})
	for _, v := range all {
		p := prunedProblem(30)
		first, last := 0.0, 0.0
		tr := start(t, p, v.o)
		for !tr.Done() {
			p.step(t, tr)
			if step, _ := tr.Cursor(); step == 1 {
				first = tr.Loss()
			}
			last = tr.Loss()
			checkWorkMasked(t, v.name, p)
		}
		if last >= first {
			t.Errorf("%s: the loss went from %v to %v", v.name, first, last)
		}
		zero := false
		for i, d := range tr.Delta().Tensors {
			w := append([]float32{}, p.base(i)...)
			d.Merge(w)
			if !equalBits(w, p.work[i]) && !v.o.lowRank() {
				t.Errorf("%s: merged is not trained", v.name)
			}
			for j, x := range w {
				zero = zero || p.base(i)[j] == 0 && x != 0
				if !p.targets[i].Mask.Has(j) && x != 0 {
					t.Fatalf("%s: merged weight %d is %v, it was pruned", v.name, j, x)
				}
			}
			if err := CheckNM(w, d.Cols, 2, 4); err != nil {
				t.Errorf("%s: %v", v.name, err)
			}
		}
		if !zero {
			t.Errorf("%s: no kept weight that was zero was trained; the mask is not the nonzeros", v.name)
		}
	}
}

// checkWorkMasked holds what is outside the mask to be as it was.
func checkWorkMasked(t *testing.T, name string, p *problem) {
	t.Helper()
	for i, w := range p.work {
		for j, x := range w {
			if !p.targets[i].Mask.Has(j) && math.Float32bits(x)&0x7fff_ffff != 0 {
				t.Fatalf("%s: weight %d outside the mask became %v", name, j, x)
			}
		}
	}
}

// TestFree holds that a free support regrows as many weights as are given back and no more, at every step, and that it
// uses the room.
func TestFree(t *testing.T) {
	for _, m := range []Method{SpIELAG, SpIELMA, StaticRandom, StaticGrad} {
		for _, across := range []bool{false, true} {
			if across && m != SpIELAG && m != SpIELMA {
				continue
			}
			p := prunedProblem(31)
			p.targets[0].Regrow, p.targets[1].Regrow = 6, 0
			o := options(m, 50, 80)
			o.Support, o.CrossTensor, o.CandidateFactor = Free, across, 2
			tr := start(t, p, o)
			most := 0
			for !tr.Done() {
				p.step(t, tr)
				checkWork(t, p, tr)
				total := 0
				for i, g := range p.targets {
					outside := 0
					for j, x := range p.work[i] {
						if x != 0 && !g.Mask.Has(j) {
							outside++
						}
					}
					in := supportOf(tr, i)
					total += len(in.index)
					off := 0
					for _, at := range in.index {
						if !g.Mask.Has(int(at)) {
							off++
						}
					}
					if outside > off || off > g.Regrow {
						t.Fatalf("%s: %d weights outside the mask of %s, %d of the support, %d may be", m, outside, g.Name, off, g.Regrow)
					}
					if i == 0 {
						most = max(most, outside)
					}
				}
				if step, _ := tr.Cursor(); total != 79 && (step > 0 || m != StaticGrad) { // ⌊80·120/248⌋ + ⌊80·128/248⌋
					t.Fatalf("%s: %d trainable weights", m, total)
				}
			}
			if most < 3 {
				t.Errorf("%s: at most %d weights were regrown, 6 may be", m, most)
			}
		}
	}
}

func TestCheckNM(t *testing.T) {
	w := []float32{1, 0, 2, 0, 3, 4, 0, 0, 5, 0, 0, 0}
	if err := CheckNM(w, 12, 2, 4); err != nil {
		t.Error(err)
	}
	w[1] = 1
	if err := CheckNM(w, 12, 2, 4); err == nil || !strings.Contains(err.Error(), "row 0 has 3 weights in columns 0 to 3, the pattern 2:4 allows 2") {
		t.Error(err)
	}
	if err := CheckNM(w[4:10], 6, 2, 4); err != nil { // groups begin anew with each row, a rest is a group
		t.Error(err)
	}
}

// TestMaskBytes holds that masks survive being written, and that bits beyond them are refused.
func TestMaskBytes(t *testing.T) {
	for _, n := range []int{1, 7, 8, 63, 64, 65, 130} {
		m := NewMask(n)
		for i := 0; i < n; i += 3 {
			m.Keep(i)
		}
		b := m.bytes()
		got, err := maskOf(b, n)
		if err != nil || got.Count() != (n+2)/3 || len(b) != (n+7)/8 {
			t.Fatalf("%d: %v, %v", n, got, err)
		}
		for i := range n {
			if got.Has(i) != (i%3 == 0) {
				t.Errorf("%d: weight %d", n, i)
			}
		}
		if n%8 != 0 {
			b[len(b)-1] |= 0x80
			if _, err := maskOf(b, n); err == nil {
				t.Errorf("%d: a bit beyond the end", n)
			}
		}
	}
}
