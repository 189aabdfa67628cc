package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/internal/devserver"
	"github.com/paretopress/paretopress/internal/durable"
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
	b, err := s.backendFor(ctx, rf, p.job.Workers)
	if err != nil {
		return err
	}
	defer func() { b.close(s) }()
	if p.again && !rf.resume {
		if running, err := b.running(ctx, p.id); err != nil {
			return err
		} else if !running {
			return usagef("%s holds an unfinished run of this job; go on with it by adding --resume", p.folder)
		}
	}
	if err := s.writeFolder(p); err != nil {
		return err
	}
	return s.carryOut(ctx, b, p)
}

// backendFor finds the server for a run: one that is there, or the embedded one with workers.
func (s *session) backendFor(ctx context.Context, rf runFlags, workers int) (*backend, error) {
	b, err := s.connect(ctx)
	if !errors.Is(err, errNoServer) {
		return b, err
	}
	s.say("starting the Temporal server on %s", s.data)
	return s.serve(ctx, devserver.Options{Port: rf.port, UIPort: rf.uiPort}, workers, runtime.GOMAXPROCS(0))
}

// writeFolder makes the run folder, its job.yaml and its entry among the runs of the data folder.
func (s *session) writeFolder(p plan) error {
	if !p.again {
		if err := os.MkdirAll(p.folder, 0o755); err != nil {
			return err
		}
		if err := durable.Write(filepath.Join(p.folder, "id"), []byte(p.id+"\n")); err != nil {
			return err
		}
		if err := evalworker.WriteJob(p.folder, p.job); err != nil {
			return err
		}
	}
	return s.registerRun(p.id, p.folder)
}

// carryOut starts the workflow or attaches to it, follows it to its end and prints the result.
func (s *session) carryOut(ctx context.Context, b *backend, p plan) error {
	in := workflows.RunInput{Folder: p.folder, ID: p.id, Model: p.job.ModelName(), Space: p.job.Space, Target: p.job.Target,
		Method: p.job.Method, Seed: p.job.Seed, Budget: p.job.Budget, Heal: p.job.Heal, Tuning: s.tuning(), Attributes: b.attributes(ctx)}
	if _, err := workflows.Start(ctx, b.client, in); err != nil {
		return err
	}
	began := time.Now()
	s.say("run     %s", p.id)
	s.say("folder  %s", p.folder)
	if url := b.runURL(p.id); url != "" {
		s.say("watch   %s", url)
	}
	if !b.embedded() {
		s.warnWithoutWorkers(ctx, b)
	}
	err := s.follow(ctx, b, p.id)
	if ctx.Err() != nil {
		if b.embedded() {
			s.say("\nstopping; go on with: paretopress run --resume --out %s%s", p.folder, s.dataFlag())
		} else {
			s.say("\nthe job goes on; watch it with: paretopress jobs watch %s%s", p.id, s.serverFlags())
		}
		return errInterrupted
	}
	if err != nil {
		return fmt.Errorf("run %s: %w; go on with: paretopress run --resume --out %s", p.id, err, p.folder)
	}
	return s.printResult(p, b, time.Since(began))
}
