package evalworker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/prune"
	"github.com/paretopress/paretopress/quant"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// maxRanges is the most ranges that the blocks to be built are divided into: each but the first begins
// by running the text through the blocks before it.
const maxRanges = 4

// calibrationVersion stands for how Hessians are collected: inputs of the dense model throughout, as
// EvoPress's pruning does (its quantization calibrates on the quantized model so far), so that blocks
// do not depend on one another.
const calibrationVersion = "dense/1"

// Prepare reads the job of a folder, opens its model and text, and pins the run to them: it writes the
// windows of the text, the space and prepared.json. Done again it changes nothing, and it fails with
// ErrChanged if the model or the text is another by then.
func (w *Workbench) Prepare(ctx context.Context, in workflows.PrepareInput, report Reporter) (workflows.PrepareResult, error) {
	var out workflows.PrepareResult
	job, err := ReadJob(in.Folder)
	if err != nil {
		return out, err
	}
	report(workflows.Progress{Total: 1, Unit: "files", Note: "opening " + job.Model})
	if _, err := w.models.locate(ctx, job.Model, fetching(report)); err != nil {
		return out, err
	}
	s, err := w.models.acquire(ctx, modelKey{ref: job.Model, digest: job.ModelDigest, numerics: numericsOf(job.Numerics)})
	if err != nil {
		return out, err
	}
	defer w.models.release(s)
	ck := s.checkpoint
	report(workflows.Progress{Total: 1, Unit: "files", Note: "reading text"})
	split, text, heldOut, err := splitJob(ck.Checkpoint, job)
	if err != nil {
		return out, err
	}
	space, target, err := spaceOf(ck.Checkpoint, job)
	if err != nil {
		return out, err
	}
	p := prepared{
		Model: ck.digest, Text: text.digest, HeldOutText: heldOut.digest, SeqLen: job.SeqLen, Numerics: job.Numerics,
		Calibration: split.Calibration.Numbers, Search: split.Search.Numbers, HeldOut: split.HeldOut.Numbers,
		Space: space.Digest(), DenseBytes: denseBytes * ck.Config().Parameters(), Vocab: ck.Config().Vocab,
	}
	asked, err := search.ParseTarget(job.Target)
	if err != nil {
		return out, mark(ErrJob, err)
	}
	if target != asked {
		p.Target = target.String()
	}
	need, err := calibrated(space)
	if err != nil {
		return out, err
	}
	if len(need) > 0 {
		p.Bank = &bank.Header{
			Model:       ck.digest,
			Calibration: digest([]byte(calibrationVersion+" "+job.Numerics), split.Calibration.encode()),
			Operators:   prune.Operators + " " + quant.Operators,
		}
	}
	r := &run{folder: in.Folder, job: job, prepared: p, space: space}
	if _, err := r.begin(); err != nil { // before anything is built
		return out, mark(ErrJob, err)
	}
	if err := sweep(in.Folder); err != nil {
		return out, err
	}
	if err := r.pin(split); err != nil {
		return out, err
	}
	if out.Ranges, err = w.missing(r, need, ck.Config()); err != nil {
		return out, err
	}
	if out.Step, err = lastStep(in.Folder); err != nil {
		return out, err
	}
	out.ModelDigest, out.Blocks, out.Model, out.DenseBytes = p.Model, ck.Config().Layers, modelName(job, ck.Config()), p.DenseBytes
	out.SpaceText = spaceText(space, job)
	if p.Bank != nil {
		out.BankID, out.BankDir = p.bankID(), r.bankDir()
	}
	return out, nil
}

// pin writes what the run is pinned to; prepared.json comes last, so that it vouches for the others.
func (r *run) pin(split Split) error {
	err := r.publishInputs(split)
	if errors.Is(err, durable.ErrConflict) {
		return mark(ErrChanged, fmt.Errorf("evalworker: model, text or job are not those that the run in %s began with: %w", r.folder, err))
	}
	return err
}

func (r *run) publishInputs(split Split) error {
	for _, part := range []struct {
		name    string
		windows Windows
	}{{partCalibration, split.Calibration}, {partSearch, split.Search}, {partHeldOut, split.HeldOut}} {
		if err := durable.Publish(filepath.Join(r.folder, tokensDir, part.name), part.windows.encode()); err != nil {
			return fmt.Errorf("evalworker: %w", err)
		}
	}
	if err := publishJSON(r.folder, spaceFile, r.space); err != nil {
		return err
	}
	return publishJSON(r.folder, preparedFile, r.prepared)
}

// staleAfter is the age at which a temporary file is no one's any more: none is written for as long.
const staleAfter = 10 * time.Minute

// sweep removes the temporary files that crashes left behind in a run folder.
func sweep(folder string) error {
	for _, dir := range []string{".", tokensDir, logDir, scoresDir, configsDir} {
		if err := durable.Sweep(filepath.Join(folder, dir), staleAfter); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("evalworker: %w", err)
		}
	}
	return nil
}

// searchJob is what the search is to do.
func (r *run) searchJob() search.Job {
	text := cmp.Or(r.prepared.Target, r.job.Target)
	target, err := search.ParseTarget(text)
	if err != nil {
		panic("evalworker: a validated job has target " + text)
	}
	job := search.Job{
		Space: r.space, Target: target, Seed: r.job.Seed, Budget: r.job.Budget,
		SeqLen: r.prepared.SeqLen, Windows: len(r.prepared.Search),
	}
	if r.job.Schedule == workflows.SchedulePublished {
		// Sub-blocks of a type, and how many of them go: only EvoPress's dropping asks.
		units := len(r.space.Units) / 2
		s, err := search.Published(r.space.Kind, r.prepared.SeqLen, units, int(math.Round(target.Value*float64(units))))
		if err != nil {
			panic("evalworker: a validated job has no published schedule: " + err.Error())
		}
		job.Schedule = &s
	}
	return job
}

// calibrated lists, for each unit of a space, the levels that must come from a bank.
func calibrated(s *search.Space) (map[string][]Level, error) {
	need := map[string][]Level{}
	for _, u := range s.Units {
		for _, sl := range u.Levels {
			l, err := ParseLevel(sl.Name)
			if err != nil {
				return nil, fmt.Errorf("evalworker: unit %s: %w", u.Name, err)
			}
			if !l.NeedsCalibration() {
				continue
			}
			for _, part := range u.Parts() {
				need[part] = append(need[part], l)
			}
		}
	}
	return need, nil
}

// missing divides the blocks of which the bank lacks a level into ranges, one for each evaluation at a
// time.
func (w *Workbench) missing(r *run, need map[string][]Level, c engine.Config) ([][2]int, error) {
	if len(need) == 0 {
		return nil, nil
	}
	b, err := w.bank(r)
	if err != nil {
		return nil, err
	}
	lacks := map[int]bool{}
	for _, m := range matrices(c) {
		for _, l := range need[m.name] {
			lacks[m.block] = lacks[m.block] || !b.Has(m.name, l.Name)
		}
	}
	var blocks []int
	for i := range c.Layers + 1 { // the last is the head
		if lacks[i] {
			blocks = append(blocks, i)
		}
	}
	if len(blocks) == 0 {
		return nil, nil
	}
	n := min(max(r.job.Workers, 1), maxRanges, len(blocks))
	var ranges [][2]int
	for part := range slices.Chunk(blocks, (len(blocks)+n-1)/n) {
		ranges = append(ranges, [2]int{part[0], part[len(part)-1] + 1})
	}
	return ranges, nil
}

// modelName describes a model for people.
func modelName(job workflows.Job, c engine.Config) string {
	return fmt.Sprintf("%s %s %.1f M parameters", job.ModelName(), c.Arch, float64(c.Parameters())/1e6)
}

// spaceText describes a space for people.
func spaceText(s *search.Space, job workflows.Job) string {
	levels := 0
	for _, u := range s.Units {
		levels = max(levels, len(u.Levels))
	}
	how := ""
	switch job.Space {
	case workflows.SpaceSparsity:
		how = " (" + job.SparsityMethod
		if job.SparsityPattern != "" {
			how += " " + job.SparsityPattern
		}
		how += ")"
	case workflows.SpaceQuant:
		how = fmt.Sprintf(" (%s, bits %v, group %d)", job.QuantMethod, job.Bits, job.Group)
		if job.Deployable != "" {
			how = fmt.Sprintf(" (%s, %s)", job.QuantMethod, strings.Join(job.Types, " "))
		}
	}
	text := fmt.Sprintf("%d units x %d levels%s", len(s.Units), levels, how)
	if job.Target != "" {
		text += ", target " + job.Target
	}
	return text
}
