package evalworker

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/quant"
	"github.com/paretopress/paretopress/workflows"
)

// subject is a candidate that is to be exported, with the text that it is compared on.
type subject struct {
	slot    *slot
	levels  map[string]string
	bank    *bank.Bank
	windows Windows
	text    source
	seqLen  int
	run     *run // nil: none
	front   Front
	point   Compressed
	healed  string        // path of the delta of a healed point, empty for others
	delta   *appliedDelta // nil: none
	adapter bool          // the delta is written beside the model
	merged  bool          // the candidate has some of the delta in weights of 16 bits

	close func()
}

// subject loads what is to be exported. The caller closes it.
func (w *Workbench) subject(ctx context.Context, in ExportInput) (*subject, error) {
	x := &subject{}
	key := modelKey{ref: in.Model, numerics: numericsOf(cmp.Or(in.Numerics, workflows.NumericsExact))}
	if in.Folder != "" {
		if err := x.find(in); err != nil {
			return nil, err
		}
		key.ref, key.digest = x.run.job.Model, x.run.prepared.Model
	}
	s, err := w.models.acquire(ctx, key)
	if err != nil {
		return nil, err
	}
	x.slot = s
	var own *bank.Bank // of this call
	x.close = func() {
		w.models.release(s)
		if own != nil {
			own.Close() // it was only read
		}
	}
	if x.run != nil {
		x.bank, err = w.bank(x.run)
	} else if in.Bank != "" {
		x.bank, err = openBankOf(in.Bank, s)
		own = x.bank
	}
	config := in.Config
	if x.run != nil {
		config = filepath.Join(in.Folder, filepath.FromSlash(x.point.Config))
	}
	if err == nil && config != "" {
		x.levels, err = readConfig(config, s.model.Config(), x.bank)
	}
	if err == nil {
		x.delta, err = readDelta(cmp.Or(in.Delta, x.healed), s)
	}
	if err == nil {
		err = x.readText(in)
	}
	if err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

// find opens the run and the point of its front.
func (x *subject) find(in ExportInput) error {
	var err error
	if x.run, err = openRun(in.Folder); err != nil {
		return err
	}
	if x.front, err = ReadFront(in.Folder); err != nil {
		return err
	}
	id, healed := strings.CutSuffix(in.Point, healedSuffix)
	if x.point, err = x.front.Find(id); err != nil || !healed {
		return mark(ErrJob, err)
	}
	at := slices.IndexFunc(x.front.Healed, func(h Healed) bool { return h.Parent == x.point.ID })
	if at < 0 {
		return jobErrorf("point %s of the front was not healed", x.point.ID)
	}
	h := x.front.Healed[at]
	x.point.ID, x.point.Bytes, x.point.Bits, x.point.HeldOut = h.ID, h.Bytes, h.Bits, h.HeldOut
	x.healed = filepath.Join(in.Folder, filepath.FromSlash(h.Delta))
	return nil
}

// openBankOf opens a bank that was built of the model in a slot.
func openBankOf(dir string, s *slot) (*bank.Bank, error) {
	b, err := bank.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := b.Match(s.checkpoint.digest); err != nil {
		b.Close()
		return nil, fmt.Errorf("evalworker: --bank %s: %w", dir, err)
	}
	return b, nil
}

// readText finds the windows that the export is compared on: held-out ones of a run, or every fourth of a text.
func (x *subject) readText(in ExportInput) error {
	c := x.slot.model.Config()
	x.seqLen = min(in.SeqLen, c.MaxPositions)
	if x.run != nil {
		x.seqLen = x.run.prepared.SeqLen
		x.text = source{name: cmp.Or(x.run.job.HeldOutText, x.run.job.Text, workflows.Builtin), digest: x.front.HeldOutText}
	}
	if x.run != nil && in.Text == "" {
		windows, err := x.run.windows(partHeldOut)
		x.windows = windows.first(in.MaxWindows)
		return err
	}
	text, err := readSource(in.Text, "")
	if err != nil {
		return err
	}
	tokenizer, err := x.slot.checkpoint.Tokenizer()
	if err != nil {
		return err
	}
	all, err := text.windows(tokenizer, c, x.seqLen, 4*in.MaxWindows)
	if err != nil {
		return err
	}
	if s, err := SplitText(text.name, all, x.seqLen); err == nil {
		all = s.HeldOut
	}
	x.text, x.windows = text, all.first(in.MaxWindows)
	return nil
}

// Find is the point or baseline with an id, or with an id that begins so where there is only one. "best" is the search's answer; of several, at different
// sizes, the one with the least held-out KL divergence.
func (f Front) Find(id string) (Compressed, error) {
	var all []Compressed
	best, found := Point{}, false
	for _, p := range f.Points {
		all = append(all, p.Compressed)
		if p.Answer && p.HeldOut != nil && (!found || p.HeldOut.KL.Value < best.HeldOut.KL.Value) {
			best, found = p, true
		}
	}
	if id == "best" {
		if !found {
			return Compressed{}, fmt.Errorf("evalworker: the front has no answer of the search that was measured on held-out text: give the id of a point")
		}
		return best.Compressed, nil
	}
	for _, b := range f.Baselines {
		all = append(all, b.Compressed)
	}
	all = slices.DeleteFunc(all, func(c Compressed) bool { return id == "" || !strings.HasPrefix(c.ID, id) })
	slices.SortFunc(all, compareCompressed)
	all = slices.CompactFunc(all, func(a, b Compressed) bool { return a.ID == b.ID }) // a point may serve as a baseline too
	switch len(all) {
	case 0:
		return Compressed{}, fmt.Errorf("evalworker: the front has no point %q (paretopress front shows them)", id)
	case 1:
		return all[0], nil
	}
	return Compressed{}, fmt.Errorf("evalworker: %d points of the front have ids that begin with %q", len(all), id)
}

// candidate makes the levels without and with the delta in them.
func (x *subject) candidate() (plain, merged engine.Candidate, err error) {
	candidates, err := x.slot.candidates([]map[string]string{x.levels}, x.bank)
	if err != nil {
		return nil, nil, err
	}
	merged, added, err := x.delta.apply(x.slot, candidates[0])
	x.merged = x.delta != nil && added.beside < x.delta.delta.Bytes()
	return candidates[0], merged, err
}

// outline is the candidate with the sizes of its levels and without their weights, and the levels by unit.
func (x *subject) outline() (engine.Candidate, map[string]Level, error) {
	shapes := map[string]matrix{}
	for _, m := range matrices(x.slot.model.Config()) {
		shapes[m.name] = m
	}
	cand, levels := engine.Candidate{}, map[string]Level{}
	for unit, name := range expand(x.levels) {
		l, err := ParseLevel(name)
		if err != nil {
			return nil, nil, mark(ErrJob, err)
		}
		out := engine.Level{Name: name}
		rows, cols := l.Shape(unit, shapes[unit].rows, shapes[unit].cols)
		_, ggml := l.ggml()
		switch {
		case l.drop():
		case l.wide && (ggml || l.spec == nil): // stored as it is, or in a type: which channels it has makes no difference to its size
			if out.Weights, err = x.first(unit, rows, cols); err != nil {
				return nil, nil, err
			}
		default:
			planned := export.Planned{RowsOf: rows, ColsOf: cols, Size: l.Bytes(rows, cols)}
			if spec, ok := l.spec.(quant.Spec); ok {
				planned.Layout, _ = spec.Layout()
				planned.FP8 = spec.Method() == quant.FP8
			}
			out.Weights = planned
		}
		cand[unit], levels[unit] = out, l
	}
	if x.adapter {
		return cand, levels, nil
	}
	for _, unit := range x.delta.units() {
		m, ok := shapes[unit]
		if l := levels[unit]; !ok || l.drop() || l.pruned() { // as the level is, or to be refused when it is merged
			continue
		}
		cand[unit] = engine.Level{Name: levels[unit].Name + deltaSuffix, Weights: export.Merged{Weights: export.Planned{RowsOf: m.rows, ColsOf: m.cols, Size: denseBytes * int64(m.rows) * int64(m.cols)}}}
		delete(levels, unit)
	}
	return cand, levels, nil
}

// first are the first rows and columns of a module.
func (x *subject) first(unit string, rows, cols int) (engine.Weights, error) {
	w, err := engine.Dense(x.slot.checkpoint.Checkpoint, unit)
	if err != nil {
		return nil, err
	}
	all, most := w.Shape()
	count := func(n, of int) (index []int) {
		for i := range n {
			index = append(index, i)
		}
		if n == of {
			return nil // all, which are whole blocks
		}
		return index
	}
	return engine.NewSlice(x.slot.checkpoint.Checkpoint, unit, count(rows, all), count(cols, most))
}

// card is the model card of an export.
func (x *subject) card(in ExportInput, made exported, check NLLCheck) export.Card {
	c := export.Card{
		Title: filepath.Base(in.Out), Format: made.format, Bytes: made.bytes, Base: x.slot.key.ref, Digest: x.slot.checkpoint.digest, Command: in.Command,
		Text: x.text.name, TextDigest: x.text.digest, SeqLen: x.seqLen, Units: made.units, Notes: made.notes,
		Check: fmt.Sprintf("NLL %v where the evaluated candidate has %v, nats a token over %d tokens (%s numerics)", check.Exported, check.Evaluated, check.Tokens, check.Numerics),
	}
	if x.delta != nil {
		where := "is merged"
		if x.adapter {
			where = "is the adapter beside the model, without which this is the model as it was before"
		}
		c.Notes = append(c.Notes, fmt.Sprintf("Fine-tuned by %s, %d steps: the delta %s (SHA-256 %s) %s.", x.delta.delta.Options.Method, x.delta.delta.Steps, filepath.Base(x.delta.name), x.delta.digest, where))
	}
	for _, unit := range SubBlocks(x.slot.model.Config()) {
		if x.levels[unit] == LevelDrop {
			c.Dropped = append(c.Dropped, unit)
		}
	}
	if x.run == nil {
		return c
	}
	c.Seed = &x.run.job.Seed
	add := func(name string, bytes int64, m *Measured) {
		if m != nil {
			c.Scores = append(c.Scores, export.CardScore{Name: name, Bytes: bytes, NLL: m.NLL.Value, NLLErr: m.NLL.Error, KL: m.KL.Value, KLErr: m.KL.Error,
				Windows: m.Windows, ScoredWith: x.front.Numerics})
		}
	}
	add("this point, "+x.point.ID, x.point.Bytes, x.point.HeldOut)
	add("dense", x.front.DenseBytes, x.front.Dense)
	c.Notes = append(c.Notes, "Bytes of the table of held-out numbers are those that the search counts, without what a file needs around its weights.")
	return c
}
