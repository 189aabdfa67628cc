package search

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCandidateText(t *testing.T) {
	for _, c := range []struct {
		c    Candidate
		want string
	}{
		{Candidate{}, ""},
		{Candidate{0, 9, 10, 35, 36, 61}, "09azAZ"},
		{Candidate{62}, ".62"},
		{Candidate{1, 4095, 0}, ".1.4095.0"},
	} {
		data, err := json.Marshal(c.c)
		if err != nil || string(data) != `"`+c.want+`"` {
			t.Errorf("%v: %s (%v), want %q", []int(c.c), data, err, c.want)
		}
		var back Candidate
		if err := json.Unmarshal(data, &back); err != nil || !back.Equal(c.c) {
			t.Errorf("%s: read back %v (%v)", data, []int(back), err)
		}
	}
	for _, bad := range []string{"0-1", "1 2", ".", ".1.", ".-1", ".99999999999", "é", strings.Repeat("0", maxUnits+1), strings.Repeat(".0", maxUnits+1)} {
		if err := new(Candidate).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%.20q was read", bad)
		}
	}
}

func TestCandidateSums(t *testing.T) {
	s := &Space{Kind: Sparsity, FixedBytes: 100, Units: []Unit{
		{Name: "a", Params: 16, Levels: []Level{{"dense", 32, 0}, {"magnitude-0.50", 18, 8}}},
		{Name: "b", Params: 48, Levels: []Level{{"dense", 96, 0}, {"magnitude-0.25", 78, 12}, {"magnitude-0.50", 54, 24}}},
	}}
	c := Candidate{1, 2}
	if got := s.Bytes(c); got != 172 {
		t.Errorf("%d bytes, want 172", got)
	}
	if got := s.Cost(c); got != 32 {
		t.Errorf("cost %d, want 32", got)
	}
	if got := s.BitsPerWeight(c); got != 9 {
		t.Errorf("%g bits a weight, want 9", got)
	}
	var b strings.Builder
	if err := s.WriteConfig(&b, c); err != nil || b.String() != "a: magnitude-0.50\nb: magnitude-0.50\n" {
		t.Errorf("config %q (%v)", b.String(), err)
	}
	for _, bad := range []Candidate{{1}, {1, 3}, {-1, 0}, {0, 0, 0}} {
		if s.Check(bad) == nil {
			t.Errorf("%v passes", []int(bad))
		}
	}
}

// TestPhenotype: the digest is of the model, not of the space that it was found in.
func TestPhenotype(t *testing.T) {
	levels := []Level{{"dense", 32, 0}, {"rtn-4b-g64", 9, 0}, {"rtn-3b-g64", 7, 0}}
	s := &Space{Kind: Quant, Units: []Unit{{Name: "a", Params: 16, Levels: levels}, {Name: "b", Params: 16, Levels: levels}, {Name: "c", Params: 16, Levels: levels}}}
	other := &Space{Kind: Quant, Units: []Unit{{Name: "c", Params: 16, Levels: levels}, {Name: "a", Params: 16, Levels: levels[:2]}}}
	if x, y := s.Phenotype(Candidate{1, 0, 2}), other.Phenotype(Candidate{2, 1}); x != y {
		t.Errorf("one model, digests %s and %s", x, y)
	}
	seen := map[string]Candidate{}
	for i := range 27 {
		c := Candidate{i / 9, i / 3 % 3, i % 3}
		d := s.Phenotype(c)
		if o, ok := seen[d]; ok {
			t.Errorf("%v and %v share a digest", o, c)
		}
		seen[d] = c
	}
}
