package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/workflows"
)

func (s *session) bankCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bank",
		Short: "Build, list and verify banks of levels",
		Args:  exactly(0, ""),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var job workflows.Job
	build := &cobra.Command{
		Use:   "build",
		Short: "Build the bank that a run would need, in this process and without a server",
		Long: `Build calibrates the model and stores every level of every unit of a space. A run of the same model, text
and space finds it in the data folder (or in --bank) and builds nothing. What is there already is not built again.`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.bankBuild(cmd.Context(), cmd.Flags()) },
	}
	build.Flags().SortFlags = false
	jobFlags(build.Flags(), &job)
	s.cache.flag(build.Flags())
	for _, unused := range []string{"method", "schedule", "budget", "seed", "name", "held-out-text", "heal", "heal-method", "heal-density", "heal-rank", "heal-learning-rate", "heal-steps"} {
		if err := build.Flags().MarkHidden(unused); err != nil {
			panic(err) // the flag was defined above
		}
	}
	cmd.AddCommand(build,
		&cobra.Command{Use: "ls BANK", Short: "List the units and levels of a bank", Args: exactly(1, "the folder of a bank"),
			RunE: func(_ *cobra.Command, args []string) error { return s.bankList(args[0]) }},
		&cobra.Command{Use: "verify BANK", Short: "Check every byte of a bank against its digests", Args: exactly(1, "the folder of a bank"),
			RunE: func(cmd *cobra.Command, args []string) error { return s.bankVerify(cmd.Context(), args[0]) }},
	)
	return cmd
}

// bankBuild builds a bank by the activities of a run, in a run folder that is thrown away.
func (s *session) bankBuild(ctx context.Context, flags *pflag.FlagSet) error {
	job, err := s.buildJob(ctx, flags, "")
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "paretopress-bank-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := evalworker.WriteJob(folder, job); err != nil {
		return err
	}
	w := evalworker.NewWorkbench(evalworker.Options{Slots: 1, Cache: s.cache.bytes, Hub: s.hub()})
	defer w.Close()
	p := s.newProgress()
	defer p.close()
	reporter := func(label string) evalworker.Reporter {
		return func(now workflows.Progress) { p.report(label, now.Unit, now.Done, now.Total, now.Note) }
	}
	prepared, err := w.Prepare(ctx, workflows.PrepareInput{Folder: folder}, reporter("prepare"))
	if err != nil {
		return err
	}
	p.finish("prepare", prepared.Model+"; "+prepared.SpaceText)
	sum := workflows.BankResult{}
	for _, r := range prepared.Ranges {
		res, err := w.BuildLevels(ctx, workflows.BuildLevelsInput{Folder: folder, From: r[0], To: r[1]}, reporter("bank"))
		if err != nil {
			return err
		}
		sum.Units += res.Units
		sum.Levels += res.Levels
		sum.Bytes += res.Bytes
		sum.Reused += res.Reused
	}
	p.finish("bank", "")
	if s.json {
		return s.printJSON(map[string]any{"bank": prepared.BankDir, "id": prepared.BankID, "units": sum.Units, "levels": sum.Levels, "bytes": sum.Bytes, "reused": sum.Reused})
	}
	if prepared.BankDir == "" {
		fmt.Fprintln(s.Stdout, "this space needs no bank: its levels are made on the fly")
		return nil
	}
	fmt.Fprintf(s.Stdout, "bank    %s\nbuilt   %d levels of %d units, %s\n", prepared.BankDir, sum.Levels, sum.Units, megabytes(sum.Bytes))
	return nil
}

// openBank opens a bank for commands that name it.
func openBank(dir string) (*bank.Bank, error) {
	b, err := bank.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return b, nil
}

func (s *session) bankList(dir string) error {
	b, err := openBank(dir)
	if err != nil {
		return err
	}
	defer b.Close()
	units, err := b.List()
	if err != nil {
		return err
	}
	var bytes, weights int64
	levels := 0
	for _, u := range units {
		for _, l := range u.Levels {
			bytes += l.Bytes
			levels++
			weights += int64(u.Rows) * int64(u.Cols)
		}
	}
	if s.json {
		return s.printJSON(map[string]any{"bank": dir, "id": b.Header().ID(), "header": b.Header(), "bytes": bytes, "units": units})
	}
	var rows [][]string
	for _, u := range units {
		for _, l := range u.Levels {
			bits := 8 * float64(l.Bytes) / float64(u.Rows*u.Cols)
			rows = append(rows, []string{u.Name, l.Name, strconv.FormatInt(l.Bytes, 10), fmt.Sprintf("%.3f", bits), l.Digest[:12]})
		}
	}
	table(s.Stdout, []string{"UNIT", "LEVEL", ">BYTES", ">BITS/WEIGHT", "SHA-256"}, rows)
	if weights > 0 {
		fmt.Fprintf(s.Stdout, "%d units, %d levels, %s; as dense 16-bit copies they would take %s\n", len(units), levels, megabytes(bytes), megabytes(2*weights))
	}
	return nil
}

func (s *session) bankVerify(ctx context.Context, dir string) error {
	b, err := openBank(dir)
	if err != nil {
		return err
	}
	defer b.Close()
	p := s.newProgress()
	var checked int64
	err = b.Verify(ctx, func(done, total int64) {
		checked = total
		p.report("verify", "bytes", done, total, "")
	})
	if err != nil {
		p.close()
		return err
	}
	p.finish("verify", "")
	p.close()
	if s.json {
		return s.printJSON(map[string]any{"bank": dir, "id": b.Header().ID(), "bytes": checked, "ok": true})
	}
	fmt.Fprintf(s.Stdout, "%s: %s checked, every digest is right\n", dir, megabytes(checked))
	return nil
}
