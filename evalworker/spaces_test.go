package evalworker

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/prune"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// smol is the shape of SmolLM2-135M.
var smol = engine.Config{Arch: "llama", Layers: 30, Hidden: 576, Heads: 9, KVHeads: 3, HeadDim: 64, FFN: 1536, Vocab: 49152, TieEmbeddings: true}

func space(t *testing.T, c engine.Config, job workflows.Job) *search.Space {
	t.Helper()
	job.Model, job.Text = "m", "t"
	job.SetDefaults()
	s, err := buildSpace(c, job, fileSizes{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSparsitySpace has steps of an eighth of each module around the target.
func TestSparsitySpace(t *testing.T) {
	s := space(t, smol, workflows.Job{Space: "sparsity", Target: "sparsity=0.55"})
	if len(s.Units) != 210 {
		t.Fatalf("%d units", len(s.Units))
	}
	for _, u := range s.Units {
		middle := int64(math.Round(0.55 * float64(u.Params)))
		if len(u.Levels) != 8 {
			t.Fatalf("%s has %d levels, want 8 from 0.05 to 0.925", u.Name, len(u.Levels))
		}
		for i, l := range u.Levels {
			if want := middle + int64(i-4)*(u.Params/8); l.Cost != want {
				t.Errorf("%s at %s removes %d weights, want %d", u.Name, l.Name, l.Cost, want)
			}
		}
	}
}

// TestEvoPressSparsitySpace has EvoPress's levels: steps of the same number of weights in every module.
func TestEvoPressSparsitySpace(t *testing.T) {
	delta := int64(math.Floor(0.5 * 0.5 / 8 * 576 * 576)) // its default
	s := space(t, smol, workflows.Job{Space: "sparsity", Target: "sparsity=0.5", SparsityStep: float64(delta)})
	if len(s.Units) != 210 {
		t.Fatalf("%d units", len(s.Units))
	}
	for _, u := range s.Units {
		// Levels are a whole number of steps of Δ weights from the middle, as far as they go.
		want := min(8, int(u.Params/2/delta))
		if len(u.Levels) != 2*want+1 {
			t.Errorf("%s has %d levels, want %d on either side of the middle", u.Name, len(u.Levels), want)
		}
		for i, l := range u.Levels {
			if cost := u.Params/2 + int64(i-want)*delta; l.Cost != cost {
				t.Errorf("%s at %s removes %d weights, want %d", u.Name, l.Name, l.Cost, cost)
			}
			spec, err := prune.Parse(l.Name)
			if err != nil {
				t.Fatal(err)
			}
			if z := int64(spec.Zeros(int(u.Params))); z != l.Cost {
				t.Errorf("level %s of %s sets %d weights to zero, the space says %d", l.Name, u.Name, z, l.Cost)
			}
			if want := (u.Params+7)/8 + 2*(u.Params-l.Cost); l.Bytes != want {
				t.Errorf("level %s of %s: %d bytes, want a mask and 16 bits for each weight left: %d", l.Name, u.Name, l.Bytes, want)
			}
		}
	}
}

// TestPublishedSchedule takes EvoPress's own schedule, whatever the budget.
func TestPublishedSchedule(t *testing.T) {
	for _, job := range []workflows.Job{
		{Space: "drop", Target: "drop=0.25"}, {Space: "quant", Target: "bpw=3"}, {Space: "sparsity", Target: "sparsity=0.5", SparsityStep: 10368},
	} {
		job.Model, job.Text, job.Schedule = "m", "t", workflows.SchedulePublished
		job.SetDefaults()
		if err := job.Validate(); err != nil {
			t.Fatal(err)
		}
		s, err := buildSpace(smol, job, fileSizes{})
		if err != nil {
			t.Fatal(err)
		}
		r := &run{job: job, space: s, prepared: prepared{SeqLen: 512, Search: make([]int, 1000)}}
		sj := r.searchJob()
		want, err := search.Published(job.Space, 512, 30, 8) // a quarter of 30 is 7.5
		if err != nil {
			t.Fatal(err)
		}
		if sj.Schedule == nil || sj.Schedule.Offspring != want.Offspring || sj.Schedule.Generations != want.Generations {
			t.Errorf("%s: schedule %+v, want %+v", job.Space, sj.Schedule, want)
		}
		o, err := search.New("evopress", sj)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(o.Ask(1 << 40)); n == 0 {
			t.Errorf("%s: nothing is asked", job.Space)
		}
	}
}

func TestSpaceBytes(t *testing.T) {
	weights := smol.Parameters()
	for _, job := range []workflows.Job{{Space: "quant"}, {Space: "drop"}, {Space: "sparsity"}} {
		s := space(t, smol, job)
		if got := s.FixedBytes + 2*s.Params(); got != 2*weights {
			t.Errorf("%s: dense units and the rest take %d bytes, want 2 a weight: %d", job.Space, got, 2*weights)
		}
	}
	s := space(t, smol, workflows.Job{Space: "quant", Bits: []int{3, 5}, QuantMethod: "rtn"})
	u := s.Units[0]
	if u.Levels[0].Name != "rtn-5b-g64" || u.Levels[1].Name != "rtn-3b-g64" {
		t.Errorf("levels %v", u.Levels)
	}
	if want := u.Params*3/8 + u.Params/64*2 + u.Params/64*3/8; u.Levels[1].Bytes != want {
		t.Errorf("3 bits with 16+3 bits a group of 64 take %d bytes, want %d", u.Levels[1].Bytes, want)
	}
	drop := space(t, smol, workflows.Job{Space: "drop", Target: "drop=0.25"})
	if len(drop.Units) != 60 || drop.Units[0].Params != 2*576*576+2*192*576 || drop.Units[1].Params != 3*576*1536 {
		t.Errorf("sub-blocks %v", drop.Units[:2])
	}
}

func TestGroups(t *testing.T) {
	s := space(t, smol, workflows.Job{Space: "quant"})
	for _, u := range s.Units {
		want := "331776"
		switch {
		case strings.HasSuffix(u.Name, "k_proj"), strings.HasSuffix(u.Name, "v_proj"):
			want = "110592"
		case strings.Contains(u.Name, ".mlp."):
			want = "884736"
		}
		if u.Group != want {
			t.Errorf("%s is in group %s, want %s", u.Name, u.Group, want)
		}
	}
	// Groups of 50 leave short ones at the ends of rows, so that matrices of one size differ.
	odd := space(t, shape, workflows.Job{Space: "quant", Group: 50})
	groups := map[string]string{}
	for _, u := range odd.Units {
		groups[u.Group] = u.Name
		for _, v := range odd.Units {
			if u.Group == v.Group && u.Levels[0].Bytes != v.Levels[0].Bytes {
				t.Errorf("%s and %s share a group and differ in bytes", u.Name, v.Name)
			}
		}
	}
	if len(groups) != 4 {
		t.Errorf("groups %v, want up and down apart", groups)
	}
}

func TestUnreachable(t *testing.T) {
	for _, job := range []workflows.Job{
		{Space: "quant", Target: "bpw=1"}, {Space: "quant", Target: "bpw=9"}, {Space: "quant", Target: "size=1MB"},
		{Space: "sparsity", Target: "size=1MB"}, {Space: "sparsity", Target: "size=10GB"}, {Space: "drop", Target: "size=1MB"},
	} {
		job.Model, job.Text = "m", "t"
		job.SetDefaults()
		_, err := buildSpace(smol, job, fileSizes{})
		if !errors.Is(err, search.ErrUnreachable) || !errors.Is(err, ErrJob) || !strings.Contains(err.Error(), "--target") {
			t.Errorf("%s %s: %v", job.Space, job.Target, err)
		}
	}
	for _, target := range []string{"sparsity=0", "sparsity=1"} {
		job := workflows.Job{Model: "m", Text: "t", Space: "sparsity", Target: target}
		job.SetDefaults()
		if _, err := buildSpace(smol, job, fileSizes{}); err == nil || !containsAll(err.Error(), target, "nothing to choose") {
			t.Errorf("%s: %v", target, err)
		}
	}
	for _, target := range []string{"size=200MB", "bpw=8", "sparsity=0.01", "sparsity=0.9"} {
		s := space(t, smol, workflows.Job{Space: "sparsity", Target: target})
		parsed, err := search.ParseTarget(target)
		if err != nil || s.Reach(parsed) != nil {
			t.Errorf("%s: %v, %v", target, err, s.Reach(parsed))
		}
	}
}

// TestPatternSpace has modules dense or with a pattern, and reaches targets by how many have it.
func TestPatternSpace(t *testing.T) {
	s := space(t, smol, workflows.Job{Space: workflows.SpaceSparsity, SparsityPattern: "2:4", Target: "sparsity=0.25"})
	if len(s.Units) != 210 {
		t.Fatalf("%d units", len(s.Units))
	}
	for _, u := range s.Units {
		if len(u.Levels) != 2 || u.Levels[0].Name != LevelDense || u.Levels[1].Name != "sparsegpt-2:4" || u.Levels[1].Cost != u.Params/2 || u.Levels[1].Bytes != u.Params/8+u.Params {
			t.Fatalf("%+v", u)
		}
	}
	for pattern, want := range map[string]string{"2:5": "pattern 2:5", "0.5": "no pattern", "x": "sparsegpt-x", "1:2:4": "no pattern such as"} {
		job := workflows.Job{Model: "m", Text: "t", Space: workflows.SpaceSparsity, SparsityPattern: pattern}
		job.SetDefaults()
		if _, err := buildSpace(smol, job, fileSizes{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", pattern, err, want)
		}
	}
	for target, reached := range map[string]bool{"sparsity=0.5": true, "sparsity=0.51": false} { // every module with it is the most there is
		job := workflows.Job{Model: "m", Text: "t", Space: workflows.SpaceSparsity, SparsityPattern: "2:4", Target: target}
		job.SetDefaults()
		if _, err := buildSpace(smol, job, fileSizes{}); reached != (err == nil) || !reached && !errors.Is(err, search.ErrUnreachable) {
			t.Errorf("%s: error %v", target, err)
		}
	}
	job := workflows.Job{Model: "m", Text: "t", Space: workflows.SpaceSparsity, SparsityPattern: "2:4", SparsityStep: 0.1}
	job.SetDefaults()
	if err := job.Validate(); err == nil || !strings.Contains(err.Error(), "--sparsity-step") {
		t.Errorf("error %v", err)
	}
}
