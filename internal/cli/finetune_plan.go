package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/workflows"
)

// training is a training that is about to be started or resumed.
type training struct {
	id, folder string
	job        workflows.FinetuneJob
	again      bool // the folder holds this job already
}

// done reports whether all steps were made and measured.
func (p training) done() (bool, error) {
	res, err := readTrained(p.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && res.Steps >= p.job.Steps, err
}

// planTraining decides the training's id and folder from the job and looks at what the folder holds.
func (s *session) planTraining(ctx context.Context, flags *pflag.FlagSet, rf runFlags) (training, error) {
	if rf.resume && rf.out != "" {
		return s.planResumedTraining(flags, rf.out)
	}
	job, err := s.buildTraining(ctx, flags, rf.file)
	if err != nil {
		return training{}, err
	}
	p := training{job: job}
	key, err := trainingKey(job)
	if err != nil {
		return p, err
	}
	sum := sha256.Sum256(key)
	p.id = unsafeName.ReplaceAllString(job.Name, "-") + "-" + hex.EncodeToString(sum[:4])
	p.folder = filepath.Join(s.runsDir(), p.id)
	if rf.out != "" {
		p.folder = rf.out
	}
	if p.folder, err = filepath.Abs(p.folder); err != nil {
		return p, err
	}
	old, err := readTraining(p.folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if rf.resume {
			return p, usagef("--resume: %s holds no training", p.folder)
		}
		if _, err := readJob(p.folder); err == nil {
			return p, usagef("--out: %s holds a run; take another folder", p.folder)
		}
		return p, nil
	case err != nil:
		return p, err
	}
	oldKey, err := trainingKey(old)
	if err != nil {
		return p, err
	}
	if string(oldKey) != string(key) {
		return p, usagef("--out: %s holds a training of another job; take another folder, or go on with it by finetune --resume --out %s", p.folder, p.folder)
	}
	p.again = true
	return p, nil
}

// planResumedTraining takes everything from the folder of an earlier training.
func (s *session) planResumedTraining(flags *pflag.FlagSet, out string) (training, error) {
	var bad []string
	of := pflag.NewFlagSet("job", pflag.ContinueOnError)
	finetuneFlags(of, &workflows.FinetuneJob{})
	flags.Visit(func(f *pflag.Flag) {
		if of.Lookup(f.Name) != nil || f.Name == "file" {
			bad = append(bad, "--"+f.Name)
		}
	})
	if len(bad) > 0 {
		return training{}, usagef("--resume --out takes the job from the folder; leave out %s", strings.Join(bad, ", "))
	}
	folder, err := s.findTraining(out)
	if err != nil {
		return training{}, err
	}
	p := training{folder: folder, again: true}
	if p.job, err = readTraining(folder); err != nil {
		return p, err
	}
	p.id, err = runID(folder)
	return p, err
}

// buildTraining puts a job together as buildJob does.
func (s *session) buildTraining(ctx context.Context, flags *pflag.FlagSet, file string) (workflows.FinetuneJob, error) {
	var job workflows.FinetuneJob
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return job, usagef("--file: %w", err)
		}
		if job, err = evalworker.DecodeFinetuneJob(b); err != nil {
			return job, usagef("--file: %s: %w", file, err)
		}
	}
	over := pflag.NewFlagSet("job", pflag.ContinueOnError)
	finetuneFlags(over, &job)
	if err := overlay(over, flags); err != nil {
		return job, err
	}
	if job.Numerics == "" && kernel.HasBF16() {
		job.Numerics = workflows.NumericsFast
	}
	job.SetDefaults()
	if err := evalworker.ValidateFinetune(job); err != nil {
		return job, usageError{err}
	}
	if job.Bank != "" && job.Config == "" {
		return job, usagef("--bank is of no use without --config")
	}
	err := absolutePaths(pathFlag{"--model", &job.Model, true}, pathFlag{"--config", &job.Config, true}, pathFlag{"--bank", &job.Bank, true}, pathFlag{"--text", &job.Text, true})
	if err != nil {
		return job, err
	}
	job.Model, _, err = s.fetchModel(ctx, job.Model) // last: it may take long
	return job, err
}

// trainingKey is the job without what has no influence on the result, so that the same work has the same id.
func trainingKey(j workflows.FinetuneJob) ([]byte, error) {
	j.Bank, j.ModelDigest, j.TextDigest = "", "", ""
	return yaml.Marshal(j)
}

// readTraining reads the job of a training folder; where there is none the error is fs.ErrNotExist.
func readTraining(folder string) (workflows.FinetuneJob, error) {
	if _, err := os.Stat(filepath.Join(folder, trainingFile)); err != nil {
		return workflows.FinetuneJob{}, err
	}
	return evalworker.ReadFinetuneJob(folder)
}

// readTrained reads what came of a training; where it has not ended the error is fs.ErrNotExist.
func readTrained(folder string) (workflows.FinishFinetuneResult, error) {
	if _, err := os.Stat(filepath.Join(folder, "result.json")); err != nil {
		return workflows.FinishFinetuneResult{}, err
	}
	return evalworker.ReadFinetuneResult(folder)
}
