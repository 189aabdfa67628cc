package workflows

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Spaces that a job may search.
const (
	SpaceSparsity = "sparsity" // a sparsity for each linear module
	SpaceQuant    = "quant"    // a bit width for each linear module
	SpaceDrop     = "drop"     // attention and MLP sub-blocks kept or dropped
)

// Search methods.
const (
	MethodEvoPress = "evopress"
	MethodRandom   = "random"
)

// Schedules of MethodEvoPress.
const (
	ScheduleScaled    = "scaled"    // offspring, stages and their text follow from the budget
	SchedulePublished = "published" // EvoPress's: 26 to 184 million tokens
)

// Numerics of the evaluations: exact is float32, with results that are bit-identical on every CPU; fast is bfloat16 with sums
// in float32, bit-identical on one kind of CPU.
const (
	NumericsExact = "exact"
	NumericsFast  = "fast"
)

// Runtimes that a job may be deployable to.
const (
	DeployableGGUF         = "gguf"         // llama.cpp: units, embeddings and head among them, are of ggml's types, and bytes are those of the file
	DeployableVLLM         = "vllm"         // compressed-tensors that vLLM has kernels for: modules that it makes one matrix of are one unit
	DeployableTransformers = "transformers" // compressed-tensors that Hugging Face transformers unpacks
)

// Methods of the quant space.
const (
	QuantRTN     = "rtn"     // each weight by itself
	QuantImatrix = "imatrix" // by the mean squares of the inputs; ggml's types only
	QuantGPTQ    = "gptq"    // with error feedback
)

// Builtin is the model reference of the small embedded model.
const Builtin = "builtin"

// Job is what a user asks for: the content of a run folder's job.yaml. Fields are only ever added.
// A zero field means its default; see [Job.SetDefaults].
type Job struct {
	Name              string   `json:"name,omitempty" yaml:"name,omitempty"`                                 // what the run is called; default: the model and the space
	Model             string   `json:"model" yaml:"model"`                                                   // a folder, a .gguf file (absolute once stored), hf:owner/name (with @commit once stored) or "builtin"
	Text              string   `json:"text,omitempty" yaml:"text,omitempty"`                                 // file to calibrate, search and (without HeldOutText) test on; empty only for "builtin"
	HeldOutText       string   `json:"held-out-text,omitempty" yaml:"held-out-text,omitempty"`               // file to test on
	SeqLen            int      `json:"seq-len" yaml:"seq-len"`                                               // tokens a window
	MaxWindows        int      `json:"max-windows,omitempty" yaml:"max-windows,omitempty"`                   // windows of the text to use; 0 = all
	CalibrationTokens int64    `json:"calibration-tokens" yaml:"calibration-tokens"`                         // tokens that Hessians are summed over, at most
	Space             string   `json:"space" yaml:"space"`                                                   // sparsity, quant or drop
	Deployable        string   `json:"deployable,omitempty" yaml:"deployable,omitempty"`                     // runtime that is to load the result: gguf, vllm or transformers; empty: any form of storage
	Target            string   `json:"target,omitempty" yaml:"target,omitempty"`                             // sparsity=0.5, bpw=3, size=90MB, drop=0.25; empty: the whole front
	Method            string   `json:"method" yaml:"method"`                                                 // evopress or random
	Schedule          string   `json:"schedule,omitempty" yaml:"schedule,omitempty"`                         // of evopress: scaled (to the budget) or published (that of the paper, for accelerators)
	Budget            int64    `json:"budget" yaml:"budget"`                                                 // tokens of candidates run forward in the search
	Seed              uint64   `json:"seed" yaml:"seed"`                                                     // of every random choice
	Numerics          string   `json:"numerics" yaml:"numerics"`                                             // exact or fast
	SparsityMethod    string   `json:"sparsity-method,omitempty" yaml:"sparsity-method,omitempty"`           // sparsegpt, wanda or magnitude
	SparsityStep      float64  `json:"sparsity-step,omitempty" yaml:"sparsity-step,omitempty"`               // between two levels: below 1 a share of each module's weights, from 1 on a number of weights that is the same in every module (EvoPress's Δ)
	SparsityPattern   string   `json:"sparsity-pattern,omitempty" yaml:"sparsity-pattern,omitempty"`         // 2:4 and the like: a module has it or is dense, in place of steps
	QuantMethod       string   `json:"quant-method,omitempty" yaml:"quant-method,omitempty"`                 // gptq or rtn, and imatrix if deployable
	Group             int      `json:"group,omitempty" yaml:"group,omitempty"`                               // weights that share a scale
	Bits              []int    `json:"bits,omitempty,flow" yaml:"bits,omitempty,flow"`                       // bit widths that the quant space may use, 2 to 8
	Types             []string `json:"types,omitempty,flow" yaml:"types,omitempty,flow"`                     // that a deployable quant space may use, the preferred of equal size first: ggml's, or dense, int8, fp8 and layouts as 4b-g64
	Heal              string   `json:"heal,omitempty" yaml:"heal,omitempty"`                                 // points to fine-tune at the end: best, the search's answers, or front, all that are measured on held-out text; empty: none
	HealMethod        string   `json:"heal-method,omitempty" yaml:"heal-method,omitempty"`                   // as that of a [FinetuneJob]
	HealDensity       float64  `json:"heal-density,omitempty" yaml:"heal-density,omitempty"`                 // as that of a [FinetuneJob]
	HealRank          int      `json:"heal-rank,omitempty" yaml:"heal-rank,omitempty"`                       // as that of a [FinetuneJob]
	HealLearningRate  float64  `json:"heal-learning-rate,omitempty" yaml:"heal-learning-rate,omitempty"`     // as that of a [FinetuneJob]
	HealSteps         int      `json:"heal-steps,omitempty" yaml:"heal-steps,omitempty"`                     // of the optimizer, each of about healStep tokens
	Workers           int      `json:"workers,omitempty" yaml:"workers,omitempty"`                           // evaluations at once in this process; no influence on results
	Bank              string   `json:"bank,omitempty" yaml:"bank,omitempty"`                                 // folder that holds banks
	ModelDigest       string   `json:"model-digest,omitempty" yaml:"model-digest,omitempty"`                 // SHA-256 of the model's content, filled in when prepared
	TextDigest        string   `json:"text-digest,omitempty" yaml:"text-digest,omitempty"`                   // SHA-256 of the text, filled in when prepared
	HeldOutTextDigest string   `json:"held-out-text-digest,omitempty" yaml:"held-out-text-digest,omitempty"` // SHA-256 of the held-out text, filled in when prepared
}

// SetDefaults fills in every field that was left zero and has a default, those of the chosen space included.
func (j *Job) SetDefaults() {
	set(&j.Model, Builtin)
	set(&j.SeqLen, 512)
	set(&j.Space, SpaceQuant)
	set(&j.Method, MethodEvoPress)
	set(&j.Schedule, ScheduleScaled)
	set(&j.Numerics, NumericsExact)
	set(&j.Workers, 1)
	switch j.Space {
	case SpaceSparsity:
		set(&j.SparsityMethod, "sparsegpt")
		if j.SparsityPattern == "" {
			set(&j.SparsityStep, 0.125)
		}
	case SpaceQuant:
		set(&j.QuantMethod, QuantGPTQ)
		if j.Deployable != "" {
			if len(j.Types) == 0 {
				j.Types = slices.Clone(DefaultTypes(j.Deployable))
			}
			break
		}
		set(&j.Group, 64)
		if len(j.Bits) == 0 {
			j.Bits = []int{2, 3, 4, 5, 6}
		}
	}
	if j.Schedule == SchedulePublished { // more than it takes: it ends by its generations
		set(&j.Budget, 1<<28)
	}
	if j.Model == Builtin { // a small model: enough to show a front within two minutes on two cores
		set(&j.CalibrationTokens, 1<<15)
		set(&j.Budget, 1<<19)
	} else {
		set(&j.CalibrationTokens, 1<<16)
		set(&j.Budget, 1<<20)
	}
	if j.Heal != "" {
		method := "spiel-ag"
		if j.Space == SpaceQuant { // whose weights take no change in: it lies beside them, and counts
			method = "lora"
		}
		set(&j.HealMethod, method)
		switch j.HealMethod {
		case "full":
		case "lora":
			if j.HealDensity == 0 {
				set(&j.HealRank, healRank)
			}
		default:
			set(&j.HealDensity, 0.02)
		}
		set(&j.HealSteps, healTokens/healStep)
	}
	set(&j.Name, strings.TrimSuffix(j.ModelName(), ".gguf")+"-"+j.Space)
}

// ModelName is what the model is called for short: the last part of its reference, without the revision of one of the
// Hugging Face hub.
func (j Job) ModelName() string {
	name := filepath.Base(j.Model)
	if repo, _, ok := strings.Cut(j.Model, "@"); ok && strings.HasPrefix(j.Model, "hf:") && !strings.HasSuffix(name, ".gguf") {
		name = filepath.Base(repo)
	}
	return name
}

// DefaultTypes are the types that a quant space that is deployable to a runtime uses. Of types of one size in a matrix only the first counts, and no
// type is here that another of its size or less is better than: q4_0 and q4_1 beside iq4_nl and q5_0, int8 and fp8 beside 8b-gall-sym.
func DefaultTypes(deployable string) []string {
	if deployable == DeployableGGUF {
		return []string{"q8_0", "q6_K", "q5_K", "q5_1", "q5_0", "q4_K", "iq4_nl", "mxfp4", "q3_K", "q2_K"}
	}
	return []string{"dense", "8b-gall-sym", "4b-g32", "4b-g64", "4b-g128", "4b-g128-sym", "4b-gall-sym"}
}

// set gives *p the value v if it is zero.
func set[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate reports the first thing that is wrong with a job whose defaults are set. The error names
// the flag (which is also the key of job.yaml). It looks at no file.
func (j Job) Validate() error {
	switch {
	case j.Model == "":
		return errors.New("--model: no model given")
	case j.Text == "" && j.Model != Builtin:
		return fmt.Errorf("--text: model %s needs a text to calibrate and search on", j.Model)
	case j.SeqLen < 2:
		return fmt.Errorf("--seq-len: %d, want at least 2 tokens", j.SeqLen)
	case j.MaxWindows < 0:
		return fmt.Errorf("--max-windows: %d is negative", j.MaxWindows)
	case j.CalibrationTokens < 1:
		return fmt.Errorf("--calibration-tokens: %d, want at least 1", j.CalibrationTokens)
	case j.Budget < 1:
		return fmt.Errorf("--budget: %d, want at least 1 token", j.Budget)
	case j.Workers < 1:
		return fmt.Errorf("--workers: %d, want at least 1", j.Workers)
	}
	if err := oneOf("--method", j.Method, MethodEvoPress, MethodRandom); err != nil {
		return err
	}
	if err := oneOf("--schedule", j.Schedule, ScheduleScaled, SchedulePublished); err != nil {
		return err
	}
	if j.Schedule == SchedulePublished && (j.Method != MethodEvoPress || j.Target == "") {
		return fmt.Errorf("--schedule: %s is for method %s with a target", SchedulePublished, MethodEvoPress)
	}
	if err := oneOf("--numerics", j.Numerics, NumericsExact, NumericsFast); err != nil {
		return err
	}
	if err := oneOf("--space", j.Space, SpaceSparsity, SpaceQuant, SpaceDrop); err != nil {
		return err
	}
	if j.Deployable != "" {
		if err := oneOf("--deployable", j.Deployable, DeployableGGUF, DeployableVLLM, DeployableTransformers); err != nil {
			return err
		}
		if j.Space != SpaceQuant {
			return fmt.Errorf("--deployable: %s saves bytes with --space %s alone", j.Deployable, SpaceQuant)
		}
	}
	if err := j.validateHealing(); err != nil {
		return err
	}
	switch j.Space {
	case SpaceSparsity:
		if err := oneOf("--sparsity-method", j.SparsityMethod, "sparsegpt", "wanda", "magnitude"); err != nil {
			return err
		}
		if j.SparsityPattern != "" {
			if j.SparsityStep != 0 {
				return errors.New("--sparsity-pattern, --sparsity-step: a module has the pattern or is dense, there are no steps")
			}
			break
		}
		if s := j.SparsityStep; !(s >= 1.0/64 && s <= 0.25 || s >= 1 && s == math.Trunc(s) && s < 1<<40) {
			return fmt.Errorf("--sparsity-step: %v, want a share of a module's weights from 1/64 to 0.25, or a whole number of weights", s)
		}
	case SpaceQuant:
		if j.Deployable != "" {
			if err := j.validateTypes(); err != nil {
				return err
			}
			break
		}
		if err := oneOf("--quant-method", j.QuantMethod, QuantGPTQ, QuantRTN); err != nil {
			return err
		}
		if len(j.Types) > 0 {
			return fmt.Errorf("--types: %s are for a --deployable space", strings.Join(j.Types, ", "))
		}
		if j.Group < 1 {
			return fmt.Errorf("--group: %d, want at least 1", j.Group)
		}
		if len(j.Bits) == 0 {
			return errors.New("--bits: no bit width given")
		}
		for i, b := range j.Bits {
			if b < 2 || b > 8 {
				return fmt.Errorf("--bits: %d, want 2 to 8", b)
			}
			if slices.Contains(j.Bits[:i], b) {
				return fmt.Errorf("--bits: %d is given twice", b)
			}
		}
	}
	target, err := ParseTarget(j.Space, j.Target)
	if err == nil && j.Schedule == SchedulePublished && j.Space == SpaceDrop && target.Kind != TargetDrop {
		return fmt.Errorf("--schedule: %s of space %s needs a target drop=VALUE", SchedulePublished, SpaceDrop)
	}
	return err
}

// validateTypes checks what a deployable quant space is made of; whether there are such types is for who knows them.
func (j Job) validateTypes() error {
	methods := []string{QuantGPTQ, QuantRTN}
	if j.Deployable == DeployableGGUF {
		methods = append(methods, QuantImatrix)
	}
	if err := oneOf("--quant-method", j.QuantMethod, methods...); err != nil {
		return err
	}
	if j.Group != 0 || len(j.Bits) > 0 {
		return fmt.Errorf("--bits, --group: --deployable %s takes --types", j.Deployable)
	}
	if len(j.Types) == 0 {
		return errors.New("--types: no type given")
	}
	for i, t := range j.Types {
		if slices.Contains(j.Types[:i], t) {
			return fmt.Errorf("--types: %s is given twice", t)
		}
	}
	return nil
}

// oneOf returns an error that names flag if v is none of the allowed values.
func oneOf(flag, v string, allowed ...string) error {
	if slices.Contains(allowed, v) {
		return nil
	}
	return fmt.Errorf("%s: %q is not %s", flag, v, strings.Join(allowed, " or "))
}

// Kinds of a [Target].
const (
	TargetNone     = ""         // the whole front
	TargetSparsity = "sparsity" // share of the linear modules' weights that is zero
	TargetBPW      = "bpw"      // stored bits a weight of the linear modules
	TargetSize     = "size"     // stored bytes of the whole model
	TargetDrop     = "drop"     // share of the attention and MLP sub-blocks that is dropped
)

// Target is the size that a search is held to.
type Target struct {
	Kind  string
	Value float64 // a share in [0,1], bits a weight, or bytes
}

// targetKinds lists the kinds that fit each space.
var targetKinds = map[string][]string{
	SpaceSparsity: {TargetSparsity, TargetSize},
	SpaceQuant:    {TargetBPW, TargetSize},
	SpaceDrop:     {TargetDrop, TargetSize},
}

// ParseTarget reads a target such as "bpw=3" or "size=90MB" for a space. The empty string is the
// whole front. Sizes take the suffixes B, kB or KB, MB, GB (powers of 1000) and KiB, MiB, GiB.
func ParseTarget(space, s string) (Target, error) {
	if s == "" {
		return Target{}, nil
	}
	kind, text, ok := strings.Cut(s, "=")
	if !ok || !slices.Contains(targetKinds[space], kind) {
		return Target{}, fmt.Errorf("--target: %q, want %s=VALUE for space %s", s, strings.Join(targetKinds[space], "=VALUE or "), space)
	}
	var v float64
	var err error
	if kind == TargetSize {
		v, err = parseSize(text)
	} else {
		v, err = strconv.ParseFloat(text, 64)
	}
	top := 1.0
	switch kind {
	case TargetBPW:
		top = 16
	case TargetSize:
		top = 1 << 53
	}
	if err != nil || math.IsNaN(v) || v < 0 || v > top || (v == 0 && top > 1) {
		return Target{}, fmt.Errorf("--target: %q: %q is not a number that %s can have", s, text, kind)
	}
	return Target{Kind: kind, Value: v}, nil
}

// parseSize reads bytes with an optional suffix.
func parseSize(s string) (float64, error) {
	units := []struct {
		suffix string
		bytes  float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
			return v * u.bytes, err
		}
	}
	return strconv.ParseFloat(s, 64)
}
