package cli

import (
	"context"
	"fmt"

	"gopkg.in/yaml.v3"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/workflows"
)

// dryRun prints the job and what it will cost.
func (s *session) dryRun(ctx context.Context, p plan) error {
	ck, err := s.openModel(ctx, p.job.Model)
	if err != nil {
		return err
	}
	defer ck.Close()
	cost, err := estimate(p.job, ck)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(struct {
			Run    string        `json:"run"`
			Folder string        `json:"folder"`
			Job    workflows.Job `json:"job"`
			Cost   runCost       `json:"cost"`
		}{p.id, p.folder, p.job, cost})
	}
	b, err := yaml.Marshal(p.job)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Stdout, "# run %s in %s\n%s", p.id, p.folder, b)
	fmt.Fprintf(s.Stdout, "# bank    %d units, %d levels, %s\n", cost.Units, cost.Levels, megabytes(cost.BankBytes))
	fmt.Fprintf(s.Stdout, "# search  %s tokens of candidates, about %.3g multiply-adds\n", count(cost.SearchTokens), cost.SearchMACs)
	if p.job.Heal != "" {
		job := p.job.Healing("", "")
		fmt.Fprintf(s.Stdout, "# heal    %s tokens forward and backward for each point\n", count(job.Tokens()))
	}
	return nil
}

// dryTraining prints the job of a training and what it will train.
func (s *session) dryTraining(ctx context.Context, p training) error {
	plan, err := evalworker.PlanFinetune(ctx, p.job, s.hub())
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(struct {
			Training string                  `json:"training"`
			Folder   string                  `json:"folder"`
			Job      workflows.FinetuneJob   `json:"job"`
			Plan     evalworker.FinetunePlan `json:"plan"`
		}{p.id, p.folder, p.job, plan})
	}
	b, err := yaml.Marshal(p.job)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Stdout, "# training %s in %s\n%s", p.id, p.folder, b)
	fmt.Fprintf(s.Stdout, "# trains  %s weights of %d matrices, %s, learning rate %.3g\n", count(plan.Trainable), plan.Targets, plan.Method, plan.LearningRate)
	fmt.Fprintf(s.Stdout, "# learns  %d steps, %s tokens forward and backward, from %d examples", plan.Steps, count(plan.Tokens), plan.Examples)
	if plan.Cut > 0 || plan.Left > 0 {
		fmt.Fprintf(s.Stdout, ", %d of them cut, %d others left out", plan.Cut, plan.Left)
	}
	fmt.Fprintf(s.Stdout, "; %d held out\n", plan.HeldOut)
	where := "merged into"
	if plan.Beside > 0 {
		where = megabytes(plan.Beside) + " of it beside"
	}
	fmt.Fprintf(s.Stdout, "# delta   %s, %s the model of %s\n", megabytes(plan.DeltaBytes), where, megabytes(plan.Bytes))
	if plan.Regrow > 0 {
		fmt.Fprintf(s.Stdout, "# size    %s weights that were pruned may come back, within %s\n", count(plan.Regrow), p.job.Size)
	}
	return nil
}

// runCost is what a run will take.
type runCost struct {
	Units        int     `json:"units"`
	Levels       int     `json:"levels"`        // of all units, those that a bank must hold
	BankBytes    int64   `json:"bank_bytes"`    // of those levels
	SearchTokens int64   `json:"search_tokens"` // of candidates run forward
	SearchMACs   float64 `json:"search_macs"`   // multiply-adds of weights for these: a candidate and, for the KL, the dense head
}

// estimate adds up what a job will take of a model.
func estimate(job workflows.Job, ck *engine.Checkpoint) (runCost, error) {
	cost := runCost{SearchTokens: job.Budget}
	space, err := evalworker.SpaceOf(ck, job)
	if err != nil {
		return cost, err
	}
	cost.Units = len(space.Units)
	for _, u := range space.Units {
		for _, name := range u.Levels {
			level, err := evalworker.ParseLevel(name.Name)
			if err != nil {
				return cost, err
			}
			if level.NeedsCalibration() {
				cost.Levels += len(u.Parts())
				cost.BankBytes += name.Bytes
			}
		}
	}
	c := ck.Config()
	var weights int64
	for _, m := range c.Modules() {
		weights += int64(m.Rows) * int64(m.Cols)
	}
	head := int64(c.Vocab) * int64(c.Hidden)
	cost.SearchMACs = float64(job.Budget) * float64(weights+2*head)
	return cost, nil
}
