package sparseft

import (
	"fmt"
	"math"
	"strings"
)

// Method is a way to fine-tune.
type Method string

// Methods. All are behind the same [Trainer].
const (
	SpIELAG      Method = "spiel-ag"      // sparse, support grown by accumulated gradients, AdamW
	SpIELMA      Method = "spiel-ma"      // sparse, support grown by SM3's momentum approximation, SM3
	StaticRandom Method = "static-random" // sparse, support drawn once, AdamW
	StaticGrad   Method = "static-grad"   // sparse, support of the largest gradients of the first step, AdamW
	LoRA         Method = "lora"          // low rank, AdamW
	DSEE         Method = "dsee"          // low rank plus static sparse, AdamW
	Full         Method = "full"          // every weight, AdamW
)

// Methods lists the methods by the names that options take.
var Methods = []Method{SpIELAG, SpIELMA, StaticRandom, StaticGrad, LoRA, DSEE, Full}

// Policy is a function of the step.
type Policy string

// Policies of learning and reselection rates.
const (
	Constant Policy = "constant" // of the learning rate only
	Linear   Policy = "linear"
	Cosine   Policy = "cosine"
)

// Support says which weights of a pruned tensor may change.
type Support string

// Supports.
const (
	Restricted Support = "restricted" // those of the mask: zeros and N:M patterns stay as they are
	Free       Support = "free"       // of others as many as the target's Regrow allows
)

// Candidates says which gradient fixes the candidates for growth at the start of a window.
type Candidates string

// Candidate gradients. With one microbatch a step they are the same.
const (
	// FirstStep is that of the whole first step, so that the choice does not depend on how a batch is cut into
	// microbatches. It is summed densely: 4 bytes for each weight of the targets during that step.
	FirstStep Candidates = "first-step"
	// FirstMicrobatch is that of the first microbatch, as in the reference implementation: dense in blocks of rows only.
	FirstMicrobatch Candidates = "first-microbatch"
)

// LowRankMode says what becomes of the low-rank product of [LoRA] and [DSEE] on a pruned tensor.
type LowRankMode string

// Low-rank modes.
const (
	Unmerged     LowRankMode = "unmerged"      // W + sBA + S: the factors are stored beside the model; merged, they fill its zeros
	MergedMasked LowRankMode = "merged-masked" // (W + sBA + S)⊙M: trained as it is deployed
)

// Options are what a training is told. They do not change while it lasts.
type Options struct {
	Method Method `json:"method"`
	Seed   uint64 `json:"seed"`
	Base   string `json:"base,omitempty"` // digest of the model that is trained from

	// The budget of trainable weights of the sparse methods and, where Rank is 0, of LoRA: NumTunableWeights, or Density
	// (above 0, at most 1) times ModelParameters, the number of all parameters of the model, embeddings included. It is split
	// over the targets by their sizes: k = ⌊budget·|W|/Σ|W|⌋.
	Density           float64 `json:"density,omitempty"`
	NumTunableWeights int64   `json:"num_tunable_weights,omitempty"`
	ModelParameters   int64   `json:"model_parameters,omitempty"`

	Steps        int    `json:"max_steps"`                   // optimizer steps, 1 or more
	Accumulation int    `json:"gradient_accumulation_steps"` // microbatches in a step, 1 or more
	Warmup       int    `json:"warmup_steps"`                // steps in which the learning rate rises linearly from 0
	Scheduler    Policy `json:"lr_scheduler_type"`

	LearningRate float64 `json:"learning_rate"` // above 0, below 10
	Beta1        float64 `json:"adam_beta1"`    // 0 or more, below 1
	Beta2        float64 `json:"adam_beta2"`    // 0 or more, below 1
	Epsilon      float64 `json:"epsilon"`       // 1e-12 to 1; added to √v before bias correction (Adam), to ν within the root (SM3)
	WeightDecay  float64 `json:"weight_decay"`  // decoupled, of the deltas: towards the weights trained from

	ReselectionSteps           int        `json:"reselection_steps"`            // S: steps from one reselection to the next
	SelectionAccumulationSteps int        `json:"selection_accumulation_steps"` // γ: reselections are after steps γ, S+γ, 2S+γ, …; 1 to S-1
	InitialReselectionRate     float64    `json:"initial_reselection_rate"`     // r0: share replaced at first; 0 to 1
	ReselectionRatePolicy      Policy     `json:"reselection_rate_policy"`
	Candidates                 Candidates `json:"candidates"`
	CandidateFactor            int        `json:"candidate_factor"` // candidates for each trainable weight; 1 as published
	CrossTensor                bool       `json:"cross_tensor"`     // growth moves the budget between tensors; false as published

	Support Support `json:"support"`

	Rank    int         `json:"r,omitempty"`          // of LoRA and DSEE
	Alpha   float64     `json:"lora_alpha,omitempty"` // the product is scaled by Alpha/Rank
	LowRank LowRankMode `json:"low_rank,omitempty"`
	Omega   Method      `json:"omega,omitempty"` // how DSEE chooses the support of its sparse part: static-grad or static-random

	// Divergence ends a training whose loss, averaged over about ten steps, is more than this many times the lowest such
	// average before. 0: never.
	Divergence float64 `json:"divergence"`
}

// Defaults returns the options of a method as published, with learning rates for models of some 100M parameters. The
// budget, Steps and what identifies the run are the caller's.
func Defaults(m Method) Options {
	o := Options{
		Method: m, Accumulation: 1, Scheduler: Linear, LearningRate: 1e-4, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-6,
		ReselectionSteps: 20, SelectionAccumulationSteps: 5, InitialReselectionRate: 0.2, ReselectionRatePolicy: Linear,
		Candidates: FirstStep, CandidateFactor: 1, Support: Restricted, Divergence: 3,
	}
	switch m {
	case SpIELMA:
		o.LearningRate, o.Epsilon = 1e-3, 1e-8
	case LoRA, DSEE:
		o.Rank, o.Alpha, o.LowRank = 8, 16, Unmerged
	}
	if m == DSEE {
		o.Omega = StaticGrad
	}
	return o
}

// Check returns an error that names the first option that no training can follow.
func (o Options) Check() error {
	between := func(name string, v, low, high float64) error {
		if !(v >= low && v <= high) {
			return fmt.Errorf("sparseft: %s is %v, want %v to %v", name, v, low, high)
		}
		return nil
	}
	const many = math.MaxInt32
	below1 := math.Nextafter(1, 0)
	checks := []error{
		oneOf("method", o.Method, Methods...),
		between("max_steps", float64(o.Steps), 1, many),
		between("gradient_accumulation_steps", float64(o.Accumulation), 1, many),
		between("warmup_steps", float64(o.Warmup), 0, many),
		oneOf("lr_scheduler_type", o.Scheduler, Constant, Linear, Cosine),
		between("learning_rate", o.LearningRate, math.SmallestNonzeroFloat32, 10),
		between("adam_beta1", o.Beta1, 0, below1),
		between("adam_beta2", o.Beta2, 0, below1),
		between("epsilon", o.Epsilon, 1e-12, 1),
		between("weight_decay", o.WeightDecay, 0, 1/o.LearningRate),
		oneOf("candidates", o.Candidates, FirstStep, FirstMicrobatch),
		between("candidate_factor", float64(o.CandidateFactor), 1, 1024),
		oneOf("support", o.Support, Restricted, Free),
		between("divergence", o.Divergence, 0, math.MaxFloat64),
	}
	if o.reselects() {
		checks = append(checks,
			between("reselection_steps", float64(o.ReselectionSteps), 2, many),
			between("selection_accumulation_steps", float64(o.SelectionAccumulationSteps), 1, float64(o.ReselectionSteps-1)),
			between("initial_reselection_rate", o.InitialReselectionRate, 0, 1),
			oneOf("reselection_rate_policy", o.ReselectionRatePolicy, Linear, Cosine))
		if o.Steps <= o.SelectionAccumulationSteps {
			checks = append(checks, fmt.Errorf("sparseft: %s with max_steps %d never reselects, the first time is after step %d; take static-grad or fewer selection_accumulation_steps",
				o.Method, o.Steps, o.SelectionAccumulationSteps))
		}
	} else if o.CrossTensor {
		checks = append(checks, fmt.Errorf("sparseft: cross_tensor moves the budget when the support is reselected, which %s does not", o.Method))
	}
	if o.lowRank() {
		checks = append(checks,
			between("r", float64(o.Rank), 0, many),
			between("lora_alpha", o.Alpha, math.SmallestNonzeroFloat32, 1e6),
			oneOf("low_rank", o.LowRank, Unmerged, MergedMasked))
		if o.Method == DSEE {
			checks = append(checks, between("r", float64(o.Rank), 1, many), oneOf("omega", o.Omega, StaticGrad, StaticRandom))
		}
	}
	if o.budgeted() {
		switch {
		case o.NumTunableWeights != 0 && o.Density != 0:
			checks = append(checks, fmt.Errorf("sparseft: both density and num_tunable_weights are given"))
		case o.NumTunableWeights != 0:
			checks = append(checks, between("num_tunable_weights", float64(o.NumTunableWeights), 1, 1<<52))
		default:
			checks = append(checks, between("density", o.Density, math.SmallestNonzeroFloat64, 1),
				between("model_parameters", float64(o.ModelParameters), 1, 1<<52))
		}
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

// reselects tells whether the support changes in training.
func (o Options) reselects() bool { return o.Method == SpIELAG || o.Method == SpIELMA }

// lowRank tells whether there are factors to train.
func (o Options) lowRank() bool { return o.Method == LoRA || o.Method == DSEE }

// budgeted tells whether the number of trainable weights comes from the budget.
func (o Options) budgeted() bool { return o.Method != Full && (o.Method != LoRA || o.Rank == 0) }

// oneOf returns an error where v is none of the values that an option takes.
func oneOf[T ~string](name string, v T, values ...T) error {
	var names []string
	for _, known := range values {
		if v == known {
			return nil
		}
		names = append(names, string(known))
	}
	return fmt.Errorf("sparseft: %s is %q, want %s", name, v, strings.Join(names, ", "))
}
