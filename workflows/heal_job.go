package workflows

import "fmt"

// Points of the front that a run may heal.
const (
	HealBest  = "best"  // the search's answers
	HealFront = "front" // all that are measured on held-out text
)

// Sizes of a healing, in tokens, unless the job says otherwise.
const (
	healTokens = 300_000 // in all
	healStep   = 4096    // of a step
)

// healRank is the rank of LoRA that heals, unless the job says otherwise: what lies beside quantized weights counts, and bits do more than ranks.
const healRank = 1

// validateHealing reports what is wrong with how a job heals, but for what only the trainer knows.
func (j Job) validateHealing() error {
	if j.Heal == "" {
		if j.HealMethod != "" || j.HealDensity != 0 || j.HealRank != 0 || j.HealLearningRate != 0 || j.HealSteps != 0 {
			return fmt.Errorf("--heal-method, --heal-density, --heal-rank, --heal-learning-rate, --heal-steps: --heal says what is healed: %s or %s", HealBest, HealFront)
		}
		return nil
	}
	return oneOf("--heal", j.Heal, HealBest, HealFront)
}

// Healing is the training that heals a point of a run whose levels are in a config file and a bank: distillation from the dense model on the text that the
// run calibrated on, so that what the search and the held-out numbers were measured on stays unseen. What is pruned stays zero.
func (j Job) Healing(config, bank string) FinetuneJob {
	f := FinetuneJob{
		Model: j.Model, ModelDigest: j.ModelDigest, Config: config, Bank: bank, Text: j.Text, TextDigest: j.TextDigest, SeqLen: j.SeqLen, MaxWindows: j.MaxWindows,
		Part: PartCalibration, Objective: ObjectiveKL, Method: j.HealMethod, Density: j.HealDensity, Rank: j.HealRank, LearningRate: j.HealLearningRate, Support: "restricted",
		Steps: j.HealSteps, Batch: max(1, healStep/j.SeqLen), Seed: j.Seed, Numerics: j.Numerics,
	}
	f.SetDefaults()
	return f
}

// HealInput is the input of activity [ActivityHeal], which chooses the points of a reported front that are to be healed and makes a training folder for each.
type HealInput struct {
	Folder string `json:"folder"`
}

// HealResult is the result of [ActivityHeal].
type HealResult struct {
	Points    []HealPoint `json:"points"` // that are not healed yet
	Healed    int         `json:"healed"` // that are
	Method    string      `json:"method"`
	Objective string      `json:"objective"`
	Steps     int         `json:"steps"` // of each
}

// HealPoint is a point to be healed.
type HealPoint struct {
	ID     string `json:"id"`     // as in front.json
	Folder string `json:"folder"` // absolute path of the training folder
}

// ScoreHealedInput is the input of activity [ActivityScoreHealed], which measures a healed point on the held-out windows of its run, as the run's
// own points are measured.
type ScoreHealedInput struct {
	Folder string `json:"folder"`
	ID     string `json:"id"`
}

// ScoreHealedResult is the result of [ActivityScoreHealed].
type ScoreHealedResult struct {
	Before  HeldOut `json:"before"`
	HeldOut HeldOut `json:"held_out"`
}

// Healing is what there is to show of a run that heals its points.
type Healing struct {
	Done     int       `json:"done"`
	Total    int       `json:"total"`
	Steps    int       `json:"steps"`              // of each
	Point    string    `json:"point,omitempty"`    // that is being healed
	Flow     string    `json:"flow,omitempty"`     // workflow that heals it
	Failed   []string  `json:"failed,omitempty"`   // why points could not be healed
	Training *Training `json:"training,omitempty"` // of Flow, filled in by AskStatus
}
