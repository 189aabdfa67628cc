package workflows

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
)

// Objectives of a training.
const (
	ObjectiveKL  = "kl"  // distillation: the KL divergence from the predictions of the model as it was before compression
	ObjectiveNLL = "nll" // of the next token
)

// SupportFree is the support of a training that may give weights back to a model that is pruned beyond its size.
const SupportFree = "free"

// Parts of a text that a training may learn from. Every fourth window is held out in either case.
const (
	PartAll         = "all"         // the other three
	PartCalibration = "calibration" // the first two: the search of a run scored its candidates on the third
)

// FinetuneJob is what a user asks of a training: the content of a training folder's finetune.yaml. Fields are only ever added. A zero
// field means its default; see [FinetuneJob.SetDefaults].
type FinetuneJob struct {
	Name         string  `json:"name,omitempty" yaml:"name,omitempty"`                   // what the training is called; default: the model and the method
	Model        string  `json:"model" yaml:"model"`                                     // as that of a [Job]
	Config       string  `json:"config,omitempty" yaml:"config,omitempty"`               // file of levels that the model is compressed to; empty: the model as it is
	Bank         string  `json:"bank,omitempty" yaml:"bank,omitempty"`                   // folder of the bank for levels that need calibration
	Text         string  `json:"text,omitempty" yaml:"text,omitempty"`                   // file to learn from; of JSON lines (.jsonl): instructions, of which the answers count
	SeqLen       int     `json:"seq-len" yaml:"seq-len"`                                 // tokens a window, or of an instruction at most
	MaxWindows   int     `json:"max-windows,omitempty" yaml:"max-windows,omitempty"`     // windows of the text to use; 0 = all
	Part         string  `json:"part" yaml:"part"`                                       // all or calibration
	Objective    string  `json:"objective" yaml:"objective"`                             // kl or nll
	Temperature  float64 `json:"temperature,omitempty" yaml:"temperature,omitempty"`     // of kl
	Method       string  `json:"method" yaml:"method"`                                   // spiel-ag, spiel-ma, static-grad, static-random, lora, dsee or full
	Density      float64 `json:"density,omitempty" yaml:"density,omitempty"`             // trainable weights, as a share of all parameters of the model
	Params       int64   `json:"params,omitempty" yaml:"params,omitempty"`               // trainable weights
	Rank         int     `json:"rank,omitempty" yaml:"rank,omitempty"`                   // of lora and dsee
	Alpha        float64 `json:"alpha,omitempty" yaml:"alpha,omitempty"`                 // of lora and dsee: products are scaled by alpha/rank
	LowRank      string  `json:"low-rank,omitempty" yaml:"low-rank,omitempty"`           // unmerged or merged-masked
	Support      string  `json:"support,omitempty" yaml:"support,omitempty"`             // restricted (to what a pruned model has kept) or free
	Size         string  `json:"size,omitempty" yaml:"size,omitempty"`                   // with support free: what the model may take, as 90MB; below that pruned weights come back
	Steps        int     `json:"steps" yaml:"steps"`                                     // of the optimizer
	Batch        int     `json:"batch" yaml:"batch"`                                     // windows or instructions of a microbatch
	Accumulation int     `json:"accumulation" yaml:"accumulation"`                       // microbatches of a step
	LearningRate float64 `json:"learning-rate,omitempty" yaml:"learning-rate,omitempty"` // default: that of the method for a model of the size
	Warmup       int     `json:"warmup,omitempty" yaml:"warmup,omitempty"`               // steps in which the rate rises
	Scheduler    string  `json:"scheduler,omitempty" yaml:"scheduler,omitempty"`         // constant, linear or cosine
	WeightDecay  float64 `json:"weight-decay,omitempty" yaml:"weight-decay,omitempty"`   // towards the weights trained from

	ReselectionSteps           int     `json:"reselection-steps,omitempty" yaml:"reselection-steps,omitempty"`                       // S of SpIEL
	SelectionAccumulationSteps int     `json:"selection-accumulation-steps,omitempty" yaml:"selection-accumulation-steps,omitempty"` // γ of SpIEL
	InitialReselectionRate     float64 `json:"initial-reselection-rate,omitempty" yaml:"initial-reselection-rate,omitempty"`         // r0 of SpIEL
	CrossTensor                bool    `json:"cross-tensor,omitempty" yaml:"cross-tensor,omitempty"`                                 // SpIEL may move the budget between tensors

	Seed        uint64 `json:"seed" yaml:"seed"`         // of every random choice
	Numerics    string `json:"numerics" yaml:"numerics"` // exact or fast
	ModelDigest string `json:"model-digest,omitempty" yaml:"model-digest,omitempty"`
	TextDigest  string `json:"text-digest,omitempty" yaml:"text-digest,omitempty"`
}

// SetDefaults fills in every field that was left zero and has a default that does not depend on the model.
func (j *FinetuneJob) SetDefaults() {
	set(&j.Model, Builtin)
	set(&j.SeqLen, 512)
	set(&j.Part, PartAll)
	set(&j.Method, "spiel-ag")
	if j.Config != "" {
		set(&j.Objective, ObjectiveKL)
	}
	set(&j.Objective, ObjectiveNLL)
	if j.Objective == ObjectiveKL {
		set(&j.Temperature, 1)
	}
	if j.Params == 0 && j.Method != "full" && !(j.Method == "lora" && j.Rank != 0) {
		set(&j.Density, 0.02)
	}
	set(&j.Steps, 70)
	set(&j.Batch, 8)
	set(&j.Accumulation, 1)
	set(&j.Numerics, NumericsExact)
	set(&j.Name, strings.TrimSuffix(j.ModelName(), ".gguf")+"-"+j.Method)
}

// ModelName is what the model is called for short, as that of a [Job].
func (j FinetuneJob) ModelName() string { return Job{Model: j.Model}.ModelName() }

// Tokens is how many tokens the whole training learns from, at most.
func (j FinetuneJob) Tokens() int64 {
	return int64(j.Steps) * int64(j.Batch) * int64(j.Accumulation) * int64(j.SeqLen)
}

// Validate reports the first thing that is wrong with a job whose defaults are set, but for what only the trainer knows. It looks at no
// file.
func (j FinetuneJob) Validate() error {
	switch {
	case j.Model == "":
		return errors.New("--model: no model given")
	case j.Text == "" && j.Model != Builtin:
		return fmt.Errorf("--text: model %s needs a text to learn from", j.Model)
	case j.SeqLen < 2:
		return fmt.Errorf("--seq-len: %d, want at least 2 tokens", j.SeqLen)
	case j.MaxWindows < 0:
		return fmt.Errorf("--max-windows: %d is negative", j.MaxWindows)
	case j.Steps < 1:
		return fmt.Errorf("--steps: %d, want at least 1", j.Steps)
	case j.Batch < 1 || j.Batch > 1<<16:
		return fmt.Errorf("--batch: %d, want 1 to %d", j.Batch, 1<<16)
	case j.Accumulation < 1 || j.Accumulation > 1<<16:
		return fmt.Errorf("--accumulation: %d, want 1 to %d", j.Accumulation, 1<<16)
	case j.Density != 0 && j.Params != 0:
		return errors.New("--density, --params: give one of them")
	case math.IsNaN(j.Temperature) || j.Temperature < 0 || j.Temperature > 100:
		return fmt.Errorf("--temperature: %v, want 0 to 100", j.Temperature)
	}
	if j.Support == SupportFree && j.Size == "" {
		return fmt.Errorf("--support: %s needs --size, what the model may take with the weights that come back, such as 90MB", SupportFree)
	}
	if j.Size != "" {
		if j.Support != SupportFree {
			return fmt.Errorf("--size: it is of --support %s", SupportFree)
		}
		if size, err := parseSize(j.Size); err != nil || !(size >= 1 && size <= 1<<53) {
			return fmt.Errorf("--size: %q is not a size such as 90MB", j.Size)
		}
	}
	if err := oneOf("--part", j.Part, PartAll, PartCalibration); err != nil {
		return err
	}
	if err := oneOf("--numerics", j.Numerics, NumericsExact, NumericsFast); err != nil {
		return err
	}
	return oneOf("--objective", j.Objective, ObjectiveKL, ObjectiveNLL)
}

// Instructions tells whether the text is instruction data, a line of JSON each.
func (j FinetuneJob) Instructions() bool {
	ext := filepath.Ext(j.Text)
	return ext == ".jsonl" || ext == ".ndjson"
}

// PrepareFinetuneInput is the input of activity [ActivityPrepareFinetune], which opens the model and the text of a training folder, measures
// the model before the training and writes prepared.json.
type PrepareFinetuneInput struct {
	Folder string `json:"folder"`
}

// PrepareFinetuneResult is the result of [ActivityPrepareFinetune].
type PrepareFinetuneResult struct {
	ModelDigest string   `json:"model_digest"`
	Model       string   `json:"model"`     // "SmolLM2-135M-Instruct llama 134.5 M parameters"
	Trainable   int64    `json:"trainable"` // parameters
	Targets     int      `json:"targets"`   // tensors
	Examples    int      `json:"examples"`  // windows or instructions to learn from
	Cut         int      `json:"cut,omitempty"`
	Step        int      `json:"step"`           // that the last checkpoint has
	Stops       []int    `json:"stops"`          // steps after which an activity ends, ascending; the last is the end of the training
	Before      Measured `json:"before"`         // on held-out data
	Bytes       int64    `json:"bytes"`          // of the model as it is stored before
	Note        string   `json:"note,omitempty"` // for people
}

// Measured is how a model does on held-out data, in nats a token.
type Measured struct {
	NLL      float64 `json:"nll"`
	NLLError float64 `json:"nll_stderr,omitempty"`
	KL       float64 `json:"kl"` // of the dense model to it
	KLError  float64 `json:"kl_stderr,omitempty"`
	Windows  int     `json:"windows"`
}

// TrainInput is the input of activity [ActivityTrain], which goes on from the last checkpoint of a training folder up to a step.
type TrainInput struct {
	Folder string `json:"folder"`
	To     int    `json:"to"`
}

// TrainResult is the result of [ActivityTrain].
type TrainResult struct {
	Step    int     `json:"step"`
	Loss    float64 `json:"loss"`   // of the last step
	Tokens  int64   `json:"tokens"` // learnt from by this activity
	Seconds float64 `json:"seconds"`
}

// FinishFinetuneInput is the input of activity [ActivityFinishFinetune], which measures the trained model, and writes delta.safetensors and
// result.json into the folder.
type FinishFinetuneInput struct {
	Folder string `json:"folder"`
}

// FinishFinetuneResult is the result of [ActivityFinishFinetune], and the content of result.json.
type FinishFinetuneResult struct {
	Delta      string   `json:"delta"`             // path of delta.safetensors
	PEFT       string   `json:"peft,omitempty"`    // folder of the adapter for Hugging Face PEFT; empty where that has no layout for the delta
	DeltaBytes int64    `json:"delta_bytes"`       // of its values, indices and factors
	Beside     int64    `json:"beside"`            // of Bytes, what cannot be merged
	Regrown    int64    `json:"regrown,omitempty"` // of Bytes, what weights take that were pruned before
	Bytes      int64    `json:"bytes"`             // of the model as it is stored after: what else is merged takes none
	Trainable  int64    `json:"trainable"`
	Steps      int      `json:"steps"`
	Tokens     int64    `json:"tokens"` // learnt from in all
	Loss       float64  `json:"loss"`   // of the last step
	Before     Measured `json:"before"`
	After      Measured `json:"after"`
}
