package search

import "testing"

// TestStartsOfLooseSpaces: where the uniform candidate is the largest but for one unit as large as many others, there are other ways to
// the target all the same: that unit whole and a group of others lower.
func TestStartsOfLooseSpaces(t *testing.T) {
	m := newSynthetic(Quant, 8, 1, 0).blockFormats().embedded()
	whole := make(Candidate, len(m.space.Units))
	top := m.space.Bytes(whole)
	step := m.space.Units[0].Levels[0].Bytes - m.space.Units[0].Levels[1].Bytes
	target := Target{Kind: TargetSize, Value: float64(top - step/2)}
	o := mustNew(t, methodEvoPress, Job{Space: m.space, Target: target, Seed: 1, Budget: 120, SeqLen: 1, Windows: 4})
	kept := 0
	trials := o.Ask(120)
	for _, tr := range trials {
		if tr.Candidate[0] == 0 {
			kept++
		}
		if b := m.space.Bytes(tr.Candidate); b > top-step/2 {
			t.Errorf("%v has %d bytes, more than %d", tr.Candidate, b, top-step/2)
		}
	}
	if len(trials) < 10 || kept < 3 {
		t.Errorf("%d starts, %d of which keep the large unit", len(trials), kept)
	}
}
