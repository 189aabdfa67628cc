package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/internal/hub"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/workflows"
)

// jobFlags binds the flags of a job to j, whose present values are the defaults. The names are those
// of the keys in job.yaml.
func jobFlags(f *pflag.FlagSet, j *workflows.Job) {
	f.StringVar(&j.Model, "model", j.Model, modelUsage+" (default builtin)")
	f.StringVar(&j.Text, "text", j.Text, "text file to calibrate, search and test on (the builtin model has its own)")
	f.StringVar(&j.HeldOutText, "held-out-text", j.HeldOutText, "another text file to test on (default: a quarter of the text's windows)")
	f.StringVar(&j.Space, "space", j.Space, "what to search over: sparsity, quant or drop (default quant)")
	f.StringVar(&j.Deployable, "deployable", j.Deployable, "gguf, vllm or transformers: search what llama.cpp or that runtime loads, by the exact bytes of the file (default: any form of storage)")
	f.StringSliceVar(&j.Types, "types", j.Types, "that a deployable space may use, of those of equal size the preferred first: of ggml, or dense, int8, fp8 and layouts (default "+
		strings.Join(workflows.DefaultTypes(workflows.DeployableGGUF), ",")+"; vllm, transformers: "+strings.Join(workflows.DefaultTypes(workflows.DeployableVLLM), ",")+")")
	f.StringVar(&j.Target, "target", j.Target, "sparsity=0.5, bpw=3, size=90MB or drop=0.25 (default: the whole front)")
	f.StringVar(&j.Method, "method", j.Method, "evopress or random (default evopress)")
	f.StringVar(&j.Schedule, "schedule", j.Schedule, "of evopress: scaled to the budget, or published, 26 to 184 million tokens (default scaled)")
	f.Int64Var(&j.Budget, "budget", j.Budget, "tokens of candidates to run forward (default 1048576; builtin 524288)")
	f.Uint64Var(&j.Seed, "seed", j.Seed, "seed of every random choice")
	f.IntVar(&j.SeqLen, "seq-len", j.SeqLen, "tokens a window (default 512)")
	f.IntVar(&j.MaxWindows, "max-windows", j.MaxWindows, "windows of the text to use (default: all)")
	f.Int64Var(&j.CalibrationTokens, "calibration-tokens", j.CalibrationTokens, "tokens to calibrate on, at most (default 65536; builtin 32768)")
	f.StringVar(&j.SparsityMethod, "sparsity-method", j.SparsityMethod, "sparsegpt, wanda or magnitude (default sparsegpt)")
	f.Float64Var(&j.SparsityStep, "sparsity-step", j.SparsityStep, "between two levels: a share of each module, or from 1 on a number of weights, EvoPress's Δ (default 0.125)")
	f.StringVar(&j.SparsityPattern, "sparsity-pattern", j.SparsityPattern, "2:4 and the like: each module has it or is dense")
	f.StringVar(&j.QuantMethod, "quant-method", j.QuantMethod, "gptq, rtn or, if deployable, imatrix (default gptq)")
	f.IntVar(&j.Group, "group", j.Group, "weights that share a scale (default 64)")
	f.IntSliceVar(&j.Bits, "bits", j.Bits, "bit widths that the quant space may use (default 2,3,4,5,6)")
	f.StringVar(&j.Numerics, "numerics", j.Numerics, "exact: float32, the same bits on every CPU, or fast: bfloat16 products, the same bits on one kind of CPU (default fast if this CPU has instructions for that, else exact)")
	f.StringVar(&j.Heal, "heal", j.Heal, "points to fine-tune at the end: best, the search's answers, or front, all that are measured on held-out text (default: none)")
	f.StringVar(&j.HealMethod, "heal-method", j.HealMethod, "as finetune --method (default spiel-ag, of --space quant lora)")
	f.IntVar(&j.HealRank, "heal-rank", j.HealRank, "as finetune --rank (default of lora 1)")
	f.Float64Var(&j.HealDensity, "heal-density", j.HealDensity, "as finetune --density (default 0.02, of lora as --heal-rank says)")
	f.Float64Var(&j.HealLearningRate, "heal-learning-rate", j.HealLearningRate, "as finetune --learning-rate (default: that of the method for a model of the size)")
	f.IntVar(&j.HealSteps, "heal-steps", j.HealSteps, "steps of a healing, of about 4096 tokens each (default 73, 300 thousand tokens)")
	f.IntVar(&j.Workers, "workers", j.Workers, "evaluations at once in this process (default 1; no influence on results)")
	f.StringVar(&j.Bank, "bank", j.Bank, "folder that holds banks (default: banks in the data folder)")
	f.StringVar(&j.Name, "name", j.Name, "what the run is called (default: the model and the space)")
}

// buildJob puts a job together: the file's keys, over them the flags that were given, under them the
// defaults. Paths become absolute, and the revision of a model of the Hugging Face hub, which is fetched, a commit.
func (s *session) buildJob(ctx context.Context, flags *pflag.FlagSet, file string) (workflows.Job, error) {
	job, err := jobFrom(file, evalworker.DecodeJob)
	if err != nil {
		return job, err
	}
	over := pflag.NewFlagSet("job", pflag.ContinueOnError)
	jobFlags(over, &job)
	if err := overlay(over, flags); err != nil {
		return job, err
	}
	if job.Numerics == "" && kernel.HasBF16() {
		job.Numerics = workflows.NumericsFast
	}
	job.SetDefaults()
	if job.Bank == "" {
		job.Bank = filepath.Join(s.data, "banks")
	}
	if err := job.Validate(); err != nil {
		return job, usageError{err}
	}
	err = absolutePaths(pathFlag{"--model", &job.Model, true}, pathFlag{"--text", &job.Text, true}, pathFlag{"--held-out-text", &job.HeldOutText, true}, pathFlag{"--bank", &job.Bank, false})
	if err != nil {
		return job, err
	}
	job.Model, _, err = s.fetchModel(ctx, job.Model) // last: it may take long
	return job, err
}

// overlay sets the flags of over that were given in flags.
func overlay(over, flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		if over.Lookup(f.Name) == nil || err != nil {
			return
		}
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		err = over.Set(f.Name, value)
	})
	if err != nil {
		return usageError{err}
	}
	return nil
}

// pathFlag is a path that a flag gives.
type pathFlag struct {
	flag   string
	path   *string
	exists bool // it must be there
}

// absolutePaths makes paths absolute, but for models that are named otherwise.
func absolutePaths(paths ...pathFlag) (err error) {
	for _, p := range paths {
		if *p.path == "" || (p.flag == "--model" && (*p.path == workflows.Builtin || hub.IsRef(*p.path))) {
			continue
		}
		if *p.path, err = filepath.Abs(*p.path); err != nil {
			return usagef("%s: %w", p.flag, err)
		}
		if _, err := os.Stat(*p.path); p.exists && err != nil {
			return usagef("%s: %w", p.flag, err)
		}
	}
	return nil
}
