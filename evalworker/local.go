package evalworker

import (
	"context"
	"path/filepath"

	"github.com/paretopress/paretopress/workflows"
)

// RunLocal does a whole run in this process, without Temporal: the same functions of the run folder in the
// same order as workflow Compress has them done. budget is in tokens, 0 stands for the job's. It goes on
// from whatever the folder holds.
func RunLocal(ctx context.Context, folder string, budget int64, o Options, report func(activity string, p workflows.Progress)) (workflows.ReportResult, error) {
	w := NewWorkbench(o)
	defer w.Close() // everything was read, or is stored
	l := &local{bench: w, folder: folder, report: report}
	return l.run(ctx, budget)
}

// local is a run without Temporal.
type local struct {
	bench  *Workbench
	folder string
	report func(activity string, p workflows.Progress)
}

// reporter is a Reporter for an activity.
func (l *local) reporter(name string) Reporter {
	return func(p workflows.Progress) {
		if l.report != nil {
			l.report(name, p)
		}
	}
}

func (l *local) run(ctx context.Context, budget int64) (workflows.ReportResult, error) {
	job, err := ReadJob(l.folder)
	if err != nil {
		return workflows.ReportResult{}, err
	}
	if budget == 0 {
		budget = job.Budget
	}
	if l.folder, err = filepath.Abs(l.folder); err != nil {
		return workflows.ReportResult{}, err
	}
	p, err := l.bench.Prepare(ctx, workflows.PrepareInput{Folder: l.folder}, l.reporter(workflows.ActivityPrepare))
	if err != nil {
		return workflows.ReportResult{}, err
	}
	err = parallel(ctx, l.bench.options.Slots, len(p.Ranges), func(i int) error {
		in := workflows.BuildLevelsInput{Folder: l.folder, From: p.Ranges[i][0], To: p.Ranges[i][1]}
		_, err := l.bench.BuildLevels(ctx, in, l.reporter(workflows.ActivityBuildLevels))
		return err
	})
	if err != nil {
		return workflows.ReportResult{}, err
	}
	at := max(p.Step-1, -1)
	for {
		adv, err := l.bench.Advance(ctx, workflows.AdvanceInput{Folder: l.folder, Step: at, Budget: budget}, l.reporter(workflows.ActivityAdvance))
		if err != nil {
			return workflows.ReportResult{}, err
		}
		if adv.Done {
			break
		}
		if err := l.evaluate(ctx, adv.Ask, adv.Batches); err != nil {
			return workflows.ReportResult{}, err
		}
		at = adv.Step
	}
	fin, err := l.bench.Finalists(ctx, workflows.FinalistsInput{Folder: l.folder, Step: at}, l.reporter(workflows.ActivityFinalists))
	if err != nil {
		return workflows.ReportResult{}, err
	}
	if err := l.evaluate(ctx, fin.Ask, fin.Batches); err != nil {
		return workflows.ReportResult{}, err
	}
	if job.Heal != "" {
		if err := l.heal(ctx, at); err != nil {
			return workflows.ReportResult{}, err
		}
	}
	return l.bench.Report(ctx, workflows.ReportInput{Folder: l.folder, Step: at}, l.reporter(workflows.ActivityReport))
}

// heal fine-tunes the points that the job wants healed.
func (l *local) heal(ctx context.Context, step int) error {
	if _, err := l.bench.Report(ctx, workflows.ReportInput{Folder: l.folder, Step: step, Healing: true}, l.reporter(workflows.ActivityReport)); err != nil {
		return err
	}
	plan, err := l.bench.Heal(ctx, workflows.HealInput{Folder: l.folder}, l.reporter(workflows.ActivityHeal))
	if err != nil {
		return err
	}
	for _, point := range plan.Points {
		p, err := l.bench.PrepareFinetune(ctx, workflows.PrepareFinetuneInput{Folder: point.Folder}, l.reporter(workflows.ActivityPrepareFinetune))
		if err != nil {
			return err
		}
		if _, err := l.bench.Train(ctx, workflows.TrainInput{Folder: point.Folder, To: p.Stops[len(p.Stops)-1]}, l.reporter(workflows.ActivityTrain)); err != nil {
			return err
		}
		if _, err := l.bench.FinishFinetune(ctx, workflows.FinishFinetuneInput{Folder: point.Folder}, l.reporter(workflows.ActivityFinishFinetune)); err != nil {
			return err
		}
		if _, err := l.bench.ScoreHealed(ctx, workflows.ScoreHealedInput{Folder: l.folder, ID: point.ID}, l.reporter(workflows.ActivityScoreHealed)); err != nil {
			return err
		}
	}
	return nil
}

// evaluate scores an ask's batches, as many at a time as there are slots.
func (l *local) evaluate(ctx context.Context, name string, batches [][2]int) error {
	return parallel(ctx, l.bench.options.Slots, len(batches), func(i int) error {
		in := workflows.EvaluateInput{Folder: l.folder, Ask: name, From: batches[i][0], To: batches[i][1]}
		_, err := l.bench.Evaluate(ctx, in, l.reporter(workflows.ActivityEvaluate))
		return err
	})
}
