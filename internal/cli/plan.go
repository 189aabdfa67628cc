package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/workflows"
)

// plan is a run that is about to be started or resumed.
type plan struct {
	id, folder string
	job        workflows.Job
	again      bool // the folder holds this job already
}

// unsafeName matches what does not belong into a run's id.
var unsafeName = regexp.MustCompile(`[^A-Za-z0-9._=-]+`)

// planRun decides the run's id and folder from the job and looks at what the folder holds.
func (s *session) planRun(ctx context.Context, flags *pflag.FlagSet, rf runFlags) (plan, error) {
	if rf.resume && rf.out != "" {
		return s.planResume(flags, rf.out)
	}
	job, err := s.buildJob(ctx, flags, rf.file)
	if err != nil {
		return plan{}, err
	}
	p := plan{job: job}
	b, err := yaml.Marshal(keyOf(job))
	if err != nil {
		return p, err
	}
	sum := sha256.Sum256(b)
	name := job.Name
	if job.Target != "" {
		name += "-" + job.Target
	}
	p.id = unsafeName.ReplaceAllString(name, "-") + "-" + hex.EncodeToString(sum[:4])
	p.folder = filepath.Join(s.runsDir(), p.id)
	if rf.out != "" {
		p.folder = rf.out
	}
	if p.folder, err = filepath.Abs(p.folder); err != nil {
		return p, err
	}
	old, err := readJob(p.folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if rf.resume {
			return p, usagef("--resume: %s holds no run", p.folder)
		}
		return p, nil
	case err != nil:
		return p, err
	}
	oldKey, err := yaml.Marshal(keyOf(old))
	if err != nil {
		return p, err
	}
	if string(oldKey) != string(b) {
		return p, usagef("--out: %s holds a run of another job; take another folder, or go on with it by run --resume --out %s", p.folder, p.folder)
	}
	p.again = true
	return p, nil
}

// planResume takes everything from the folder of an earlier run but the budget and the number of
// workers, which may be given anew.
func (s *session) planResume(flags *pflag.FlagSet, out string) (plan, error) {
	var bad []string
	flags.Visit(func(f *pflag.Flag) {
		if (f.Name != "budget" && f.Name != "workers" && jobFlag(f.Name)) || f.Name == "file" {
			bad = append(bad, "--"+f.Name)
		}
	})
	if len(bad) > 0 {
		return plan{}, usagef("--resume --out takes the job from the folder; leave out %s", strings.Join(bad, ", "))
	}
	folder, err := s.findRun(out)
	if err != nil {
		return plan{}, err
	}
	p := plan{folder: folder, again: true}
	if p.job, err = readJob(folder); err != nil {
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
	p.id, err = runID(folder)
	return p, err
}

// jobFlag reports whether a flag is one of the job's.
func jobFlag(name string) bool {
	f := pflag.NewFlagSet("job", pflag.ContinueOnError)
	jobFlags(f, &workflows.Job{})
	return f.Lookup(name) != nil
}

// keyOf is the job without what has no influence on the result, so that the same work has the same id.
func keyOf(j workflows.Job) workflows.Job {
	j.Workers, j.Bank = 0, ""
	j.ModelDigest, j.TextDigest, j.HeldOutTextDigest = "", "", ""
	return j
}

// readJob reads the job of a run folder; where there is none the error is fs.ErrNotExist.
func readJob(folder string) (workflows.Job, error) {
	if _, err := os.Stat(filepath.Join(folder, "job.yaml")); err != nil {
		return workflows.Job{}, err
	}
	return evalworker.ReadJob(folder)
}
