package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/workflows"
)

func (s *session) frontCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "front RUN",
		Short: "Print the front of a run, from its folder",
		Args:  exactly(1, "the id or the folder of a run"),
		RunE: func(_ *cobra.Command, args []string) error {
			folder, err := s.findRun(args[0])
			if err != nil {
				return err
			}
			front, err := evalworker.ReadFront(folder)
			if err != nil {
				return err
			}
			absolute(&front, folder)
			if s.json {
				return s.printJSON(front)
			}
			s.printFront(front)
			return nil
		},
	}
}

// absolute makes the paths of configurations usable from anywhere.
func absolute(f *evalworker.Front, folder string) {
	for i := range f.Points {
		f.Points[i].Config = filepath.Join(folder, filepath.FromSlash(f.Points[i].Config))
	}
	for i := range f.Healed {
		h := &f.Healed[i]
		h.Config, h.Delta = filepath.Join(folder, filepath.FromSlash(h.Config)), filepath.Join(folder, filepath.FromSlash(h.Delta))
	}
	for i := range f.Baselines {
		f.Baselines[i].Config = filepath.Join(folder, filepath.FromSlash(f.Baselines[i].Config))
	}
}

// readFront reads a front; an absent one is fs.ErrNotExist.
func readFront(folder string) (evalworker.Front, error) {
	if _, err := os.Stat(filepath.Join(folder, "front.json")); err != nil {
		return evalworker.Front{}, err
	}
	return evalworker.ReadFront(folder)
}

// finished reports whether the run in folder was carried to the end of its budget, or of what there
// was to try.
func finished(folder string) (bool, error) {
	front, err := readFront(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && !front.Partial, err
}

// printFront prints points beside their baselines as a table, in the order of the front: smallest first.
func (s *session) printFront(f evalworker.Front) {
	var rows [][]string
	byID := map[string]evalworker.Baseline{}
	for _, b := range f.Baselines {
		byID[b.ID] = b
	}
	held := func(m *evalworker.Measured) []string {
		if m == nil {
			return []string{"-", "-"}
		}
		return []string{fmt.Sprintf("%.4f", m.KL.Value), fmt.Sprintf("%.4f ± %.4f", m.NLL.Value, m.NLL.Error)}
	}
	for _, p := range f.Points {
		if p.HeldOut == nil && len(f.Points) > workflows.FrontRows {
			continue // a long front is shown by the points that were measured
		}
		mark := ""
		if p.Answer {
			mark = "*"
		}
		gain := "-"
		uniform := []string{"-", "-"}
		if p.Uniform != nil {
			gain = fmt.Sprintf("%+.4f ± %.4f", p.Uniform.NLL.Value, p.Uniform.NLL.Error)
			uniform = held(byID[p.Uniform.ID].HeldOut)
		}
		cells := append([]string{p.ID + mark, megabytes(p.Bytes), fmt.Sprintf("%.3f", p.Bits)}, held(p.HeldOut)...)
		rows = append(rows, append(append(cells, uniform...), gain))
		for _, h := range f.Healed {
			if h.Parent != p.ID {
				continue
			}
			gain := "-"
			if h.Gain != nil {
				gain = fmt.Sprintf("%+.4f ± %.4f", h.Gain.NLL.Value, h.Gain.NLL.Error)
			}
			rows = append(rows, append(append([]string{h.ID, megabytes(h.Bytes), fmt.Sprintf("%.3f", h.Bits)}, held(h.HeldOut)...), "-", "-", gain))
		}
	}
	table(s.Stdout, []string{"POINT", ">SIZE", ">BITS/W", ">KL", ">NLL", ">UNIFORM KL", ">UNIFORM NLL", ">GAIN"}, rows)
	if f.Dense != nil {
		fmt.Fprintf(s.Stdout, "dense: %s, NLL %.4f ± %.4f\n", megabytes(f.DenseBytes), f.Dense.NLL.Value, f.Dense.NLL.Error)
	}
	fmt.Fprintln(s.Stdout, "held-out text, nats a token; UNIFORM: the uniform baseline of the same size; GAIN: its NLL minus the point's, paired; * the search's answer")
	if len(f.Healed) > 0 {
		fmt.Fprintln(s.Stdout, "healed: the point above after fine-tuning, with what of the delta is beside it; GAIN: that point's NLL minus this")
	}
	if f.Partial {
		fmt.Fprintln(s.Stdout, "the run had not ended when this was written")
	}
}

// printRows prints the short form of a front that a status has.
func (s *session) printRows(rows []workflows.FrontRow) {
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{r.ID, megabytes(r.Bytes), fmt.Sprintf("%.3f", r.Bits), fmt.Sprintf("%.4f", r.KL), fmt.Sprintf("%.4f", r.NLL)})
	}
	table(s.Stdout, []string{"POINT", ">SIZE", ">BITS/W", ">KL", ">NLL"}, cells)
	fmt.Fprintln(s.Stdout, "on the windows of the search, nats a token")
}

// runReport is the result of run with --json.
type runReport struct {
	Run     string  `json:"run"`
	Folder  string  `json:"folder"`
	Front   string  `json:"front"`
	Tokens  int64   `json:"tokens"`
	Seconds float64 `json:"seconds"`
	UI      string  `json:"ui,omitempty"`
}

// printResult prints the front of a run that is done and what to try next. b may be nil.
func (s *session) printResult(p plan, b *backend, took time.Duration) error {
	front, err := evalworker.ReadFront(p.folder)
	if err != nil {
		return err
	}
	path := filepath.Join(p.folder, "front.json")
	ui := b.lastingURL(p.id)
	if s.json {
		return s.printJSON(runReport{Run: p.id, Folder: p.folder, Front: path, Tokens: front.Tokens, Seconds: took.Seconds(), UI: ui})
	}
	absolute(&front, p.folder)
	s.printFront(front)
	fmt.Fprintf(s.Stdout, "\nrun     %s: %d candidates, %s tokens", p.id, front.Candidates, count(front.Tokens))
	if took > 0 {
		fmt.Fprintf(s.Stdout, ", %s", short(took))
	}
	fmt.Fprintf(s.Stdout, "\nfolder  %s\n", p.folder)
	s.printURL(b, ui)
	s.printNext(p, front)
	return nil
}

// lastingURL is the page of a run in the UI when this command has ended, empty if there is none. b may be nil.
func (b *backend) lastingURL(id string) string {
	switch {
	case b == nil:
		return ""
	case b.embedded(): // this server is about to end; the next one is found at the usual port
		return runURL(fmt.Sprintf("http://127.0.0.1:%d", defaultUIPort), b.namespace, id)
	}
	return b.runURL(id)
}

// printURL prints the page of a run in the UI, if it has one.
func (s *session) printURL(b *backend, ui string) {
	switch {
	case ui == "":
	case b.embedded():
		fmt.Fprintf(s.Stdout, "ui      %s while paretopress server%s runs\n", ui, s.dataFlag())
	default:
		fmt.Fprintf(s.Stdout, "ui      %s\n", ui)
	}
}

// printNext suggests commands.
func (s *session) printNext(p plan, front evalworker.Front) {
	fmt.Fprintf(s.Stdout, "\nnext\n  paretopress front %s%s --json\n", p.id, s.dataFlag())
	if i := slices.IndexFunc(front.Points, func(q evalworker.Point) bool { return q.Answer }); i >= 0 && p.job.Text != "" {
		line := fmt.Sprintf("  paretopress eval --model %s --text %s --config %s", p.job.Model, p.job.Text, front.Points[i].Config)
		if dir := s.bankOf(p); dir != "" {
			line += " --bank " + dir
		}
		fmt.Fprintln(s.Stdout, line)
	}
	fmt.Fprintf(s.Stdout, "  paretopress run --resume --out %s --budget %d%s\n", p.folder, 2*max(p.job.Budget, front.Tokens), s.dataFlag())
	fmt.Fprintf(s.Stdout, "  paretopress server%s\n", s.dataFlag())
}

// bankOf is the folder of the bank that a run used, empty if it used none.
func (s *session) bankOf(p plan) string {
	dir, err := evalworker.BankDir(p.folder)
	if err != nil {
		return "" // this is a hint only
	}
	return dir
}
