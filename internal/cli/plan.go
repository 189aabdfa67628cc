package cli

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/workflows"
)

// plan is a run that is about to be started or resumed.
type plan struct {
	placed
	job workflows.Job
}

// planRun decides the run's id and folder from the job and looks at what the folder holds.
func (s *session) planRun(ctx context.Context, flags *pflag.FlagSet, rf runFlags) (plan, error) {
	if rf.resume && rf.out != "" {
		return s.planResume(flags, rf.out)
	}
	job, err := s.buildJob(ctx, flags, rf.file)
	if err != nil {
		return plan{}, err
	}
	key, err := runKey(job)
	if err != nil {
		return plan{}, err
	}
	name := job.Name
	if job.Target != "" {
		name += "-" + job.Target
	}
	at, err := s.place(aRun, name, key, rf, func(folder string) ([]byte, error) {
		old, err := readJob(folder)
		if err != nil {
			return nil, err
		}
		return runKey(old)
	})
	return plan{at, job}, err
}

// planResume takes everything from the folder of an earlier run but the budget and the number of
// workers, which may be given anew.
func (s *session) planResume(flags *pflag.FlagSet, out string) (plan, error) {
	of := pflag.NewFlagSet("job", pflag.ContinueOnError)
	jobFlags(of, &workflows.Job{})
	at, err := s.placeResumed(aRun, flags, of, out, "budget", "workers")
	p := plan{placed: at}
	if err != nil {
		return p, err
	}
	if p.job, err = readJob(p.folder); err != nil {
		return p, err
	}
	if flags.Changed("budget") {
		if p.job.Budget, err = flags.GetInt64("budget"); err != nil {
			return p, usageError{err}
		}
	}
	if flags.Changed("workers") {
		if p.job.Workers, err = flags.GetInt("workers"); err != nil {
			return p, usageError{err}
		}
	}
	if err := p.job.Validate(); err != nil {
		return p, usageError{err}
	}
	return p, nil
}

// runKey is the job without what has no influence on the result, so that the same work has the same id.
func runKey(j workflows.Job) ([]byte, error) {
	j.Workers, j.Bank = 0, ""
	j.ModelDigest, j.TextDigest, j.HeldOutTextDigest = "", "", ""
	return yaml.Marshal(j)
}

// readJob reads the job of a run folder; where there is none the error is fs.ErrNotExist.
func readJob(folder string) (workflows.Job, error) {
	if _, err := os.Stat(filepath.Join(folder, runFile)); err != nil {
		return workflows.Job{}, err
	}
	return evalworker.ReadJob(folder)
}
