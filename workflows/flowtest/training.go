package flowtest

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/paretopress/paretopress/workflows"
)

// Sizes of the pretended training: it has a checkpoint after every step.
const (
	TrainSteps  = 10
	TrainStop   = 4   // steps of an activity
	TrainTokens = 100 // that a step learns from
)

// Trained is the step that a training folder's checkpoint has.
func (a *Activities) Trained(folder string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.trains[folder]
}

// trained makes a step of a training.
func (a *Activities) trained(folder string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.trains == nil {
		a.trains = map[string]int{}
	}
	a.trains[folder]++
}

// PrepareFinetune pretends to look at the folder.
func (a *Activities) PrepareFinetune(ctx context.Context, in workflows.PrepareFinetuneInput) (workflows.PrepareFinetuneResult, error) {
	err := a.enter(ctx, workflows.ActivityPrepareFinetune, in)
	out := workflows.PrepareFinetuneResult{
		ModelDigest: "m0", Model: "pretended", Trainable: 1000, Targets: 7, Examples: 30, Step: a.Trained(in.Folder),
		Before: workflows.Measured{NLL: 3, NLLError: 0.1, KL: 0.5, KLError: 0.02, Windows: 10}, Bytes: 8e6,
	}
	for at := TrainStop; at < TrainSteps; at += TrainStop {
		out.Stops = append(out.Stops, at)
	}
	out.Stops = append(out.Stops, TrainSteps)
	return out, err
}

// Train makes steps and stops between two when it is cancelled. The hook is called before each.
func (a *Activities) Train(ctx context.Context, in workflows.TrainInput) (workflows.TrainResult, error) {
	var out workflows.TrainResult
	if err := a.enter(ctx, workflows.ActivityTrain, in); err != nil {
		return out, err
	}
	for out.Step = a.Trained(in.Folder); out.Step < in.To; {
		if a.Hook != nil {
			if err := a.Hook(ctx, "step", out.Step); err != nil {
				return out, err
			}
		}
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		a.trained(in.Folder)
		out.Step++
		out.Tokens += TrainTokens
		out.Loss = 1 / float64(out.Step)
		activity.RecordHeartbeat(ctx, workflows.Progress{Done: int64(out.Step), Total: TrainSteps, Unit: "steps"})
	}
	out.Seconds = float64(out.Tokens) / TrainTokens * time.Minute.Seconds()
	return out, nil
}

// FinishFinetune tells what the checkpoint has.
func (a *Activities) FinishFinetune(ctx context.Context, in workflows.FinishFinetuneInput) (workflows.FinishFinetuneResult, error) {
	err := a.enter(ctx, workflows.ActivityFinishFinetune, in)
	n := a.Trained(in.Folder)
	return workflows.FinishFinetuneResult{
		Delta: in.Folder + "/delta.safetensors", DeltaBytes: 8000, Bytes: 8e6 + 8000, Trainable: 1000, Steps: n, Tokens: int64(n) * TrainTokens, Loss: 0.1,
		Before: workflows.Measured{NLL: 3, NLLError: 0.1, KL: 0.5, KLError: 0.02, Windows: 10},
		After:  workflows.Measured{NLL: 2.8, NLLError: 0.1, KL: 0.3, KLError: 0.01, Windows: 10},
	}, err
}

// Heal tells of two points of which the first is healed if its training was finished.
func (a *Activities) Heal(ctx context.Context, in workflows.HealInput) (workflows.HealResult, error) {
	err := a.enter(ctx, workflows.ActivityHeal, in)
	out := workflows.HealResult{Method: "spiel-ag", Objective: workflows.ObjectiveKL, Steps: TrainSteps}
	for _, id := range []string{"c000000", "c000001"} {
		folder := in.Folder + "/heal/" + id
		if a.Trained(folder) >= TrainSteps {
			out.Healed++
			continue
		}
		out.Points = append(out.Points, workflows.HealPoint{ID: id, Folder: folder})
	}
	return out, err
}

// ScoreHealed pretends to measure.
func (a *Activities) ScoreHealed(ctx context.Context, in workflows.ScoreHealedInput) (workflows.ScoreHealedResult, error) {
	err := a.enter(ctx, workflows.ActivityScoreHealed, in)
	return workflows.ScoreHealedResult{HeldOut: workflows.HeldOut{NLL: 2.8, NLLErr: 0.1, KL: 0.3, KLErr: 0.01, Bytes: 1e6}}, err
}
