package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"github.com/paretopress/paretopress/engine"
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
	f.IntVar(&rf.port, "port", 0, "port of the embedded server (0: a free one)")
	f.IntVar(&rf.uiPort, "ui-port", 0, "port of the embedded UI (0: a free one)")
	return cmd
}

// jobFlags binds the flags of a job to j, whose present values are the defaults. The names are those
// of the keys in job.yaml.
func jobFlags(f *pflag.FlagSet, j *workflows.Job) {
	f.StringVar(&j.Model, "model", j.Model, "Hugging Face folder, .gguf file, or builtin (default builtin)")
	f.StringVar(&j.Text, "text", j.Text, "text file to calibrate, search and test on (the builtin model has its own)")
	f.StringVar(&j.HeldOutText, "held-out-text", j.HeldOutText, "another text file to test on (default: a quarter of the text's windows)")
	f.StringVar(&j.Space, "space", j.Space, "what to search over: sparsity, quant or drop (default quant)")
	f.StringVar(&j.Target, "target", j.Target, "sparsity=0.5, bpw=3, size=90MB or drop=0.25 (default: the whole front)")
	f.StringVar(&j.Method, "method", j.Method, "evopress or random (default evopress)")
	f.Int64Var(&j.Budget, "budget", j.Budget, "tokens of candidates to run forward (default 1048576; builtin 524288)")
	f.Uint64Var(&j.Seed, "seed", j.Seed, "seed of every random choice")
	f.IntVar(&j.SeqLen, "seq-len", j.SeqLen, "tokens a window (default 512)")
	f.IntVar(&j.MaxWindows, "max-windows", j.MaxWindows, "windows of the text to use (default: all)")
	f.Int64Var(&j.CalibrationTokens, "calibration-tokens", j.CalibrationTokens, "tokens to calibrate on, at most (default 65536; builtin 32768)")
	f.StringVar(&j.SparsityMethod, "sparsity-method", j.SparsityMethod, "sparsegpt or magnitude (default sparsegpt)")
	f.Float64Var(&j.SparsityStep, "sparsity-step", j.SparsityStep, "between two levels: a share of each module, or from 1 on a number of weights, EvoPress's Δ (default 0.125)")
	f.StringVar(&j.QuantMethod, "quant-method", j.QuantMethod, "gptq or rtn (default gptq)")
	f.IntVar(&j.Group, "group", j.Group, "weights that share a scale (default 64)")
	f.IntSliceVar(&j.Bits, "bits", j.Bits, "bit widths that the quant space may use (default 2,3,4,5,6)")
	f.StringVar(&j.Numerics, "numerics", j.Numerics, "exact: float32, bit-identical on every CPU (default exact)")
	f.IntVar(&j.Workers, "workers", j.Workers, "evaluations at once in this process (default 1; no influence on results)")
	f.StringVar(&j.Bank, "bank", j.Bank, "folder that holds banks (default: banks in the data folder)")
	f.StringVar(&j.Name, "name", j.Name, "what the run is called (default: the model and the space)")
}

// buildJob puts a job together: the file's keys, over them the flags that were given, under them the
// defaults. Paths become absolute.
func (s *session) buildJob(flags *pflag.FlagSet, file string) (workflows.Job, error) {
	var job workflows.Job
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return job, usagef("--file: %w", err)
		}
		if job, err = decodeJob(b); err != nil {
			return job, usagef("--file: %s: %w", file, err)
		}
	}
	over := pflag.NewFlagSet("job", pflag.ContinueOnError)
	jobFlags(over, &job)
	var err error
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
		return job, usageError{err}
	}
	job.SetDefaults()
	if job.Bank == "" {
		job.Bank = filepath.Join(s.data, "banks")
	}
	if err := job.Validate(); err != nil {
		return job, usageError{err}
	}
	paths := []struct {
		flag string
		path *string
		file bool // must be an existing file
	}{{"--model", &job.Model, true}, {"--text", &job.Text, true}, {"--held-out-text", &job.HeldOutText, true}, {"--bank", &job.Bank, false}}
	for _, p := range paths {
		if *p.path == "" || (p.flag == "--model" && *p.path == workflows.Builtin) {
			continue
		}
		if *p.path, err = filepath.Abs(*p.path); err != nil {
			return job, usagef("%s: %w", p.flag, err)
		}
		if _, err := os.Stat(*p.path); p.file && err != nil {
			return job, usagef("%s: %w", p.flag, err)
		}
	}
	return job, nil
}

// decodeJob reads job.yaml; unknown keys are errors, since a misspelt one would be silently ignored.
func decodeJob(b []byte) (workflows.Job, error) {
	var job workflows.Job
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	d.KnownFields(true)
	err := d.Decode(&job)
	return job, err
}

// plan is a run that is about to be started or resumed.
type plan struct {
	id, folder string
	job        workflows.Job
	again      bool // the folder holds this job already
}

// unsafeName matches what does not belong into a run's id.
var unsafeName = regexp.MustCompile(`[^A-Za-z0-9._=-]+`)

// planRun decides the run's id and folder from the job and looks at what the folder holds.
func (s *session) planRun(flags *pflag.FlagSet, rf runFlags) (plan, error) {
	if rf.resume && rf.out != "" {
		return s.planResume(flags, rf.out)
	}
	job, err := s.buildJob(flags, rf.file)
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
	p.folder = filepath.Join(s.data, "runs", p.id)
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

// run carries the job out, or goes on with it, and prints the front.
func (s *session) run(ctx context.Context, flags *pflag.FlagSet, rf runFlags) error {
	p, err := s.planRun(flags, rf)
	if err != nil {
		return err
	}
	if rf.dry {
		return s.dryRun(p)
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
		if err := evalworker.Check(p.job); errors.Is(err, search.ErrUnreachable) {
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
		b, err := yaml.Marshal(p.job)
		if err != nil {
			return err
		}
		if err := durable.Write(filepath.Join(p.folder, "job.yaml"), b); err != nil {
			return err
		}
	}
	return s.registerRun(p.id, p.folder)
}

// carryOut starts the workflow or attaches to it, follows it to its end and prints the result.
func (s *session) carryOut(ctx context.Context, b *backend, p plan) error {
	in := workflows.RunInput{Folder: p.folder, ID: p.id, Model: filepath.Base(p.job.Model), Space: p.job.Space, Target: p.job.Target,
		Method: p.job.Method, Seed: p.job.Seed, Budget: p.job.Budget, Tuning: s.tuning(), Attributes: b.attributes(ctx)}
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
			s.say("\nthe job goes on; watch it with: paretopress jobs watch %s%s", p.id, s.dataFlag())
		}
		return errInterrupted
	}
	if err != nil {
		return fmt.Errorf("run %s: %w; go on with: paretopress run --resume --out %s", p.id, err, p.folder)
	}
	return s.printResult(p, b, time.Since(began))
}

// dryRun prints the job and what it will cost.
func (s *session) dryRun(p plan) error {
	ck, err := engine.Open(p.job.Model)
	if err != nil {
		return err
	}
	defer ck.Close()
	cost, err := estimate(p.job, ck.Config())
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(struct {
			Run    string        `json:"run"`
			Folder string        `json:"folder"`
			Job    workflows.Job `json:"job"`
			Cost   runCost       `json:"cost"`
		}{p.id, p.folder, p.job, cost})
	}
	b, err := yaml.Marshal(p.job)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Stdout, "# run %s in %s\n%s", p.id, p.folder, b)
	fmt.Fprintf(s.Stdout, "# bank    %d units, %d levels, %s\n", cost.Units, cost.Levels, megabytes(cost.BankBytes))
	fmt.Fprintf(s.Stdout, "# search  %s tokens of candidates, about %.3g multiply-adds\n", count(cost.SearchTokens), cost.SearchMACs)
	return nil
}

// runCost is what a run will take.
type runCost struct {
	Units        int     `json:"units"`
	Levels       int     `json:"levels"`        // of all units, those that a bank must hold
	BankBytes    int64   `json:"bank_bytes"`    // of those levels
	SearchTokens int64   `json:"search_tokens"` // of candidates run forward
	SearchMACs   float64 `json:"search_macs"`   // multiply-adds of weights for these: a candidate and, for the KL, the dense head
}

// estimate adds up what a job will take of a model.
func estimate(job workflows.Job, c engine.Config) (runCost, error) {
	cost := runCost{SearchTokens: job.Budget}
	space, err := evalworker.BuildSpace(c, job)
	if err != nil {
		return cost, err
	}
	cost.Units = len(space.Units)
	for _, u := range space.Units {
		for _, name := range u.Levels {
			level, err := evalworker.ParseLevel(name.Name)
			if err != nil {
				return cost, err
			}
			if level.NeedsCalibration() {
				cost.Levels++
				cost.BankBytes += name.Bytes
			}
		}
	}
	var weights int64
	for _, m := range c.Modules() {
		weights += int64(m.Rows) * int64(m.Cols)
	}
	head := int64(c.Vocab) * int64(c.Hidden)
	cost.SearchMACs = float64(job.Budget) * float64(weights+2*head)
	return cost, nil
}
