package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/workflows"
)

// training is a training that is about to be started or resumed.
type training struct {
	placed
	job workflows.FinetuneJob
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
	key, err := trainingKey(job)
	if err != nil {
		return training{}, err
	}
	at, err := s.place(aTraining, job.Name, key, rf, func(folder string) ([]byte, error) {
		old, err := readTraining(folder)
		if err != nil {
			return nil, err
		}
		return trainingKey(old)
	})
	return training{at, job}, err
}

// planResumedTraining takes everything from the folder of an earlier training.
func (s *session) planResumedTraining(flags *pflag.FlagSet, out string) (training, error) {
	of := pflag.NewFlagSet("job", pflag.ContinueOnError)
	finetuneFlags(of, &workflows.FinetuneJob{})
	at, err := s.placeResumed(aTraining, flags, of, out)
	p := training{placed: at}
	if err == nil {
		p.job, err = readTraining(p.folder)
	}
	return p, err
}

// buildTraining puts a job together as buildJob does.
func (s *session) buildTraining(ctx context.Context, flags *pflag.FlagSet, file string) (workflows.FinetuneJob, error) {
	job, err := jobFrom(file, evalworker.DecodeFinetuneJob)
	if err != nil {
		return job, err
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
	err = absolutePaths(pathFlag{"--model", &job.Model, true}, pathFlag{"--config", &job.Config, true}, pathFlag{"--bank", &job.Bank, true}, pathFlag{"--text", &job.Text, true})
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
