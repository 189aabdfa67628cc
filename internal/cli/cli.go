package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Exit codes that scripts rely on.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// Options are what a command line needs from its surroundings.
type Options struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// session is one call of the program: its surroundings and the flags that every command has.
type session struct {
	Options
	terminal  bool // stderr is a terminal that may be drawn on
	json      bool
	data      string // the data folder: server database, banks, runs
	address   string
	namespace string
	profile   string
	cache     cacheMemory
}

// usageError marks a call that was wrong in itself: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usagef returns a usageError.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errInterrupted ends a command that the user stopped; what there is to say has been said.
var errInterrupted = errors.New("interrupted")

// Run runs the command line and returns the exit code. Cancelling ctx interrupts the command.
func Run(ctx context.Context, o Options) int {
	s := &session{Options: o}
	s.terminal = isTerminal(o.Stderr) && o.Getenv("TERM") != "dumb"
	root := s.root()
	root.SetArgs(o.Args)
	root.SetIn(o.Stdin)
	root.SetOut(o.Stdout)
	root.SetErr(o.Stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(s.Stderr, "paretopress: interrupted")
		return exitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintf(s.Stderr, "paretopress: %s\n", oneLine(err))
		return exitUsage
	}
	fmt.Fprintf(s.Stderr, "paretopress: %s\n", oneLine(err))
	return exitFailed
}

// root builds the command tree.
func (s *session) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "paretopress",
		Short: "Find the best compressed versions of a language model, one for every size",
		Long: `paretopress searches over what to keep of every part of a Llama-family language model (drop it, prune it,
quantize it), measures every candidate on real text, and reports the Pareto front of size against
quality. Searches run as Temporal workflows that survive crashes; with nothing configured the program
brings its own Temporal server and UI.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q; see paretopress --help", args[0])
			}
			return nil
		},
		// An unknown PARETOPRESS_KERNEL is an error rather than a silent choice of another one.
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if err := kernel.Init(); err != nil {
				return usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	f := root.PersistentFlags()
	f.BoolVar(&s.json, "json", false, "print results as JSON")
	f.StringVar(&s.data, "data", s.defaultData(), "folder for the server's database, banks and runs (PARETOPRESS_DATA)")
	f.StringVar(&s.address, "address", "", "address of a Temporal server (TEMPORAL_ADDRESS); none: the server of the data folder")
	f.StringVar(&s.namespace, "namespace", "", "Temporal namespace (TEMPORAL_NAMESPACE)")
	f.StringVar(&s.profile, "profile", "", "profile of the Temporal configuration file (TEMPORAL_PROFILE)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(s.runCommand(), s.serverCommand(), s.workerCommand(), s.jobsCommand(), s.frontCommand(),
		s.evalCommand(), s.exportCommand(), s.finetuneCommand(), s.bankCommand(), s.modelCommand(), s.benchCommand())
	return root
}

// defaultData is PARETOPRESS_DATA, or paretopress below the user's data folder.
func (s *session) defaultData() string {
	if d := s.Getenv("PARETOPRESS_DATA"); d != "" {
		return d
	}
	if d := s.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "paretopress")
	}
	home := s.Getenv("HOME")
	if home == "" {
		home = "."
	}
	return filepath.Join(home, ".local", "share", "paretopress")
}

// say prints a message for people on standard error.
func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.Stderr, format+"\n", args...)
}

// printJSON prints v as the one result of a command.
func (s *session) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = s.Stdout.Write(append(b, '\n'))
	return err
}

// oneLine is the error's text without line breaks.
func oneLine(err error) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// args returns a cobra argument check that fails with a usage error naming what is wanted.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			if n == 0 {
				return usagef("%s takes no arguments, got %q", cmd.CommandPath(), args[0])
			}
			return usagef("%s takes %s; see %s --help", cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}
