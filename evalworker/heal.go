package evalworker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/workflows"
)

// Names in a run folder that heals points: a training folder for each below healDir, which has healedFile once its outcome is measured.
const (
	healDir    = "heal"
	healedFile = "healed.json"
)

// healedSuffix follows the id of a point in that of its healed form.
const healedSuffix = "-healed"

// healed is the content of healedFile.
type healed struct {
	Delta  string `json:"delta"`  // SHA-256 of the file
	Score  string `json:"score"`  // digest of its score on the held-out windows
	Beside int64  `json:"beside"` // bytes that cannot be merged into the point's levels
	Method string `json:"method"`
	Steps  int    `json:"steps"`
	Tokens int64  `json:"tokens"` // learnt from
}

// healFolder is the training folder of a point.
func healFolder(folder, point string) string { return filepath.Join(folder, healDir, point) }

// Heal chooses the points of the reported front that the job wants healed and makes their training folders. Those that are healed already are only
// counted.
func (w *Workbench) Heal(_ context.Context, in workflows.HealInput, _ Reporter) (workflows.HealResult, error) {
	var out workflows.HealResult
	r, err := openRun(in.Folder)
	if err != nil {
		return out, err
	}
	front, err := ReadFront(in.Folder)
	if err != nil {
		return out, err
	}
	for _, p := range front.Points {
		if p.HeldOut == nil || r.job.Heal == workflows.HealBest && !p.Answer {
			continue
		}
		job := r.healing(p.Compressed)
		out.Method, out.Objective, out.Steps = job.Method, job.Objective, job.Steps
		if h, err := r.readHealed(p.ID); err == nil && h.Steps >= job.Steps {
			out.Healed++
			continue
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
		folder := healFolder(in.Folder, p.ID)
		if err := WriteFinetuneJob(folder, job); err != nil {
			return out, err
		}
		out.Points = append(out.Points, workflows.HealPoint{ID: p.ID, Folder: folder})
	}
	return out, nil
}

// healing is the training that heals a point.
func (r *run) healing(p Compressed) workflows.FinetuneJob {
	dir := ""
	if r.prepared.Bank != nil {
		dir = r.bankDir()
	}
	job := r.job.Healing(filepath.Join(r.folder, filepath.FromSlash(p.Config)), dir)
	job.ModelDigest, job.TextDigest = r.prepared.Model, r.prepared.Text
	return job
}

// readHealed reads what came of the healing of a point.
func (r *run) readHealed(point string) (h healed, err error) {
	return h, readJSON(filepath.Join(healFolder(r.folder, point), healedFile), &h)
}

// ScoreHealed measures a point with what its training has changed, on the held-out windows on which the point itself was measured.
func (w *Workbench) ScoreHealed(ctx context.Context, in workflows.ScoreHealedInput, report Reporter) (workflows.ScoreHealedResult, error) {
	var out workflows.ScoreHealedResult
	r, err := openRun(in.Folder)
	if err != nil {
		return out, err
	}
	front, err := ReadFront(in.Folder)
	if err != nil {
		return out, err
	}
	point, err := front.Find(in.ID)
	if err != nil {
		return out, mark(ErrJob, err)
	}
	trained, err := ReadFinetuneResult(healFolder(in.Folder, point.ID))
	if err != nil {
		return out, err
	}
	b, err := w.bank(r)
	if err != nil {
		return out, err
	}
	s, err := w.models.acquire(ctx, r.modelKey())
	if err != nil {
		return out, err
	}
	defer w.models.release(s)
	h, score, err := w.scoreHealed(ctx, r, s, point, b, report)
	if err != nil {
		return out, err
	}
	h.Steps, h.Tokens = trained.Steps, trained.Tokens
	if err := durable.Write(filepath.Join(healFolder(r.folder, point.ID), healedFile), encodeJSON(h)); err != nil {
		return out, fmt.Errorf("evalworker: %w", err)
	}
	if point.HeldOut != nil {
		out.Before = *heldOut(point.Bytes, point.HeldOut)
	}
	out.HeldOut = *heldOut(point.Bytes+h.Beside, measured(&score))
	return out, nil
}

// scoreHealed scores a point with its delta, unless that has been done.
func (w *Workbench) scoreHealed(ctx context.Context, r *run, s *slot, point Compressed, b *bank.Bank, report Reporter) (h healed, score Score, err error) {
	levels, err := readConfig(filepath.Join(r.folder, filepath.FromSlash(point.Config)), s.model.Config(), b)
	if err != nil {
		return h, score, err
	}
	candidates, err := s.candidates([]map[string]string{levels}, b)
	if err != nil {
		return h, score, err
	}
	delta, err := readDelta(filepath.Join(healFolder(r.folder, point.ID), deltaFile), s)
	if err != nil {
		return h, score, err
	}
	candidate, more, err := delta.apply(s, candidates[0])
	if err != nil {
		return h, score, err
	}
	part, err := r.windows(partHeldOut)
	if err != nil {
		return h, score, err
	}
	h = healed{Delta: delta.digest, Score: r.healedDigest(point.Levels, delta.digest, part), Beside: more.beside, Method: string(delta.delta.Options.Method)}
	score, ok, err := r.readScore(h.Score)
	if ok || err != nil && !errors.Is(err, ErrDamaged) { // a damaged score is taken again
		return h, score, err
	}
	if score, err = w.scoreAll(ctx, s, part, candidate, true, report); err != nil {
		return h, score, err
	}
	score.Digest, score.Windows = h.Score, part.Numbers
	stamp(&score)
	return h, score, r.writeScore(score)
}

// healedDigest names the score of a model with a delta, as scoreDigest that of a candidate.
func (r *run) healedDigest(levels, delta string, w Windows) string {
	about := encodeJSON(struct {
		Version  int    `json:"version"`
		Numerics string `json:"numerics"`
		Model    string `json:"model"`
		Bank     string `json:"bank"`
		Levels   string `json:"levels"`
		Delta    string `json:"delta"`
		SeqLen   int    `json:"seq_len"`
	}{numericsVersion, r.prepared.Numerics, r.prepared.Model, r.prepared.bankID(), levels, delta, r.prepared.SeqLen})
	return digest(about, w.encode())
}

// healed lists the points of a front that were healed, in its order.
func (p *reporter) healed(points []Point) ([]Healed, error) {
	var list []Healed
	for _, of := range points {
		h, err := p.run.readHealed(of.ID)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s, ok, err := p.run.readScore(h.Score)
		if err != nil {
			return nil, err
		}
		if !ok || s.Failed != "" {
			continue
		}
		n := Healed{
			ID: of.ID + healedSuffix, Parent: of.ID, Config: of.Config, Delta: healDir + "/" + of.ID + "/" + deltaFile, DeltaDigest: h.Delta,
			Method: h.Method, Steps: h.Steps, Tokens: h.Tokens, Bytes: of.Bytes + h.Beside, Beside: h.Beside, HeldOut: measured(&s),
			Bits: of.Bits + 8*float64(h.Beside)/float64(p.run.space.Params()),
		}
		if f := p.final[of.Levels]; f != nil && f.score != nil {
			n.Gain = &Gain{ID: of.ID, Bytes: of.Bytes, KL: difference(f.score.KL, s.KL, s.Tokens), NLL: difference(f.score.NLL, s.NLL, s.Tokens)}
		}
		list = append(list, n)
	}
	return list, nil
}
