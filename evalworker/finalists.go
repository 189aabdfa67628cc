package evalworker

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"

	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// How many candidates are measured on held-out text. With a target the front is a few candidates of
// nearly one size, and fewer say it.
const (
	frontFinalists  = 12
	targetFinalists = 3
	randomBaselines = 2
)

// Roles of the candidates of the final ask.
const (
	rolePoint   = "point"   // on the front
	roleDense   = "dense"   // the uncompressed model
	roleUniform = "uniform" // the uniform candidate of the size of a point
	roleLevel   = "level"   // one level for every unit
	roleRandom  = "random"  // a random candidate of the target's size
)

// final is the content of final.json: the candidates to be measured on held-out text.
type final struct {
	Step int `json:"step"` // the front is that of the steps up to this one
	ask
	Roles []role `json:"roles"`
}

// role says why a candidate is measured. A candidate may have several.
type role struct {
	Trial int    `json:"trial"`
	Role  string `json:"role"`
	Of    string `json:"of,omitempty"` // id of the point that a uniform candidate belongs to
}

// Finalists writes the final ask: points spread over the front, what the search would answer, the dense
// model, and for comparison the uniform candidate of each point's size, candidates with one level for
// all, and random ones. All are scored on all held-out windows.
func (w *Workbench) Finalists(ctx context.Context, in workflows.FinalistsInput, report Reporter) (workflows.FinalistsResult, error) {
	r, err := openRun(in.Folder)
	if err != nil {
		return workflows.FinalistsResult{}, err
	}
	part, err := r.windows(partSearch)
	if err != nil {
		return workflows.FinalistsResult{}, err
	}
	f := &finalBuilder{run: r, known: map[string]int{}}
	f.final.Step, f.final.Part = in.Step, partHeldOut
	for i := range r.prepared.HeldOut {
		f.windows = append(f.windows, i)
	}
	f.add(nil, roleDense, "")
	var speed float64
	if in.Step >= 0 {
		archive, err := w.history(r, in.Step, part)
		if err != nil {
			return workflows.FinalistsResult{}, err
		}
		last, optimizer, err := r.tell(in.Step, part)
		if err != nil {
			return workflows.FinalistsResult{}, err
		}
		speed = secondsPerToken(last.scores)
		f.points(archive, optimizer.Progress().Incumbents)
	}
	if err := f.baselines(); err != nil {
		return workflows.FinalistsResult{}, err
	}
	if err := durable.Write(filepath.Join(in.Folder, finalFile), encodeJSON(f.final)); err != nil {
		return workflows.FinalistsResult{}, err
	}
	return workflows.FinalistsResult{Ask: finalFile, Candidates: len(f.final.Trials), Batches: r.batches(f.final.Trials, speed)}, nil
}

// finalBuilder collects the candidates of the final ask, each model once.
type finalBuilder struct {
	run     *run
	final   final
	windows []int
	known   map[string]int // trial of a phenotype
	finals  []search.Candidate
}

// add adds a candidate in a role.
func (f *finalBuilder) add(c search.Candidate, as, of string) {
	key := "dense"
	if len(c) > 0 {
		key = f.run.space.Phenotype(c)
	}
	at, ok := f.known[key]
	if !ok {
		at = len(f.final.Trials)
		f.known[key] = at
		f.final.Trials = append(f.final.Trials, search.Trial{ID: at, Candidate: c, Windows: f.windows})
	}
	if n := (role{at, as, of}); !slices.Contains(f.final.Roles, n) {
		f.final.Roles = append(f.final.Roles, n)
	}
}

// points adds the front's points and the search's answers, each with its uniform candidate.
func (f *finalBuilder) points(archive *search.Archive, incumbents []search.Candidate) {
	n := frontFinalists
	if f.run.job.Target != "" {
		n = targetFinalists
	}
	f.finals = slices.Clone(incumbents)
	for _, e := range archive.Finalists(n) {
		f.finals = append(f.finals, e.Candidate)
	}
	space := f.run.space
	slices.SortStableFunc(f.finals, func(a, b search.Candidate) int {
		return cmp.Or(cmp.Compare(space.Bytes(a), space.Bytes(b)), cmp.Compare(a.String(), b.String()))
	})
	f.finals = slices.CompactFunc(f.finals, search.Candidate.Equal)
	for _, c := range f.finals {
		f.add(c, rolePoint, "")
	}
	for _, c := range f.finals {
		f.add(space.Uniform(c), roleUniform, pointID(space.Phenotype(c)))
	}
}

// baselines adds the candidates that have one level for all, and random ones.
func (f *finalBuilder) baselines() error {
	space, job := f.run.space, f.run.searchJob()
	if len(f.finals) == 0 {
		return nil
	}
	for _, c := range f.levels() {
		f.add(c, roleLevel, "")
	}
	targets := []search.Target{job.Target, job.Target}
	if f.run.job.Target == "" {
		targets = nil
		for i := range min(randomBaselines, len(f.finals)) { // of sizes spread over the front
			c := f.finals[(2*i+1)*len(f.finals)/(2*randomBaselines)]
			targets = append(targets, search.Target{Kind: search.TargetSize, Value: float64(space.Bytes(c))})
		}
	}
	for i, t := range targets[:min(randomBaselines, len(targets))] {
		list, err := space.RandomCandidates(t, i+1, job.Seed)
		if err != nil {
			return mark(ErrJob, err)
		}
		f.add(list[i], roleRandom, "")
	}
	return nil
}

// levels are the candidates with one level for all. With a target only the two whose sizes are next to
// that of the points matter. In a drop space there are none: all or nothing is no comparison.
func (f *finalBuilder) levels() []search.Candidate {
	space := f.run.space
	if space.Kind == search.Drop {
		return nil
	}
	all := space.UniformLevels() // from the largest to the smallest
	if f.run.job.Target == "" {
		return all
	}
	size := space.Bytes(f.finals[len(f.finals)-1])
	at := slices.IndexFunc(all, func(c search.Candidate) bool { return space.Bytes(c) <= size })
	if at < 0 {
		at = len(all)
	}
	return all[max(0, at-1):min(len(all), at+1)]
}

// pointID is the short name of a model in a report: the first digits of its phenotype's digest.
func pointID(phenotype string) string { return phenotype[:12] }
