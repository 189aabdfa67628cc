package evalworker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// Report derives evaluations.jsonl, configs/ and front.json from the log and the scores, front.json last.
// A partial report is of the steps that are complete and of the held-out scores that are there.
func (w *Workbench) Report(ctx context.Context, in workflows.ReportInput, report Reporter) (workflows.ReportResult, error) {
	r, err := openRun(in.Folder)
	if err != nil {
		return workflows.ReportResult{}, err
	}
	rep := &reporter{run: r, partial: in.Partial, unfinished: in.Partial || in.Healing, archive: search.NewArchive(), last: map[string]Score{}, final: map[string]*finalScore{}}
	if err := rep.readLog(in.Step); err != nil {
		return workflows.ReportResult{}, err
	}
	if err := rep.readFinal(); err != nil {
		return workflows.ReportResult{}, err
	}
	front := rep.front()
	if front.Healed, err = rep.healed(front.Points); err != nil {
		return workflows.ReportResult{}, err
	}
	if err := rep.writeConfigs(front); err != nil {
		return workflows.ReportResult{}, err
	}
	if err := durable.Write(filepath.Join(in.Folder, evaluationsFile), rep.lines.Bytes()); err != nil {
		return workflows.ReportResult{}, err
	}
	data, err := json.MarshalIndent(front, "", "  ")
	if err != nil {
		return workflows.ReportResult{}, fmt.Errorf("evalworker: %s: %w", frontFile, err)
	}
	path := filepath.Join(in.Folder, frontFile)
	if err := durable.Write(path, append(data, '\n')); err != nil {
		return workflows.ReportResult{}, err
	}
	return summary(front, path), nil
}

// reporter gathers what a report is made of.
type reporter struct {
	run        *run
	partial    bool // what is not there is left out
	unfinished bool // the run goes on, or has not ended as it should

	lines     bytes.Buffer // evaluations.jsonl
	archive   *search.Archive
	last      map[string]Score // the last score in the search of each phenotype
	steps     int
	failed    int
	progress  search.Progress
	finalStep final
	final     map[string]*finalScore // by phenotype
}

// finalScore is a candidate that is measured on held-out text.
type finalScore struct {
	candidate search.Candidate
	score     *Score // nil if there is none
	roles     []role
}

// evaluation is a line of evaluations.jsonl: one evaluation of the search, in the order of the log.
type evaluation struct {
	Step      int              `json:"step"`
	ID        int              `json:"id"`        // of the trial
	Candidate search.Candidate `json:"candidate"` // see [search.Candidate]
	Levels    string           `json:"levels"`    // SHA-256 as in front.json
	Bytes     int64            `json:"bytes"`
	Bits      float64          `json:"bits_per_weight"`
	Windows   []int            `json:"windows"` // numbers in the text
	Tokens    int64            `json:"tokens"`  // scored positions
	KL        *float64         `json:"kl"`      // nats a token; null if it failed
	NLL       *float64         `json:"nll"`
	Failed    string           `json:"failed,omitempty"`
}

// readLog reads the steps 0 to last, or of a partial report those that are complete.
func (p *reporter) readLog(last int) error {
	r := p.run
	part, err := r.windows(partSearch)
	if err != nil {
		return err
	}
	if p.partial {
		if last, err = lastStep(r.folder); err != nil {
			return err
		}
	}
	for n := 0; n <= last; n++ {
		st, err := r.readStage(n, part)
		var incomplete *incompleteError
		if p.partial && errors.As(err, &incomplete) {
			break
		}
		if err != nil {
			return err
		}
		evaluations := r.evaluations(st)
		p.archive.Add(evaluations)
		for i, e := range evaluations {
			p.add(st, i, e)
		}
		p.steps++
	}
	if p.steps > 0 {
		_, optimizer, err := r.tell(p.steps-1, part)
		if err != nil {
			return err
		}
		p.progress = optimizer.Progress()
	}
	return nil
}

// add takes one evaluation of the search.
func (p *reporter) add(st stage, i int, e search.Evaluation) {
	t, s := st.Trials[i], st.scores[i]
	line := evaluation{Step: st.Step, ID: t.ID, Candidate: t.Candidate, Levels: e.Digest, Bytes: e.Bytes,
		Bits: p.run.space.BitsPerWeight(t.Candidate), Windows: s.Windows, Tokens: e.Tokens, Failed: s.Failed}
	if e.Failed {
		p.failed++
	} else {
		line.KL, line.NLL = &e.KL, &e.NLL
		p.last[e.Digest] = s
	}
	p.lines.Write(encodeJSON(line))
}

// readFinal reads the held-out scores. A partial report does without those that are not there.
func (p *reporter) readFinal() error {
	r := p.run
	err := readJSON(filepath.Join(r.folder, finalFile), &p.finalStep)
	if p.partial && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	part, err := r.windows(partHeldOut)
	if err != nil {
		return err
	}
	byTrial := make([]*finalScore, len(p.finalStep.Trials))
	for i, t := range p.finalStep.Trials {
		digest, err := r.trialDigest(t, part)
		if err != nil {
			return err
		}
		s, ok, err := r.readScore(digest)
		if err != nil {
			return err
		}
		if !ok && !p.partial {
			return fmt.Errorf("evalworker: candidate %d of %s has no score", i, finalFile)
		}
		f := &finalScore{candidate: t.Candidate}
		if ok && s.Failed == "" {
			f.score = &s
		}
		byTrial[i] = f
		p.final[r.phenotype(t.Candidate)] = f
	}
	for _, role := range p.finalStep.Roles {
		if role.Trial < 0 || role.Trial >= len(byTrial) {
			return mark(ErrDamaged, fmt.Errorf("evalworker: %s has a role for candidate %d of %d", finalFile, role.Trial, len(byTrial)))
		}
		byTrial[role.Trial].roles = append(byTrial[role.Trial].roles, role)
	}
	return nil
}

// phenotype is the digest of a candidate's levels; that of the dense model is "dense".
func (r *run) phenotype(c search.Candidate) string {
	if len(c) == 0 {
		return LevelDense
	}
	return r.space.Phenotype(c)
}

// front puts the report together.
func (p *reporter) front() Front {
	r := p.run
	f := Front{
		Version: frontVersion, Model: r.prepared.Model, Text: r.prepared.Text, HeldOutText: cmp.Or(r.prepared.HeldOutText, r.prepared.Text),
		Space: r.job.Space, Target: r.job.Target, Method: r.job.Method, Seed: r.job.Seed, Numerics: r.prepared.Numerics,
		SeqLen: r.prepared.SeqLen, Windows: TextSplit{r.prepared.Calibration, r.prepared.Search, r.prepared.HeldOut},
		Units: len(r.space.Units), UnitWeights: r.space.Params(), FixedBytes: r.space.FixedBytes, DenseBytes: r.prepared.DenseBytes,
		Steps: p.steps, Candidates: p.archive.Len(), Failed: p.failed, Tokens: p.progress.Tokens,
		Points: p.points(), Baselines: p.baselines(), Partial: p.unfinished,
	}
	if d := p.final[LevelDense]; d != nil {
		f.Dense = measured(d.score)
	}
	// Both objectives are scaled to [0,1] of a corner that no sensible model is beyond: the dense size,
	// and the KL of a model that knows nothing of a sure thing.
	corner := []float64{1, math.Log(float64(r.prepared.Vocab))}
	var volume [][]float64
	for _, e := range p.archive.Front() {
		volume = append(volume, []float64{float64(e.Bytes) / float64(r.prepared.DenseBytes), e.KL})
	}
	f.Hypervolume = search.Hypervolume(volume, corner)
	return f
}

// points are the front and the search's answers.
func (p *reporter) points() []Point {
	candidates := slices.Clone(p.progress.Incumbents)
	answers := map[string]bool{}
	for _, c := range candidates {
		answers[p.run.phenotype(c)] = true
	}
	for _, e := range p.archive.Front() {
		candidates = append(candidates, e.Candidate)
	}
	points := []Point{}
	seen := map[string]bool{}
	for _, c := range candidates {
		key := p.run.phenotype(c)
		if seen[key] {
			continue
		}
		seen[key] = true
		n := Point{Compressed: p.compressed(c), Answer: answers[key]}
		if s, ok := p.last[key]; ok {
			n.Search = measured(&s)
		}
		n.Uniform = p.gain(n.ID, p.final[key])
		points = append(points, n)
	}
	slices.SortFunc(points, func(a, b Point) int { return compareCompressed(a.Compressed, b.Compressed) })
	return points
}

// gain compares a point with its uniform baseline.
func (p *reporter) gain(id string, of *finalScore) *Gain {
	if of == nil || of.score == nil {
		return nil
	}
	for _, t := range p.finalStep.Trials { // in order, so that the first wins wherever there are several
		f := p.final[p.run.phenotype(t.Candidate)]
		if f.score == nil || !slices.ContainsFunc(f.roles, func(r role) bool { return r.Role == roleUniform && r.Of == id }) {
			continue
		}
		c := p.compressed(t.Candidate)
		return &Gain{
			ID: c.ID, Bytes: c.Bytes,
			KL:  difference(f.score.KL, of.score.KL, of.score.Tokens),
			NLL: difference(f.score.NLL, of.score.NLL, of.score.Tokens),
		}
	}
	return nil
}

// baselines are the candidates of the final ask that are not dense and have a role beside being points.
func (p *reporter) baselines() []Baseline {
	list := []Baseline{}
	for _, t := range p.finalStep.Trials {
		if len(t.Candidate) == 0 {
			continue
		}
		b := Baseline{Compressed: p.compressed(t.Candidate)}
		for _, r := range p.final[p.run.phenotype(t.Candidate)].roles {
			if r.Role != rolePoint && !slices.Contains(b.Kinds, r.Role) {
				b.Kinds = append(b.Kinds, r.Role)
			}
		}
		if len(b.Kinds) > 0 {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b Baseline) int { return compareCompressed(a.Compressed, b.Compressed) })
	return list
}

func compareCompressed(a, b Compressed) int {
	return cmp.Or(cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.ID, b.ID))
}

// compressed describes a candidate.
func (p *reporter) compressed(c search.Candidate) Compressed {
	s := p.run.space
	levels := s.Phenotype(c)
	out := Compressed{ID: pointID(levels), Levels: levels, Config: configFile(pointID(levels)), Bytes: s.Bytes(c), Bits: s.BitsPerWeight(c)}
	if f := p.final[levels]; f != nil {
		out.HeldOut = measured(f.score)
	}
	return out
}

// configFile is the name of a config file below the run folder.
func configFile(id string) string { return configsDir + "/" + id + ".txt" }

// measured sums up a score, nil for none.
func measured(s *Score) *Measured {
	if s == nil {
		return nil
	}
	return &Measured{Windows: len(s.Windows), Tokens: s.total(), KL: s.kl(), NLL: s.nll()}
}

// writeConfigs writes the config file of every model that the front names.
func (p *reporter) writeConfigs(f Front) error {
	want := map[string]bool{}
	for _, x := range f.Points {
		want[x.Levels] = true
	}
	for _, x := range f.Baselines {
		want[x.Levels] = true
	}
	write := func(c search.Candidate) error {
		levels := p.run.phenotype(c)
		if !want[levels] {
			return nil
		}
		delete(want, levels)
		var b bytes.Buffer
		if err := p.run.space.WriteConfig(&b, c); err != nil {
			return err
		}
		return durable.Write(filepath.Join(p.run.folder, filepath.FromSlash(configFile(pointID(levels)))), b.Bytes())
	}
	for _, e := range p.archive.Front() {
		if err := write(e.Candidate); err != nil {
			return err
		}
	}
	for _, c := range p.progress.Incumbents {
		if err := write(c); err != nil {
			return err
		}
	}
	for _, t := range p.finalStep.Trials {
		if err := write(t.Candidate); err != nil {
			return err
		}
	}
	return nil
}

// summary is the report as payloads hold it: the points that were measured on held-out text come before
// others where there are too many.
func summary(f Front, path string) workflows.ReportResult {
	out := workflows.ReportResult{Front: []workflows.FrontRow{}, Points: len(f.Points), FrontPath: path, Partial: f.Partial}
	if f.Dense != nil {
		out.Dense = heldOut(f.DenseBytes, f.Dense)
	}
	points := slices.Clone(f.Points)
	slices.SortStableFunc(points, func(a, b Point) int { return cmp.Compare(worth(b), worth(a)) })
	points = points[:min(len(points), workflows.FrontRows)]
	slices.SortFunc(points, func(a, b Point) int { return compareCompressed(a.Compressed, b.Compressed) })
	for _, p := range points {
		row := workflows.FrontRow{ID: p.ID, Bytes: p.Bytes, Bits: p.Bits}
		if p.Search != nil {
			row.KL, row.NLL = p.Search.KL.Value, p.Search.NLL.Value
		}
		if p.HeldOut != nil {
			row.HeldOut = heldOut(p.Bytes, p.HeldOut)
		}
		if g := p.Uniform; g != nil {
			row.Gain, row.GainErr = g.NLL.Value, g.NLL.Error
			at := slices.IndexFunc(f.Baselines, func(b Baseline) bool { return b.ID == g.ID })
			if at >= 0 && f.Baselines[at].HeldOut != nil {
				row.Uniform = heldOut(g.Bytes, f.Baselines[at].HeldOut)
			}
		}
		if at := slices.IndexFunc(f.Healed, func(h Healed) bool { return h.Parent == p.ID }); at >= 0 {
			row.Healed = heldOut(f.Healed[at].Bytes, f.Healed[at].HeldOut)
		}
		out.Front = append(out.Front, row)
	}
	return out
}

// worth ranks points for a summary.
func worth(p Point) int {
	switch {
	case p.Answer:
		return 2
	case p.HeldOut != nil:
		return 1
	}
	return 0
}

// heldOut is a measurement as payloads hold it.
func heldOut(size int64, m *Measured) *workflows.HeldOut {
	return &workflows.HeldOut{Bytes: size, NLL: m.NLL.Value, NLLErr: m.NLL.Error, KL: m.KL.Value, KLErr: m.KL.Error}
}
