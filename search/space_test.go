package search

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestSpaceValidate(t *testing.T) {
	good := func() *Space { return newSynthetic(Quant, 2, 1, 0).space }
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*Space)
		want   string
	}{
		{"kind", func(s *Space) { s.Kind = "widths" }, "unknown kind"},
		{"empty", func(s *Space) { s.Units = nil }, "no units"},
		{"fixed", func(s *Space) { s.FixedBytes = -1 }, "fixed bytes"},
		{"name", func(s *Space) { s.Units[1].Name = "" }, "unit 1: a name is empty"},
		{"name with newline", func(s *Space) { s.Units[1].Name = "a\nb" }, "control character"},
		{"name with bad UTF-8", func(s *Space) { s.Units[1].Name = "a\xff" }, "invalid UTF-8"},
		{"name with colon", func(s *Space) { s.Units[1].Name = "a:" }, "colon"},
		{"long name", func(s *Space) { s.Units[1].Name = strings.Repeat("a", 1000) }, "1000 bytes"},
		{"twice", func(s *Space) { s.Units[1].Name = s.Units[0].Name }, "listed twice"},
		{"inside", func(s *Space) { s.Units[1].Name = "model.layers.0" }, "lies inside unit model.layers.0:"},
		{"params", func(s *Space) { s.Units[1].Params = 0 }, "0 parameters"},
		{"huge params", func(s *Space) { s.Units[1].Params = 1 << 62 }, "parameters, want"},
		{"no levels", func(s *Space) { s.Units[1].Levels = nil }, "0 levels"},
		{"level name", func(s *Space) { s.Units[1].Levels[1].Name = "x y" }, "level 1: name"},
		{"level twice", func(s *Space) { s.Units[1].Levels[1].Name = s.Units[1].Levels[0].Name }, "listed twice"},
		{"unsorted", func(s *Space) { s.Units[1].Levels[1].Bytes += 1000 }, "not sorted"},
		{"equal", func(s *Space) { s.Units[1].Levels[1].Bytes = s.Units[1].Levels[0].Bytes }, "both have"},
		{"negative", func(s *Space) { s.Units[1].Levels[4].Bytes = -1 }, "-1 bytes"},
		{"huge", func(s *Space) { s.Units[1].Levels[0].Bytes = 1 << 60 }, "bytes, want"},
		{"cost", func(s *Space) { s.Units[1].Levels[0].Cost = 3 }, "rising cost"},
		{"negative cost", func(s *Space) { s.Units[0].Levels[0].Cost = -3 }, "cost -3"},
		{"group", func(s *Space) { s.Units[1].Group = strings.Repeat("a", 1000) }, "group"},
	} {
		s := good()
		c.change(s)
		if err := s.Validate(); err == nil || !strings.HasPrefix(err.Error(), "search: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestSpaceJSON(t *testing.T) {
	for _, kind := range []string{Quant, Sparsity, Drop} {
		s := newSynthetic(kind, 3, 1, 0).space
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseSpace(data)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, s) || back.Digest() != s.Digest() {
			t.Errorf("%s: read back %v, want %v", kind, back, s)
		}
		back.Units[0].Levels[0].Bytes++
		if back.Digest() == s.Digest() {
			t.Errorf("%s: the digest does not see a byte", kind)
		}
	}
	if _, err := ParseSpace([]byte("{")); err == nil {
		t.Error("half a space was read")
	}
}

// FuzzSpace reads hostile spaces: those that pass must serve every function without panic.
func FuzzSpace(f *testing.F) {
	for _, kind := range []string{Quant, Sparsity, Drop} {
		data, err := json.Marshal(newSynthetic(kind, 1, 1, 0).space)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "0123", "bpw=3")
		f.Add(data, ".1.2.3.4.0.1", "drop=0.5")
		f.Add(data, "", "")
	}
	f.Fuzz(func(t *testing.T, data []byte, candidate, target string) {
		s, err := ParseSpace(data)
		if err != nil || len(s.Units) > 64 {
			return
		}
		var c Candidate
		if err := c.UnmarshalText([]byte(candidate)); err == nil && s.Check(c) == nil {
			if u := s.Uniform(c); s.Bytes(u) > s.Bytes(c) {
				t.Fatalf("uniform candidate of %d bytes for one of %d", s.Bytes(u), s.Bytes(c))
			}
		}
		to, err := ParseTarget(target)
		if err != nil {
			return
		}
		for _, method := range Methods() {
			o, err := New(method, Job{Space: s, Target: to, Budget: 100, SeqLen: 1, Windows: 2})
			if err != nil {
				continue
			}
			for range 5 {
				trials := o.Ask(100)
				results := make([]Result, len(trials))
				for i, tr := range trials {
					if err := s.Check(tr.Candidate); err != nil {
						t.Fatal(err)
					}
					results[i] = Result{ID: tr.ID, KL: float64(i % 3)}
				}
				if err := o.Tell(results); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// FuzzState restores hostile states: those that pass must go on without panic.
func FuzzState(f *testing.F) {
	m := newSynthetic(Quant, 1, 1, 0)
	for _, method := range Methods() {
		for _, target := range []string{"bpw=3", ""} {
			o := mustNew(f, method, Job{Space: m.space, Target: mustTarget(f, target), Budget: 100, SeqLen: 1, Windows: 2})
			for range 3 {
				trials := o.Ask(100)
				state, err := o.State()
				if err != nil {
					f.Fatal(err)
				}
				f.Add(state)
				if err := o.Tell(m.scores(trials)); err != nil {
					f.Fatal(err)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		o, err := Restore(m.space, state)
		if err != nil {
			return
		}
		for range 4 {
			trials := o.Ask(200)
			if len(trials) > 1000 {
				return
			}
			if err := o.Tell(m.scores(trials)); err != nil {
				t.Fatal(err)
			}
			o.Progress()
			if _, err := o.State(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
