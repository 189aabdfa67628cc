package evalworker

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/sparseft"
	"github.com/paretopress/paretopress/workflows"
)

// Names in a training folder, beside prepared.json.
const (
	finetuneFile   = "finetune.yaml"
	checkpointFile = "checkpoint"
	deltaFile      = "delta.safetensors"
	resultFile     = "result.json"
	peftDir        = "peft"
)

// preparedTraining is what a training is pinned to.
type preparedTraining struct {
	Model    string             `json:"model"`            // SHA-256 of the model
	Levels   string             `json:"levels,omitempty"` // of what it is compressed to
	Examples string             `json:"examples"`         // of what it learns from
	HeldOut  string             `json:"held_out"`         // of what it is measured on
	Options  sparseft.Options   `json:"options"`          // of the trainer
	Regrow   int64              `json:"regrow,omitempty"` // weights that may come back
	Before   workflows.Measured `json:"before"`           // on the held-out examples
	Bytes    int64              `json:"bytes"`            // of the model as it is stored
}

// training is a training folder that is open: the model, what it learns from and the weights in training.
type training struct {
	folder  string
	job     workflows.FinetuneJob
	slot    *slot
	dense   *teachers
	base    engine.Candidate
	levels  map[string]string
	text    source
	train   examples
	heldOut examples
	options sparseft.Options
	targets []sparseft.Target
	regrow  int64 // pruned weights of all targets that may come back

	close func()
}

// ReadFinetuneJob reads the job of a training folder, fills in what it leaves to the defaults, and validates it.
func ReadFinetuneJob(folder string) (workflows.FinetuneJob, error) {
	j, err := readJobFile(folder, finetuneFile, "training folder", DecodeFinetuneJob)
	if err != nil {
		return j, err
	}
	j.SetDefaults()
	return j, mark(ErrJob, j.Validate())
}

// DecodeFinetuneJob reads a job as it stands in a file, without defaults. Unknown keys are errors; an empty file is a job of defaults.
func DecodeFinetuneJob(data []byte) (j workflows.FinetuneJob, err error) {
	if err = decodeStrictly(data, &j); errors.Is(err, io.EOF) {
		err = nil
	}
	return j, err
}

// WriteFinetuneJob writes the job of a training folder.
func WriteFinetuneJob(folder string, j workflows.FinetuneJob) error {
	return writeJobFile(folder, finetuneFile, j)
}

// training opens a training folder. The caller closes it.
func (w *Workbench) training(ctx context.Context, folder string) (*training, error) {
	job, err := ReadFinetuneJob(folder)
	if err != nil {
		return nil, err
	}
	return w.openTraining(ctx, folder, job)
}

// openTraining opens what a job names. The caller closes it.
func (w *Workbench) openTraining(ctx context.Context, folder string, job workflows.FinetuneJob) (*training, error) {
	s, err := w.models.acquire(ctx, modelKey{ref: job.Model, digest: job.ModelDigest, numerics: numericsOf(job.Numerics)})
	if err != nil {
		return nil, err
	}
	t := &training{folder: folder, job: job, slot: s, dense: w.teachers}
	var b *bank.Bank
	t.close = func() {
		w.models.release(s)
		if b != nil {
			b.Close() // it was only read
		}
	}
	if job.Bank != "" {
		b, err = openBankOf(job.Bank, s)
	}
	if err == nil {
		err = t.load(b)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// load reads levels and examples and finds what is trained.
func (t *training) load(b *bank.Bank) (err error) {
	c := t.slot.model.Config()
	t.levels = map[string]string{}
	if t.job.Config != "" {
		if t.levels, err = readConfig(t.job.Config, c, b); err != nil {
			return err
		}
	}
	made, err := t.slot.candidates([]map[string]string{t.levels}, b)
	if err != nil {
		return err
	}
	t.base = made[0]
	if err := t.read(); err != nil {
		return err
	}
	for _, m := range c.Modules() {
		if err := t.target(m); err != nil {
			return err
		}
	}
	if len(t.targets) == 0 {
		return jobErrorf("there is nothing to train: every linear module is dropped")
	}
	if t.options, err = trainerOptions(t.job, t.slot.checkpoint.digest, c.Parameters()); err != nil {
		return err
	}
	return t.payBack()
}

// read reads the examples.
func (t *training) read() (err error) {
	if t.text, err = readSource(t.job.Text, t.job.TextDigest); err != nil {
		return err
	}
	if t.job.Instructions() {
		all, err := instructionExamples(t.text, t.slot.checkpoint.Checkpoint, min(t.job.SeqLen, t.slot.model.Config().MaxPositions))
		if err != nil {
			return err
		}
		t.train, t.heldOut = all.split()
		if len(t.heldOut.tokens) == 0 {
			return jobErrorf("--text: %s gives %d examples; at least 4 are needed, since every fourth is held out", t.text.name, len(all.tokens))
		}
		return nil
	}
	tokenizer, err := t.slot.checkpoint.Tokenizer()
	if err != nil {
		return err
	}
	all, err := t.text.windows(tokenizer, t.slot.model.Config(), t.job.SeqLen, t.job.MaxWindows)
	if err != nil {
		return err
	}
	split, err := SplitText(t.text.name, all, t.job.SeqLen)
	if err != nil {
		return mark(ErrJob, err)
	}
	t.train, t.heldOut = textExamples(split.Calibration), textExamples(split.HeldOut)
	if t.job.Part == workflows.PartAll {
		t.train.tokens = append(slices.Clone(t.train.tokens), split.Search.Tokens...)
	}
	return nil
}

// target adds a linear module, unless it is dropped.
func (t *training) target(m engine.Module) error {
	weights, err := engine.Dense(t.slot.checkpoint.Checkpoint, m.Name)
	if err != nil {
		return err
	}
	if level, ok := t.base[subBlock(m.Name)]; ok && level.Weights == nil {
		return nil
	}
	if level, ok := t.base[m.Name]; ok {
		if level.Weights == nil {
			return nil
		}
		weights = level.Weights
	}
	rows, cols := weights.Shape()
	g := sparseft.Target{Name: m.Name, Rows: rows, Cols: cols, Base: decodedBase{weights}}
	if pruned, ok := weights.(*kernel.Bitmask); ok {
		g.Mask = sparseft.NewMask(rows * cols)
		pruned.Kept(g.Mask.Keep)
	}
	t.targets = append(t.targets, g)
	return nil
}

// subBlock is the sub-block that a module is in.
func subBlock(module string) string { return module[:strings.LastIndexByte(module, '.')] }

// decodedBase is a level's weights as the trainer reads them.
type decodedBase struct{ engine.Weights }

func (d decodedBase) Rows(dst []float32, from, to int) { d.DecodeRows(from, to-from, dst) }

// trainerOptions are the options of a job, with the method's defaults for what it leaves open.
func trainerOptions(j workflows.FinetuneJob, digest string, parameters int64) (sparseft.Options, error) {
	if !slices.Contains(sparseft.Methods, sparseft.Method(j.Method)) {
		return sparseft.Options{}, jobErrorf("--method: %q is none of %v", j.Method, sparseft.Methods)
	}
	o := sparseft.Defaults(sparseft.Method(j.Method))
	o.Seed, o.Base, o.Steps, o.Accumulation, o.Warmup = j.Seed, digest, j.Steps, j.Accumulation, j.Warmup
	o.Density, o.NumTunableWeights, o.CrossTensor, o.WeightDecay = j.Density, j.Params, j.CrossTensor, j.WeightDecay
	if o.Density != 0 {
		o.ModelParameters = parameters
	}
	if o.Method == sparseft.LoRA && (j.Density != 0 || j.Params != 0) {
		o.Rank = 0 // unless it is given: as the budget allows
	}
	o.Rank, o.Alpha, o.LearningRate = cmp.Or(j.Rank, o.Rank), cmp.Or(j.Alpha, o.Alpha), cmp.Or(j.LearningRate, learningRate(o.Method, parameters))
	o.Scheduler, o.Support, o.LowRank = cmp.Or(sparseft.Policy(j.Scheduler), o.Scheduler), cmp.Or(sparseft.Support(j.Support), o.Support), cmp.Or(sparseft.LowRankMode(j.LowRank), o.LowRank)
	if o.Support == sparseft.Free && (o.Method == sparseft.LoRA || o.Method == sparseft.DSEE || o.Method == sparseft.Full) {
		return o, jobErrorf("--support %s: %s has no support to choose; take a sparse method such as %s", o.Support, o.Method, sparseft.SpIELAG)
	}
	o.ReselectionSteps = cmp.Or(j.ReselectionSteps, o.ReselectionSteps)
	o.SelectionAccumulationSteps = cmp.Or(j.SelectionAccumulationSteps, o.SelectionAccumulationSteps)
	o.InitialReselectionRate = cmp.Or(j.InitialReselectionRate, o.InitialReselectionRate)
	return o, mark(ErrJob, o.Check())
}

// learningRate is the default of a method for a model of so many parameters. Smaller models take larger steps: the rates are measured on models of 1.7 and 135
// million parameters and fall with the root of the size to what SpIEL's authors took for 7 billion.
func learningRate(m sparseft.Method, parameters int64) float64 {
	at100M := map[sparseft.Method]float64{sparseft.SpIELMA: 1.2e-3, sparseft.LoRA: 1e-3, sparseft.Full: 1e-4}
	return cmp.Or(at100M[m], 3e-4) * min(10, math.Sqrt(1e8/float64(parameters)))
}

// working is the copy of a target's weights that is trained.
type working struct {
	rows, cols int
	data       []float32
}

func (w *working) Shape() (rows, cols int) { return w.rows, w.cols }
func (w *working) DecodeRows(first, n int, dst []float32) {
	copy(dst, w.data[first*w.cols:(first+n)*w.cols])
}

// working makes copies of the targets' weights as a trainer has them, and the candidate that they are part of.
func (t *training) working(trainer *sparseft.Trainer) ([][]float32, engine.Candidate) {
	c, all := maps.Clone(t.base), make([][]float32, len(t.targets))
	for i, g := range t.targets {
		all[i] = make([]float32, g.Rows*g.Cols)
		trainer.Weights(i, all[i], 0, g.Rows)
		c[g.Name] = engine.Level{Name: "in training", Weights: &working{g.Rows, g.Cols, all[i]}}
	}
	return all, c
}

// loss is that of some examples. teacher may be nil.
func (t *training) loss(e examples, teacher *engine.Teacher) engine.Loss {
	return engine.Loss{Teacher: teacher, Temperature: t.job.Temperature, Counted: e.counted, Predictions: 1}
}

// teach has the dense model predict examples.
func (t *training) teach(ctx context.Context, e examples) (*engine.Teacher, error) {
	return t.dense.get(ctx, t.slot, e.tokens, func() {})
}
