package cli

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/paretopress/paretopress/internal/devserver"
)

// Ports of the server command: those of Temporal's own development server.
const (
	defaultPort   = 7233
	defaultUIPort = 8233
)

func (s *session) serverCommand() *cobra.Command {
	var o devserver.Options
	var workers int
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the Temporal server and its UI on the data folder, with a worker",
		Long: `Server runs a Temporal server and its UI, bound to this machine only, on the data folder, and workers that
carry runs out. Jobs that other terminals start then go on when those terminals close, and after the server
was stopped or killed they go on when it is started again.`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.runServer(cmd.Context(), o, workers) },
	}
	f := cmd.Flags()
	f.IntVar(&o.Port, "port", defaultPort, "port of the server (0: a free one)")
	f.IntVar(&o.UIPort, "ui-port", defaultUIPort, "port of the UI (0: a free one)")
	f.IntVar(&workers, "workers", 1, "evaluations at once in this process (0: none, paretopress worker does them)")
	s.cache.flag(f)
	return cmd
}

// runServer serves until ctx is cancelled.
func (s *session) runServer(ctx context.Context, o devserver.Options, workers int) error {
	if workers < 0 {
		return usagef("--workers: %d is negative", workers)
	}
	if s.external() {
		return usagef("server runs a server of its own; it has no use for --address, --profile or TEMPORAL_ADDRESS")
	}
	b, err := s.serve(ctx, o, workers, runtime.GOMAXPROCS(0))
	if err != nil {
		return err
	}
	if s.json {
		err = s.printJSON(map[string]string{"address": b.address, "ui": b.ui, "data": s.data})
	} else {
		_, err = fmt.Fprintf(s.Stdout, "server  %s\nui      %s\ndata    %s\nstop    Ctrl-C; runs go on when the server is started again\n", b.address, b.ui, s.data)
	}
	if err == nil {
		<-ctx.Done()
		s.say("stopping")
		err = errInterrupted
	}
	b.close(s)
	return err
}

func (s *session) workerCommand() *cobra.Command {
	var slots, threads int
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Add workers to a server; runs take them up at once",
		Args:  exactly(0, ""),
		RunE:  func(cmd *cobra.Command, _ []string) error { return s.runWorker(cmd.Context(), slots, threads) },
	}
	f := cmd.Flags()
	f.IntVar(&slots, "workers", 1, "evaluations at once in this process")
	f.IntVar(&threads, "threads", runtime.GOMAXPROCS(0), "threads, shared by the evaluations")
	s.cache.flag(f)
	return cmd
}

// runWorker works until ctx is cancelled.
func (s *session) runWorker(ctx context.Context, slots, threads int) error {
	if slots < 1 {
		return usagef("--workers: %d, want at least 1", slots)
	}
	if threads < 1 {
		return usagef("--threads: %d, want at least 1", threads)
	}
	b, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if err := s.startWorkers(b, slots, threads); err != nil {
		b.close(s)
		return err
	}
	s.say("%d evaluations at once on %d threads for the server at %s; Ctrl-C stops, and what is in hand is left to other workers", slots, threads, b.address)
	<-ctx.Done()
	s.say("stopping")
	b.close(s)
	return errInterrupted
}

// dataFlag repeats --data in commands to try next, where it was given.
func (s *session) dataFlag() string {
	if s.data == s.defaultData() {
		return ""
	}
	return " --data " + s.data
}

// serverFlags repeats the flags that name the server in commands to try next.
func (s *session) serverFlags() string {
	f := s.dataFlag()
	for _, v := range []struct{ name, value string }{{"address", s.address}, {"namespace", s.namespace}, {"profile", s.profile}} {
		if v.value != "" {
			f += " --" + v.name + " " + v.value
		}
	}
	return f
}
