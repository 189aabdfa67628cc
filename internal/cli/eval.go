package cli

import (
	"context"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/workflows"
)

func (s *session) evalCommand() *cobra.Command {
	in := evalworker.SingleInput{}
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Score a model, or a configuration of it, on a text",
		Long: `Eval measures the negative log-likelihood of a text under a model: over positions 1 to L-1 of windows of L
tokens that do not overlap, without special tokens. With --config it measures a compressed configuration of the
model, and the KL divergence of its predictions from the dense model's. A config file has a "module: level"
line for each part that is not dense.`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.eval(cmd.Context(), in) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&in.Model, "model", workflows.Builtin, modelUsage)
	f.StringVar(&in.Text, "text", "", "text file")
	f.StringVar(&in.Config, "config", "", "file of levels")
	f.StringVar(&in.Bank, "bank", "", "folder of the bank for levels that need calibration")
	f.StringVar(&in.Delta, "delta", "", "file of a fine-tuning's delta, merged onto these levels")
	f.IntVar(&in.SeqLen, "seq-len", 512, "tokens a window")
	f.IntVar(&in.MaxWindows, "max-seqs", 0, "windows to score (0: all)")
	f.StringVar(&in.Numerics, "numerics", workflows.NumericsExact, "exact: float32, the same bits on every CPU, or fast: bfloat16 products, the same bits on one kind of CPU")
	s.cache.flag(f)
	return cmd
}

// evalReport is the result of eval.
type evalReport struct {
	Tokens        int64    `json:"tokens"`
	NLL           float64  `json:"nll"`
	PPL           float64  `json:"ppl"`
	NLLErr        float64  `json:"nll_stderr"`
	KL            *float64 `json:"kl,omitempty"`
	KLErr         *float64 `json:"kl_stderr,omitempty"`
	Bytes         int64    `json:"bytes"`
	BitsPerWeight float64  `json:"bits_per_weight"`
	Seconds       float64  `json:"seconds"`
	TokensPerS    float64  `json:"tokens_per_s"`
	PeakRSSBytes  int64    `json:"peak_rss_bytes"`
	Kernel        string   `json:"kernel"`
}

func (s *session) eval(ctx context.Context, in evalworker.SingleInput) error {
	switch {
	case in.Text == "":
		return usagef("--text: no text given")
	case in.MaxWindows < 0:
		return usagef("--max-seqs: %d is negative", in.MaxWindows)
	}
	if err := (configuration{text: in.Text, config: in.Config, bank: in.Bank, numerics: in.Numerics, seqLen: in.SeqLen}).check(); err != nil {
		return err
	}
	var err error
	if _, in.Model, err = s.fetchModel(ctx, in.Model); err != nil {
		return err
	}
	w := evalworker.NewWorkbench(evalworker.Options{Cache: s.cache.bytes})
	defer w.Close()
	p := s.newProgress()
	res, err := w.Single(ctx, in, func(now workflows.Progress) { p.report("eval", now.Unit, now.Done, now.Total, now.Note) })
	if err == nil {
		p.finish("eval", "")
	}
	p.close()
	if err != nil {
		return err
	}
	r := evalReport{Tokens: res.Tokens, NLL: res.NLL.Value, PPL: math.Exp(res.NLL.Value), NLLErr: res.NLL.Error, Bytes: res.Bytes,
		BitsPerWeight: res.Bits, Seconds: res.Seconds, PeakRSSBytes: peakRSS(), Kernel: kernel.Active()}
	if res.Seconds > 0 {
		r.TokensPerS = float64(res.Tokens) / res.Seconds
	}
	if res.KL != nil {
		r.KL, r.KLErr = &res.KL.Value, &res.KL.Error
	}
	if s.json {
		return s.printJSON(r)
	}
	fmt.Fprintf(s.Stdout, "tokens  %d\nnll     %.5f ± %.5f nats a token (perplexity %.3f)\n", r.Tokens, r.NLL, r.NLLErr, r.PPL)
	if r.KL != nil {
		fmt.Fprintf(s.Stdout, "kl      %.5f ± %.5f nats a token from the dense model\n", *r.KL, *r.KLErr)
	}
	_, err = fmt.Fprintf(s.Stdout, "size    %s, %.3f bits a weight in the linear modules\nspeed   %.0f tokens/s (%s kernels), peak memory %s\n",
		megabytes(r.Bytes), r.BitsPerWeight, r.TokensPerS, r.Kernel, megabytes(r.PeakRSSBytes))
	return err
}
