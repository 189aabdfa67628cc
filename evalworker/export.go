package evalworker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/workflows"
)

// Formats that a model can be exported in.
const (
	FormatGGUF        = "gguf"
	FormatHuggingFace = "hf"
)

// ExportInput says what is to be exported: a point of a run, or a model with a file of levels.
type ExportInput struct {
	Folder string // of a run; empty: Model, Config and Bank say what
	Point  string // id of a point or baseline of the run's front, or a prefix of it that no other has; "best": see [Front.Find]
	Model  string // as for a job
	Config string // file of levels; empty: the dense model
	Bank   string // folder of a bank, for levels that need calibration
	Delta  string // file of a fine-tuning's delta on top of these levels; empty: that of a healed point, or none

	Format      string // gguf, hf, recipe or evopress
	Out         string // file or folder to be made
	Force       bool   // replace what Out is
	Dense       string // see [export.GGUFOptions]
	Simulated   bool   // write levels in 16 bits that the format cannot store, in a folder all of them
	Runtime     string // that a folder is for: transformers or vllm; empty: transformers
	Activations bool   // see [export.HFOptions]
	TensorTypes string // file for llama-quantize to be made; empty: none

	Text       string // for the comparison; empty: the run's, or the text that goes with the builtin model
	SeqLen     int    // tokens a window, at most as many as the model takes; a run has its own
	MaxWindows int    // to compare on
	Numerics   string // exact or fast; empty: exact
	Command    string // for the model card
}

// ExportResult describes what was made.
type ExportResult struct {
	Path         string    `json:"path"`
	Bytes        int64     `json:"bytes"`               // without the adapter
	NLLCheck     *NLLCheck `json:"nll_check,omitempty"` // nil where no weights were written
	Format       string    `json:"format"`
	Card         string    `json:"card,omitempty"`    // path of the model card
	Adapter      string    `json:"adapter,omitempty"` // path of a LoRA adapter, which a runtime loads beside the model: a GGUF file, or a folder of PEFT
	AdapterBytes int64     `json:"adapter_bytes,omitempty"`
	TensorTypes  string    `json:"tensor_types,omitempty"`
	Rounded      []string  `json:"rounded,omitempty"` // units that 16 bits do not hold exactly
	Notes        []string  `json:"notes,omitempty"`   // what a user is to know, a line each
}

// NLLCheck compares an export, as this program reads it back, with the candidate that was evaluated.
type NLLCheck struct {
	Evaluated float64 `json:"evaluated"` // NLL of the candidate, nats a token
	Exported  float64 `json:"exported"`  // NLL of the export
	Relative  float64 `json:"relative"`  // their difference over the former
	Tolerance float64 `json:"tolerance"` // the most that Relative may be
	Tokens    int64   `json:"tokens"`    // scored positions
	Windows   []int   `json:"windows"`   // numbers of the windows of the text
	Numerics  string  `json:"numerics"`
}

// How far an export may be from the candidate: nothing but the order of sums where weights are stored as they were evaluated, the
// rounding to 16 bits where these are not enough for them.
const (
	sameTolerance    = 1e-6
	roundedTolerance = 1e-3
)

// exported is what a format's writer says.
type exported struct {
	bytes   int64
	format  string // for people
	units   []export.CardUnit
	tensors []export.Tensor
	rounded []string
	notes   []string
	modules map[string]string // names of the base's linear modules in what was written

	adapter      string // path where it was written; empty: there is none
	adapterBytes int64
	merged       bool // the candidate has weights of 16 bits where the adapter is beside others
}

// Export writes a candidate as a model that runtimes load, reads it back and compares its NLL with the candidate's. What does not pass is
// removed: under Out there is a model that was checked, or nothing new. A model card lies beside it.
func (w *Workbench) Export(ctx context.Context, in ExportInput, report Reporter) (ExportResult, error) {
	var out ExportResult
	if err := in.vacant(append(in.files(), in.Out)...); err != nil {
		return out, err
	}
	x, err := w.subject(ctx, in)
	if err != nil {
		return out, err
	}
	defer x.close()
	if lists(in.Format) {
		if x.delta != nil {
			return out, jobErrorf("--format %s lists levels, and has no place for the delta %s", in.Format, x.delta.name)
		}
		return in.list(x)
	}
	if err := in.check(x); err != nil {
		return out, err
	}
	plain, candidate, err := x.candidate()
	if err != nil {
		return out, err
	}
	score, err := w.scoreAll(ctx, x.slot, x.windows, candidate, false, noted(report, "evaluate"))
	if err != nil {
		return out, err
	}
	tmp, err := stageFolder(in.Out)
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(tmp)
	path := filepath.Join(tmp, filepath.Base(in.Out))
	if x.adapter { // which has what the candidate has beyond the plain one
		candidate = plain
	}
	made, err := write(ctx, in, path, x, candidate, report)
	if err == nil && x.adapter {
		err = in.writeAdapter(path, x, candidate, &made)
	}
	if err != nil {
		return out, err
	}
	check, err := w.readBack(ctx, path, x, score.nll().Value, made, noted(report, "read back"))
	if err != nil {
		return out, err
	}
	out = ExportResult{Path: in.Out, Bytes: made.bytes, AdapterBytes: made.adapterBytes, NLLCheck: &check, Format: in.Format, Card: in.card(), TensorTypes: in.TensorTypes, Rounded: made.rounded, Notes: made.notes}
	if x.adapter {
		out.Adapter = in.adapter()
	} else if in.Format == FormatGGUF { // a folder is replaced as a whole
		if _, err := os.Lstat(in.adapter()); err == nil {
			out.Notes = append(out.Notes, fmt.Sprintf("%s is of an earlier export, and is not to be loaded with this model.", in.adapter()))
		}
	}
	return out, in.place(path, x.card(in, made, check), made)
}

// write writes the candidate in the format that is asked for.
func write(ctx context.Context, in ExportInput, path string, x *subject, cand engine.Candidate, report Reporter) (exported, error) {
	ck := x.slot.checkpoint.Checkpoint
	progress := func(done, total int64) error {
		report(workflows.Progress{Done: done, Total: total, Unit: "bytes", Note: "write"})
		return ctx.Err()
	}
	switch in.Format {
	case FormatGGUF:
		o := in.gguf()
		o.Progress = progress
		res, err := export.GGUF(path, ck, cand, o)
		if err != nil {
			return exported{}, mark(ErrJob, err)
		}
		out := exported{bytes: res.Bytes, format: "GGUF, architecture " + res.Architecture, units: res.Units(), tensors: res.Tensors, rounded: res.Rounded, notes: res.Notes, modules: map[string]string{}}
		for _, t := range res.Tensors {
			out.modules[t.Unit] = t.Module
		}
		return out, nil
	case FormatHuggingFace:
		o := in.huggingFace()
		o.Progress = progress
		res, err := export.HuggingFace(path, ck, cand, o)
		if err != nil {
			return exported{}, mark(ErrJob, err)
		}
		out := exported{bytes: res.Bytes, format: "Hugging Face folder, " + res.Format, units: res.Units(), rounded: res.Rounded, notes: res.Notes, modules: map[string]string{}}
		for _, m := range res.Modules {
			out.modules[m.Unit] = m.Name
		}
		return out, nil
	}
	return exported{}, jobErrorf("--format: %q is unknown", in.Format)
}

// gguf are the options of a GGUF file.
func (in ExportInput) gguf() export.GGUFOptions {
	return export.GGUFOptions{Dense: in.Dense, Simulated: in.Simulated, Name: strings.TrimSuffix(filepath.Base(in.Out), ".gguf")}
}

// huggingFace are the options of a Hugging Face folder.
func (in ExportInput) huggingFace() export.HFOptions {
	o := export.HFOptions{Format: export.FormatCompressed, Dtype: strings.ToUpper(in.Dense), Runtime: in.Runtime, Activations: in.Activations}
	if in.Simulated {
		o.Format = export.FormatDense
	}
	return o
}

// check refuses what the format cannot hold, and a file that the disk has no room for, before any level is made. It finds whether an adapter is to
// be written.
func (in ExportInput) check(x *subject) (err error) {
	if x.adapter, err = in.beside(x); err != nil {
		return err
	}
	if x.adapter && in.Format == FormatGGUF { // in a folder it goes with all else
		if err := in.vacant(in.adapter()); err != nil {
			return err
		}
	}
	if in.Format == FormatHuggingFace {
		planned, _, err := x.outline()
		if err != nil {
			return err
		}
		size, err := export.HFPlan(x.slot.checkpoint.Checkpoint, planned, in.huggingFace())
		if err != nil {
			return mark(ErrJob, err)
		}
		if x.adapter {
			p, err := x.peft(in, nil)
			if err != nil {
				return err
			}
			size += p.bytes
		}
		return in.room(size)
	}
	size, err := in.size(x)
	if err != nil {
		return err
	}
	return in.room(size)
}

// room reports a disk that has no room for so many bytes.
func (in ExportInput) room(bytes int64) error {
	if err := durable.Room(in.Out, bytes); err != nil {
		return fmt.Errorf("evalworker: --out: %w", err)
	}
	return nil
}

// size is that of the GGUF file, before any level is made.
func (in ExportInput) size(x *subject) (int64, error) {
	// Levels that no type stores have but their size here, and the others are not asked for.
	others, levels, err := x.outline()
	if err != nil {
		return 0, err
	}
	types := map[string]kernel.GGMLType{}
	for unit, l := range levels {
		if t, ok := l.ggml(); ok {
			types[unit] = t
			if !l.wide { // a width is also that of the modules beside it
				delete(others, unit)
			}
		}
	}
	o := in.gguf()
	head, ok := x.levels[unitHead]
	o.Untied = ok && head != x.levels[unitEmbedding]
	sizes, err := export.GGUFBytes(x.slot.checkpoint.Checkpoint, others, o)
	if err != nil {
		return 0, mark(ErrJob, err)
	}
	size := sizes.Fixed
	for _, unit := range sizes.Units() {
		n := sizes.Given(unit)
		if t, ok := types[unit]; ok {
			if n, err = sizes.Unit(unit, t); err != nil {
				return 0, mark(ErrJob, err)
			}
		}
		size += n
	}
	if x.adapter {
		n, err := export.GGUFAdapterBytes(x.slot.checkpoint.Checkpoint, others, x.delta.factors(), o)
		if err != nil {
			return 0, mark(ErrJob, err)
		}
		size += n
	}
	return size, nil
}

// readBack loads what was written as any model is loaded, and compares it with the candidate.
func (w *Workbench) readBack(ctx context.Context, path string, x *subject, want float64, made exported, report Reporter) (NLLCheck, error) {
	check := NLLCheck{Evaluated: want, Tolerance: sameTolerance, Windows: x.windows.Numbers, Numerics: x.slot.model.Numerics().String()}
	if len(made.rounded) > 0 || made.merged {
		check.Tolerance = roundedTolerance
	}
	m := newModels(1, w.options.Threads, 0, nil)
	defer m.close()
	s, err := m.acquire(ctx, modelKey{ref: path, numerics: x.slot.model.Numerics()})
	if err != nil {
		return check, fmt.Errorf("evalworker: what was written cannot be read back: %w", err)
	}
	defer m.release(s)
	if err := sameTokens(x.slot.checkpoint.Checkpoint, s.checkpoint.Checkpoint); err != nil {
		return check, err
	}
	candidate, err := x.readAdapter(s, made)
	if err != nil {
		return check, err
	}
	score, err := w.scoreAll(ctx, s, x.windows, candidate, false, report)
	if err != nil {
		return check, fmt.Errorf("evalworker: what was written cannot be evaluated: %w", err)
	}
	check.Exported, check.Tokens = score.nll().Value, score.total()
	check.Relative = math.Abs(check.Exported-want) / math.Abs(want)
	if !(check.Relative <= check.Tolerance) {
		return check, fmt.Errorf("evalworker: read back, the export has NLL %v where the candidate has %v, a relative difference of %.2g (at most %.0e is right): it was removed",
			check.Exported, want, check.Relative, check.Tolerance)
	}
	return check, nil
}

// tokenSample is what tokenizers are compared on, beside the builtin text.
const tokenSample = " it's 1234567 WORDS\n\n\tnaïve Å ﬁ 😀 数据模型 <|im_start|>user</s> e\u0301 \x00\r\n  "

// sameTokens compares the tokenizers of two models.
func sameTokens(source, written *engine.Checkpoint) error {
	text, err := readSource("", "")
	if err != nil {
		return err
	}
	a, err := source.Tokenizer()
	if err != nil {
		return err
	}
	b, err := written.Tokenizer()
	if err != nil {
		return fmt.Errorf("evalworker: the tokenizer that was written cannot be read back: %w", err)
	}
	for _, sample := range [][]byte{[]byte(tokenSample), text.data[:min(len(text.data), 1<<16)]} {
		if !slices.Equal(a.Encode(sample), b.Encode(sample)) {
			return errors.New("evalworker: read back, the export's tokenizer gives other tokens than the model's: it was removed")
		}
	}
	return nil
}

// noted reports under a name.
func noted(report Reporter, note string) Reporter {
	return func(p workflows.Progress) {
		p.Note = cmp.Or(p.Note, note)
		report(p)
	}
}
