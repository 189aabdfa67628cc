package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/workflows"
)

func (s *session) finetuneCommand() *cobra.Command {
	var job workflows.FinetuneJob
	var rf runFlags
	cmd := &cobra.Command{
		Use:   "finetune",
		Short: "Train a few weights of a model, dense or compressed",
		Long: `Finetune trains a model on a text, or on instructions, a line of JSON each in a file that ends with .jsonl, of which the answers count. The model may be
compressed (--config, --bank): it is then distilled from the dense model, and what is pruned stays zero. What comes out is a delta: a file of the weights
that changed, merged by eval --delta and export --delta, and an adapter for Hugging Face PEFT.

The job goes through a Temporal server, as that of run does. Every flag of the job can be a key of a YAML file given with -f; flags on the command line win.`,
		Example: `  paretopress finetune --model model.gguf --text corpus.txt --method spiel-ag --density 0.02 --steps 200
  paretopress finetune --model model.gguf --config pruned.txt --text corpus.txt
  paretopress finetune --model model.gguf --text chats.jsonl --method lora --rank 8 --out my-training
  paretopress finetune --resume --out my-training`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.finetune(cmd.Context(), cmd.Flags(), rf) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	finetuneFlags(f, &job)
	f.StringVarP(&rf.file, "file", "f", "", "YAML file with the job")
	f.StringVar(&rf.out, "out", "", "training folder (default: runs/ID in the data folder)")
	f.BoolVar(&rf.resume, "resume", false, "go on with the training in --out, or with the same job as before")
	f.BoolVar(&rf.dry, "dry-run", false, "print the job and what it will train, and do nothing")
	s.cache.flag(f)
	f.IntVar(&rf.port, "port", 0, "port of the embedded server (0: a free one)")
	f.IntVar(&rf.uiPort, "ui-port", 0, "port of the embedded UI (0: a free one)")
	return cmd
}

// finetuneFlags binds the flags of a training's job to j, whose present values are the defaults. The names are those of the keys in finetune.yaml.
func finetuneFlags(f *pflag.FlagSet, j *workflows.FinetuneJob) {
	f.StringVar(&j.Model, "model", j.Model, modelUsage+" (default builtin)")
	f.StringVar(&j.Config, "config", j.Config, "file of levels that the model is compressed to (default: the model as it is)")
	f.StringVar(&j.Bank, "bank", j.Bank, "folder of the bank for levels that need calibration")
	f.StringVar(&j.Text, "text", j.Text, "text to learn from, or instructions if it ends with .jsonl (the builtin model has its own)")
	f.StringVar(&j.Method, "method", j.Method, "spiel-ag, spiel-ma, static-grad, static-random, lora, dsee or full (default spiel-ag)")
	f.Float64Var(&j.Density, "density", j.Density, "trainable weights, as a share of all parameters of the model (default 0.02)")
	f.Int64Var(&j.Params, "params", j.Params, "trainable weights")
	f.IntVar(&j.Rank, "rank", j.Rank, "of lora and dsee (default: of lora as --density or --params allow, of dsee 8)")
	f.Float64Var(&j.Alpha, "alpha", j.Alpha, "of lora and dsee: products are scaled by alpha/rank (default 16)")
	f.StringVar(&j.LowRank, "low-rank", j.LowRank, "of lora and dsee on a pruned model: unmerged or merged-masked (default unmerged)")
	f.StringVar(&j.Support, "support", j.Support, "restricted to what a pruned model has kept, or free: pruned weights may come back as far as --size allows (default restricted)")
	f.StringVar(&j.Size, "size", j.Size, "of --support free: what the model may take in store, such as 90MB")
	f.StringVar(&j.Objective, "objective", j.Objective, "kl: distillation from the dense model, or nll of the next token (default kl with --config, else nll)")
	f.Float64Var(&j.Temperature, "temperature", j.Temperature, "of --objective kl (default 1)")
	f.IntVar(&j.Steps, "steps", j.Steps, "of the optimizer (default 70)")
	f.IntVar(&j.Batch, "batch", j.Batch, "windows or instructions of a microbatch (default 8)")
	f.IntVar(&j.Accumulation, "accumulation", j.Accumulation, "microbatches of a step (default 1)")
	f.IntVar(&j.SeqLen, "seq-len", j.SeqLen, "tokens a window, or of an instruction at most (default 512)")
	f.IntVar(&j.MaxWindows, "max-windows", j.MaxWindows, "windows of the text to use (default: all)")
	f.StringVar(&j.Part, "part", j.Part, "of the text: all that is not held out, or calibration, what a run's search did not see either (default all)")
	f.Float64Var(&j.LearningRate, "learning-rate", j.LearningRate, "largest of the schedule (default: that of the method for a model of the size, 3e-4 or so at 100M parameters)")
	f.IntVar(&j.Warmup, "warmup", j.Warmup, "steps in which the learning rate rises")
	f.StringVar(&j.Scheduler, "scheduler", j.Scheduler, "of the learning rate: constant, linear or cosine (default linear)")
	f.Float64Var(&j.WeightDecay, "weight-decay", j.WeightDecay, "towards the weights that are trained from")
	f.IntVar(&j.ReselectionSteps, "reselection-steps", j.ReselectionSteps, "of SpIEL: steps from one choice of weights to the next (default 20)")
	f.IntVar(&j.SelectionAccumulationSteps, "selection-accumulation-steps", j.SelectionAccumulationSteps, "of SpIEL: steps over which gradients are summed for a choice (default 5)")
	f.Float64Var(&j.InitialReselectionRate, "initial-reselection-rate", j.InitialReselectionRate, "of SpIEL: share of the weights that is replaced at first (default 0.2)")
	f.BoolVar(&j.CrossTensor, "cross-tensor", j.CrossTensor, "of SpIEL: trainable weights may move between matrices")
	f.Uint64Var(&j.Seed, "seed", j.Seed, "seed of every random choice")
	f.StringVar(&j.Numerics, "numerics", j.Numerics, "exact: float32, the same bits on every CPU, or fast: bfloat16 products, the same bits on one kind of CPU (default fast if this CPU has instructions for that, else exact)")
	f.StringVar(&j.Name, "name", j.Name, "what the training is called (default: the model and the method)")
}

// finetune carries a training out, or goes on with it, and prints what came of it.
func (s *session) finetune(ctx context.Context, flags *pflag.FlagSet, rf runFlags) error {
	p, err := s.planTraining(ctx, flags, rf)
	if err != nil {
		return err
	}
	if rf.dry {
		return s.dryTraining(ctx, p)
	}
	if p.again && !rf.resume {
		if done, err := p.done(); err != nil {
			return err
		} else if done {
			s.say("this training was done before; what came of it is below (--seed N trains anew)")
			return s.printTraining(p, nil, 0)
		}
	}
	if !p.again {
		if err := evalworker.CheckFinetune(ctx, p.job, s.hub()); err != nil {
			return err
		}
	}
	return s.carryOut(ctx, rf, aTraining, p.placed, 1, deeds{
		write: func() error { return evalworker.WriteFinetuneJob(p.folder, p.job) },
		start: func(b *backend) error {
			in := workflows.FinetuneInput{Folder: p.folder, ID: p.id, Model: p.job.ModelName(), Method: p.job.Method, Objective: p.job.Objective, Steps: p.job.Steps,
				Tuning: s.tuning(), Attributes: b.attributes(ctx)}
			_, err := workflows.StartFinetune(ctx, b.client, in)
			return err
		},
		print: func(b *backend, took time.Duration) error { return s.printTraining(p, b, took) },
	})
}
