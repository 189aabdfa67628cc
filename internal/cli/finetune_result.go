package cli

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/workflows"
)

// finetuneReport is the result of finetune with --json.
type finetuneReport struct {
	Training   string  `json:"training"`
	Folder     string  `json:"folder"`
	NLLBefore  float64 `json:"nll_before"` // on held-out windows, nats a token
	NLLAfter   float64 `json:"nll_after"`
	NLLErr     float64 `json:"nll_stderr"` // of the latter
	KLBefore   float64 `json:"kl_before"`
	KLAfter    float64 `json:"kl_after"`
	KLErr      float64 `json:"kl_stderr"`
	Windows    int     `json:"windows"`
	Trainable  int64   `json:"trainable"`
	Steps      int     `json:"steps"`
	Tokens     int64   `json:"tokens"`
	Loss       float64 `json:"loss"`
	Seconds    float64 `json:"seconds"`
	Bytes      int64   `json:"bytes"`             // of the model with the delta
	Beside     int64   `json:"beside"`            // of these, what cannot be merged
	Regrown    int64   `json:"regrown,omitempty"` // of these, what weights take that were pruned before
	Delta      string  `json:"delta"`
	DeltaBytes int64   `json:"delta_bytes"`
	PEFT       string  `json:"peft,omitempty"`
	UI         string  `json:"ui,omitempty"`
}

// printTraining prints what came of a training and what to do with it. b may be nil.
func (s *session) printTraining(p training, b *backend, took time.Duration) error {
	r, err := evalworker.ReadFinetuneResult(p.folder)
	if err != nil {
		return err
	}
	ui := b.lastingURL(p.id)
	if s.json {
		return s.printJSON(finetuneReport{Training: p.id, Folder: p.folder, NLLBefore: r.Before.NLL, NLLAfter: r.After.NLL, NLLErr: r.After.NLLError,
			KLBefore: r.Before.KL, KLAfter: r.After.KL, KLErr: r.After.KLError, Windows: r.After.Windows, Trainable: r.Trainable, Steps: r.Steps, Tokens: r.Tokens,
			Loss: r.Loss, Seconds: took.Seconds(), Bytes: r.Bytes, Beside: r.Beside, Regrown: r.Regrown, Delta: r.Delta, DeltaBytes: r.DeltaBytes, PEFT: r.PEFT, UI: ui})
	}
	s.printMeasured(r.Bytes-r.Beside-r.Regrown, r.Before, &r)
	fmt.Fprintf(s.Stdout, "held-out text, %d windows, nats a token; KL from the dense model\n\n", r.After.Windows)
	fmt.Fprintf(s.Stdout, "training %s: %s weights, %d steps, %s tokens", p.id, count(r.Trainable), r.Steps, count(r.Tokens))
	if took > 0 {
		fmt.Fprintf(s.Stdout, ", %s", short(took))
	}
	fmt.Fprintf(s.Stdout, "\ndelta   %s, %s", r.Delta, megabytes(r.DeltaBytes))
	switch {
	case r.Beside > 0:
		fmt.Fprintf(s.Stdout, ", %s of it beside the model\n", megabytes(r.Beside))
	case r.Regrown > 0:
		fmt.Fprintf(s.Stdout, ", merged: weights that were pruned before take %s more\n", megabytes(r.Regrown))
	default:
		fmt.Fprintln(s.Stdout, ", merged: the model takes no more bytes")
	}
	if r.PEFT != "" {
		fmt.Fprintf(s.Stdout, "peft    %s\n", r.PEFT)
	}
	fmt.Fprintf(s.Stdout, "folder  %s\n", p.folder)
	s.printURL(b, ui)
	model := " --model " + p.job.Model
	if p.job.Config != "" {
		model += " --config " + p.job.Config
	}
	if p.job.Bank != "" {
		model += " --bank " + p.job.Bank
	}
	fmt.Fprintln(s.Stdout, "\nnext")
	if p.job.Text != "" && !p.job.Instructions() {
		fmt.Fprintf(s.Stdout, "  paretopress eval%s --text %s --delta %s\n", model, p.job.Text, r.Delta)
	}
	if r.Beside > 0 {
		model += " --simulated"
	}
	fmt.Fprintf(s.Stdout, "  paretopress export%s --delta %s --format hf --out %s\n", model, r.Delta, filepath.Join(p.folder, "model"))
	return nil
}

// printMeasured prints a model of so many bytes on held-out text before and, if it has ended, after a training.
func (s *session) printMeasured(size int64, before workflows.Measured, after *workflows.FinishFinetuneResult) {
	cells := func(name string, size int64, m workflows.Measured) []string {
		return []string{name, megabytes(size), fmt.Sprintf("%.4f ± %.4f", m.KL, m.KLError), fmt.Sprintf("%.4f ± %.4f", m.NLL, m.NLLError)}
	}
	rows := [][]string{cells("before", size, before)}
	if after != nil {
		rows = append(rows, cells("after", after.Bytes, after.After))
	}
	table(s.Stdout, []string{"", ">SIZE", ">KL", ">NLL"}, rows)
}
