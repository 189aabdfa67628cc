package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/workflows"
)

func (s *session) exportCommand() *cobra.Command {
	in := evalworker.ExportInput{}
	cmd := &cobra.Command{
		Use:   "export (RUN POINT | --model M --config FILE)",
		Short: "Write a point of a run, or a configuration of a model, in a file that runtimes load",
		Long: `Export writes a compressed model: a point of a run's front, by its id, the beginning of its id, or "best", the search's
answer; or a model with a file of levels, as eval takes it. What is written is read back, and its negative log-likelihood on
held-out windows compared with that of the candidate; a file that differs is removed. A model card goes beside it.

gguf is for llama.cpp: units at ggml's types (q8_0, q4_K, iq4_nl …) are stored as they are, others as a GGUF model has them or in 16
bits. Levels that no type of ggml stores are refused, unless --simulated writes them in 16 bits.

hf is a folder for Hugging Face transformers and, with --runtime vllm, for vLLM: levels of 4 and 8 bits as compressed-tensors packs them, all others,
or with --simulated all, in 16 bits.

Quantized levels take no fine-tuning in. One of low rank (finetune --method lora, healed points) is written beside them as an adapter that the
runtime loads too: OUT-lora.gguf for llama.cpp's --lora, the folder's adapter/ for PEFT and vLLM. The comparison counts it in.

recipe and evopress list levels and hold no weights: llm-compressor makes them anew, EvoPress takes them from its database.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return usagef("%s takes a run and a point of it, or --model; see %s --help", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"model", "config", "bank", "delta"} {
				if len(args) > 0 && cmd.Flags().Changed(name) {
					return usagef("--%s is of no use beside a run", name)
				}
			}
			if len(args) == 0 && !cmd.Flags().Changed("model") {
				return usagef("nothing to export: give a run and a point of it, or --model")
			}
			return s.export(cmd.Context(), in, args)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&in.Model, "model", "", modelUsage)
	f.StringVar(&in.Config, "config", "", "file of levels (default: the model as it is)")
	f.StringVar(&in.Bank, "bank", "", "folder of the bank for levels that need calibration")
	f.StringVar(&in.Delta, "delta", "", "file of a fine-tuning's delta, merged onto these levels; beside quantized ones it becomes an adapter (--method lora only), or with --simulated all is 16 bits")
	f.StringVar(&in.Format, "format", "", "gguf; hf: a Hugging Face folder; recipe: for llm-compressor; evopress: EvoPress's file of levels or drops (default: what the run is deployable to, gguf)")
	f.StringVar(&in.Out, "out", "", "file or folder to write")
	f.BoolVar(&in.Force, "force", false, "replace what --out is already")
	f.StringVar(&in.Runtime, "runtime", "", "transformers or vllm: what a folder of --format hf is for (default: what the run is deployable to, transformers)")
	f.BoolVar(&in.Activations, "quantize-activations", false, "let that runtime round the inputs of modules of 8 bits without groups (int8, fp8) to 8 bits too: W8A8, faster there and not what was evaluated")
	f.StringVar(&in.Dense, "dense", "", "f16 or bf16: how matrices without a level are stored (default: the one that keeps their values)")
	f.BoolVar(&in.Simulated, "simulated", false, "write levels that the format cannot store in 16 bits, instead of refusing them")
	f.StringVar(&in.TensorTypes, "tensor-types", "", "file to write for llama-quantize --tensor-type-file, which gives the same tensors the same types")
	f.StringVar(&in.Text, "text", "", "text file for the comparison (default: the held-out text of the run, or the builtin model's)")
	f.IntVar(&in.SeqLen, "seq-len", 512, "tokens a window of the comparison, at most; a run has its own")
	f.IntVar(&in.MaxWindows, "max-seqs", 4, "windows of the comparison")
	f.StringVar(&in.Numerics, "numerics", workflows.NumericsExact, "of the comparison: exact or fast")
	s.cache.flag(f)
	return cmd
}

func (s *session) export(ctx context.Context, in evalworker.ExportInput, args []string) error {
	if len(args) > 0 {
		folder, err := s.findRun(args[0])
		if err != nil {
			return err
		}
		in.Folder, in.Point = folder, args[1]
		job, err := evalworker.ReadJob(folder)
		if err != nil {
			return err
		}
		if job.Deployable != "" && job.Deployable != workflows.DeployableGGUF {
			in.Format = cmp.Or(in.Format, evalworker.FormatHuggingFace)
			if in.Format == evalworker.FormatHuggingFace {
				in.Runtime = cmp.Or(in.Runtime, job.Deployable)
			}
		}
	}
	in.Format = cmp.Or(in.Format, evalworker.FormatGGUF)
	switch {
	case in.Out == "":
		return usagef("--out: no path given")
	case !slices.Contains([]string{evalworker.FormatGGUF, evalworker.FormatHuggingFace, evalworker.FormatRecipe, evalworker.FormatEvoPress}, in.Format):
		return usagef("--format: %q is not gguf, hf, recipe or evopress", in.Format)
	case in.TensorTypes != "" && in.Format != evalworker.FormatGGUF:
		return usagef("--tensor-types is of --format gguf")
	case in.Runtime != "" && in.Format != evalworker.FormatHuggingFace:
		return usagef("--runtime is of --format hf")
	case in.Activations && in.Format != evalworker.FormatHuggingFace:
		return usagef("--quantize-activations is of --format hf")
	case in.Dense != "" && in.Dense != "f16" && in.Dense != "bf16":
		return usagef("--dense: %q is neither f16 nor bf16", in.Dense)
	case in.MaxWindows < 1:
		return usagef("--max-seqs: %d, want at least 1 window", in.MaxWindows)
	}
	if err := (configuration{text: in.Text, config: in.Config, bank: in.Bank, numerics: in.Numerics, seqLen: in.SeqLen}).check(); err != nil {
		return err
	}
	in.Command = "paretopress " + strings.Join(s.Args, " ")
	if in.Model != "" {
		var err error
		if _, in.Model, err = s.fetchModel(ctx, in.Model); err != nil {
			return err
		}
	}
	w := evalworker.NewWorkbench(evalworker.Options{Cache: s.cache.bytes, Hub: s.hub()})
	defer w.Close()
	p := s.newProgress()
	task := "" // at work
	res, err := w.Export(ctx, in, func(now workflows.Progress) {
		if task != now.Note && task != "" {
			p.finish(task, "")
		}
		task = now.Note
		p.report(task, now.Unit, now.Done, now.Total, "")
	})
	if err == nil {
		p.finish(task, "")
	}
	p.close()
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(res)
	}
	c := res.NLLCheck
	if c == nil {
		fmt.Fprintf(s.Stdout, "path    %s\n", res.Path)
		return nil
	}
	fmt.Fprintf(s.Stdout, "path    %s\nsize    %s, %d bytes\ncheck   NLL %.6f, the candidate's %.6f, nats a token over %d tokens\ncard    %s\n",
		res.Path, megabytes(res.Bytes), res.Bytes, c.Exported, c.Evaluated, c.Tokens, res.Card)
	if res.Adapter != "" {
		fmt.Fprintf(s.Stdout, "adapter %s, %d bytes\n", res.Adapter, res.AdapterBytes)
	}
	for _, note := range res.Notes {
		fmt.Fprintf(s.Stdout, "note    %s\n", note)
	}
	return nil
}
