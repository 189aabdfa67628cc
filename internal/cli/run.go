package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// runFlags are the flags of run that are not part of the job.
type runFlags struct {
	file   string
	out    string
	resume bool
	dry    bool
	port   int
	uiPort int
}

func (s *session) runCommand() *cobra.Command {
	var job workflows.Job
	var rf runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Compress a model: calibrate, build a bank, search, report the front",
		Long: `Run searches for the best compressed versions of a model and reports the Pareto front of size against
quality, measured on held-out text. Without flags it compresses the small builtin model. The job goes
through a Temporal server: the one that is running on the data folder, the one named by --address, or
one that run brings and that ends with it.

Every flag of the job can be a key of a YAML file given with -f; flags on the command line win.`,
		Example: `  paretopress run
  paretopress run --model model.gguf --text corpus.txt --space quant --target bpw=3
  paretopress run --model model.gguf --text corpus.txt --space sparsity --target sparsity=0.5 --budget 2000000
  paretopress run --resume --out my-run`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd.Context(), cmd.Flags(), rf)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	jobFlags(f, &job)
	f.StringVarP(&rf.file, "file", "f", "", "YAML file with the job")
	f.StringVar(&rf.out, "out", "", "run folder (default: runs/ID in the data folder)")
	f.BoolVar(&rf.resume, "resume", false, "go on with the run in --out, or with the same job as before")
	f.BoolVar(&rf.dry, "dry-run", false, "print the job and what it will cost, and do nothing")
	s.cache.flag(f)
	f.IntVar(&rf.port, "port", 0, "port of the embedded server (0: a free one)")
	f.IntVar(&rf.uiPort, "ui-port", 0, "port of the embedded UI (0: a free one)")
	return cmd
}

// run carries the job out, or goes on with it, and prints the front.
func (s *session) run(ctx context.Context, flags *pflag.FlagSet, rf runFlags) error {
	p, err := s.planRun(ctx, flags, rf)
	if err != nil {
		return err
	}
	if rf.dry {
		return s.dryRun(ctx, p)
	}
	if p.again && !rf.resume {
		if done, err := finished(p.folder); err != nil {
			return err
		} else if done {
			s.say("this job was done before; its front is below (--seed N searches anew)")
			return s.printResult(p, nil, 0)
		}
	}
	if !p.again {
		if err := evalworker.Check(ctx, p.job, s.hub()); errors.Is(err, search.ErrUnreachable) {
			return usageError{err}
		} else if err != nil {
			return err
		}
	}
	return s.carryOut(ctx, rf, aRun, p.placed, p.job.Workers, deeds{
		write: func() error { return evalworker.WriteJob(p.folder, p.job) },
		start: func(b *backend) error {
			in := workflows.RunInput{Folder: p.folder, ID: p.id, Model: p.job.ModelName(), Space: p.job.Space, Target: p.job.Target,
				Method: p.job.Method, Seed: p.job.Seed, Budget: p.job.Budget, Heal: p.job.Heal, Tuning: s.tuning(), Attributes: b.attributes(ctx)}
			_, err := workflows.Start(ctx, b.client, in)
			return err
		},
		print: func(b *backend, took time.Duration) error { return s.printResult(p, b, took) },
	})
}
