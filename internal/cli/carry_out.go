package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/paretopress/paretopress/internal/devserver"
	"github.com/paretopress/paretopress/internal/durable"
)

// deeds are what is done for a job that is its kind's own.
type deeds struct {
	write func() error                        // its file in its folder
	start func(b *backend) error              // its workflow, or attach to it
	print func(*backend, time.Duration) error // what came of it
}

// carryOut puts a job into its folder, starts its workflow or attaches to it, follows it to its end and prints the result.
func (s *session) carryOut(ctx context.Context, rf runFlags, k jobKind, p placed, workers int, do deeds) error {
	b, err := s.backendFor(ctx, rf, workers)
	if err != nil {
		return err
	}
	defer func() { b.close(s) }()
	if p.again && !rf.resume {
		if running, err := b.running(ctx, p.id); err != nil {
			return err
		} else if !running {
			return usagef("%s holds an unfinished %s of this job; go on with it by adding --resume", p.folder, k.name)
		}
	}
	if !p.again {
		if err := makeFolder(p, do.write); err != nil {
			return err
		}
	}
	if err := s.registerRun(p.id, p.folder); err != nil {
		return err
	}
	if err := do.start(b); err != nil {
		return err
	}
	began := time.Now()
	s.say("%-7s %s", k.name, p.id)
	s.say("folder  %s", p.folder)
	if url := b.runURL(p.id); url != "" {
		s.say("watch   %s", url)
	}
	if !b.embedded() {
		s.warnWithoutWorkers(ctx, b)
	}
	err = s.follow(ctx, b, p.id)
	if ctx.Err() != nil {
		if b.embedded() {
			s.say("\nstopping; go on with: paretopress %s --resume --out %s%s", k.command, p.folder, s.dataFlag())
		} else {
			s.say("\nthe job goes on; watch it with: paretopress jobs watch %s%s", p.id, s.serverFlags())
		}
		return errInterrupted
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w; go on with: paretopress %s --resume --out %s", k.name, p.id, err, k.command, p.folder)
	}
	return do.print(b, time.Since(began))
}

// backendFor finds the server for a job: one that is there, or the embedded one with workers.
func (s *session) backendFor(ctx context.Context, rf runFlags, workers int) (*backend, error) {
	b, err := s.connect(ctx)
	if !errors.Is(err, errNoServer) {
		return b, err
	}
	s.say("starting the Temporal server on %s", s.data)
	return s.serve(ctx, devserver.Options{Port: rf.port, UIPort: rf.uiPort}, workers, runtime.GOMAXPROCS(0))
}

// makeFolder makes the folder of a job with its id and, by write, its file.
func makeFolder(p placed, write func() error) error {
	if err := os.MkdirAll(p.folder, 0o755); err != nil {
		return err
	}
	if err := durable.Write(filepath.Join(p.folder, "id"), []byte(p.id+"\n")); err != nil {
		return err
	}
	return write()
}
