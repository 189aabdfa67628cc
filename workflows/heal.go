package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// heal fine-tunes points of the front, one after the other: each training takes the machines of an evaluation. The front is reported first, since that takes
// long. A point whose training ends for good, because its loss diverges say, is left as it was; that the run is stopped ends the training at work with
// what it has, and leaves the others.
func (p *pipeline) heal(ctx workflow.Context, step int) error {
	p.status.Healing = &Healing{}
	if err := p.enter(ctx, PhaseHeal); err != nil {
		return err
	}
	report, err := do[ReportResult](ctx, p.in.Tuning, ActivityReport, "front.json before healing", ReportInput{Folder: p.in.Folder, Step: step, Healing: true})
	if err != nil {
		return err
	}
	p.status.Report = &report
	plan, err := do[HealResult](ctx, p.in.Tuning, ActivityHeal, "points to heal", HealInput{Folder: p.in.Folder})
	if err != nil {
		return err
	}
	h := p.status.Healing
	h.Done, h.Total, h.Steps = plan.Healed, plan.Healed+len(plan.Points), plan.Steps
	for _, point := range plan.Points {
		if err := p.batches.waitResumed(ctx); err != nil || p.control.Stop {
			return err
		}
		h.Point, h.Flow = point.ID, HealID(p.in.ID, point.ID)
		p.show(ctx)
		err := p.healPoint(ctx, point, plan)
		switch {
		case err == nil:
			h.Done++
		case ctx.Err() != nil || !slices.Contains(permanentTypes, errorType(err)):
			return err
		default:
			workflow.GetLogger(ctx).Warn("point not healed", "point", point.ID, "error", err)
			h.Failed = append(h.Failed, fmt.Sprintf("%s: %v", point.ID, Cause(err)))
		}
	}
	h.Point, h.Flow = "", ""
	return nil
}

// healPoint trains one point and measures it.
func (p *pipeline) healPoint(ctx workflow.Context, point HealPoint, plan HealResult) error {
	o := workflow.ChildWorkflowOptions{WorkflowID: p.status.Healing.Flow, StaticSummary: "healing of " + point.ID}
	if p.in.Attributes {
		o.TypedSearchAttributes = temporal.NewSearchAttributes(AttributeModel.ValueSet(p.in.Model), AttributePhase.ValueSet(PhasePrepare))
	}
	in := FinetuneInput{Folder: point.Folder, ID: p.status.Healing.Flow, Model: p.in.Model, Method: plan.Method, Objective: plan.Objective, Steps: plan.Steps,
		Tuning: p.in.Tuning, Attributes: p.in.Attributes, Training: Training{Parent: p.control}}
	p.sent = p.control.Seq
	var trained FinishFinetuneResult
	err := child(ctx, o, WorkflowFinetune, in, &trained, func(f workflow.ChildWorkflowFuture) { p.child = f })
	p.child = nil
	if err != nil {
		return err
	}
	_, err = do[ScoreHealedResult](ctx, p.in.Tuning, ActivityScoreHealed, "held-out scores of "+point.ID+" healed", ScoreHealedInput{Folder: p.in.Folder, ID: point.ID})
	return err
}
