package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/internal/devserver"
	"github.com/paretopress/paretopress/internal/devserver/lease"
	"github.com/paretopress/paretopress/workflows"
)

// backend is the Temporal server that a command talks to, and what of it this process runs.
type backend struct {
	client    client.Client
	namespace string
	address   string
	ui        string            // address of the UI, empty if not known
	server    *devserver.Server // nil unless this process runs it
	workers   *evalworker.Worker
}

// embedded reports whether the server ends with this process.
func (b *backend) embedded() bool { return b.server != nil }

// close ends what this process runs, in the order that loses nothing: workers first, the server last.
func (b *backend) close(s *session) {
	if b.workers != nil {
		if err := b.workers.Stop(); err != nil {
			s.say("paretopress: stopping the workers: %v", err)
		}
	}
	if b.client != nil {
		b.client.Close()
	}
	if b.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		if err := b.server.Stop(ctx); err != nil {
			s.say("paretopress: stopping the server: %v", err)
		}
	}
}

// external reports whether the user names a Temporal server of their own.
func (s *session) external() bool {
	return s.address != "" || s.profile != "" || s.Getenv("TEMPORAL_ADDRESS") != "" || s.Getenv("TEMPORAL_PROFILE") != ""
}

// errNoServer says that nothing runs that could answer.
var errNoServer = errors.New("no server is running")

// connect reaches a server that is there already: the one the user names, else the one that some
// other process runs on the data folder.
func (s *session) connect(ctx context.Context) (*backend, error) {
	if s.external() {
		return s.dial(ctx, client.Options{}, "")
	}
	info, ok := lease.Lookup(s.data)
	if !ok {
		return nil, fmt.Errorf("%w on data folder %s: start one with paretopress server, or name one with --address", errNoServer, s.data)
	}
	// The environment's TLS and keys are meant for another server than our own.
	return s.dial(ctx, client.Options{HostPort: info.Address, Namespace: s.namespaceOr(devserver.DefaultNamespace)}, info.UI)
}

// dial opens a client with the given options, or, if they name no address, with those of the flags
// and the standard Temporal environment configuration.
func (s *session) dial(ctx context.Context, o client.Options, ui string) (*backend, error) {
	if o.HostPort == "" {
		var err error
		o, err = envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{
			ConfigFileProfile: s.profile, EnvLookup: environment(s.Getenv)})
		if err != nil {
			return nil, usagef("Temporal configuration: %w", err)
		}
		if s.address != "" {
			o.HostPort = s.address
		}
		if s.namespace != "" {
			o.Namespace = s.namespace
		}
	}
	o.Logger = quietLogger{}
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := client.DialContext(bounded, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("no Temporal server answers at %s: %w", o.HostPort, err)
	}
	if o.Namespace == "" {
		o.Namespace = client.DefaultNamespace
	}
	return &backend{client: c, namespace: o.Namespace, address: o.HostPort, ui: ui}, nil
}

// serve starts the embedded server and, with slots above 0, workers in this process.
func (s *session) serve(ctx context.Context, o devserver.Options, slots, threads int) (*backend, error) {
	o.DataDir = s.data
	o.Namespace = s.namespaceOr(devserver.DefaultNamespace)
	server, err := devserver.Start(o)
	if err != nil {
		return nil, err
	}
	b, err := s.dial(ctx, client.Options{HostPort: server.Address(), Namespace: o.Namespace}, server.UI())
	if err != nil {
		b = &backend{}
	}
	b.server = server
	if err == nil && slots > 0 {
		err = s.startWorkers(b, slots, threads)
	}
	if err != nil {
		b.close(s)
		return nil, err
	}
	return b, nil
}

// startWorkers starts workers for b in this process.
func (s *session) startWorkers(b *backend, slots, threads int) error {
	w, err := evalworker.New(b.client, evalworker.Options{Slots: slots, Threads: threads, Cache: s.cache.bytes, Hub: s.hub()})
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return fmt.Errorf("start workers: %w", err)
	}
	b.workers = w
	return nil
}

// attributes makes sure that runs can be found by model and phase in the UI; a namespace where this is
// not allowed does without.
func (b *backend) attributes(ctx context.Context) bool {
	return workflows.RegisterAttributes(ctx, b.client, b.namespace) == nil
}

func (s *session) namespaceOr(def string) string {
	if s.namespace != "" {
		return s.namespace
	}
	return def
}

// runURL is the page of a run in the Temporal UI, empty if the UI's address is not known.
func (b *backend) runURL(id string) string {
	if b.ui == "" {
		return ""
	}
	return runURL(b.ui, b.namespace, id)
}

// runURL is the page of a run in the UI at the address ui.
func runURL(ui, namespace, id string) string {
	return fmt.Sprintf("%s/namespaces/%s/workflows/%s", ui, namespace, url.PathEscape(id))
}

// environment looks variables up in the injected environment.
type environment func(string) string

func (e environment) Environ() []string { return os.Environ() }

func (e environment) LookupEnv(name string) (string, bool) {
	v := e(name)
	return v, v != ""
}

// quietLogger drops what the SDK logs: commands say what went wrong themselves.
type quietLogger struct{}

var _ log.Logger = quietLogger{}

func (quietLogger) Debug(string, ...any) {}
func (quietLogger) Info(string, ...any)  {}
func (quietLogger) Warn(string, ...any)  {}
func (quietLogger) Error(string, ...any) {}
