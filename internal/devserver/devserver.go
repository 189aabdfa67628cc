package devserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/server/temporal"

	"github.com/paretopress/paretopress/internal/devserver/lease"
)

// loopback is the only address that anything here listens on: there is no authentication.
const loopback = "127.0.0.1"

// Defaults of [Options].
const (
	DefaultNamespace = "default"
	DefaultRetention = 30 * 24 * time.Hour
)

// Bounds on how long the server may take.
const (
	startTimeout = 60 * time.Second // until the namespace answers; it takes about a second
	stopTimeout  = 10 * time.Second // where the caller's context sets no earlier one
)

// Options say what to start.
type Options struct {
	DataDir   string        // folder of the database, the lock and the log; created if need be
	Port      int           // of the frontend (gRPC); 0 takes a free one
	UIPort    int           // of the UI; 0 takes a free one, below 0 starts no UI
	Namespace string        // made if it does not exist; empty is DefaultNamespace
	Retention time.Duration // how long closed workflows of a namespace that is made are kept; 0 is DefaultRetention
}

// Server is a running server.
type Server struct {
	info  lease.Info
	lease *lease.Lease
	log   *logFile
	srv   temporal.Server
	ui    *uiserver.Server
}

// Start starts the server and returns once it answers. The error wraps [lease.ErrInUse] if another
// process serves the folder; a port in use is named by its address and flag.
func Start(o Options) (_ *Server, err error) {
	if o.DataDir == "" {
		return nil, errors.New("devserver: no data folder given")
	}
	if o.DataDir, err = filepath.Abs(o.DataDir); err != nil {
		return nil, fmt.Errorf("devserver: %w", err)
	}
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	s := &Server{}
	if s.lease, err = lease.Acquire(o.DataDir); err != nil {
		return nil, fmt.Errorf("devserver: %w", err)
	}
	defer func() {
		if err == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if e := s.Stop(ctx); e != nil {
			err = fmt.Errorf("%w (and then %w)", err, e)
		}
	}()
	if s.log, err = openLog(filepath.Join(o.DataDir, "server.log")); err != nil {
		return nil, fmt.Errorf("devserver: %w", err)
	}
	ports, err := choosePorts(o)
	if err != nil {
		return nil, err
	}
	database, err := openDatabase(o)
	if err != nil {
		return nil, err
	}
	s.info = lease.Info{Address: ports.frontend(), PID: os.Getpid()}
	if s.srv, err = newServer(database, ports, s.log); err != nil {
		return nil, err
	}
	if err = s.srv.Start(); err != nil {
		return nil, fmt.Errorf("devserver: start the Temporal server: %w", err)
	}
	if err = s.awaitNamespace(o.Namespace); err != nil {
		return nil, err
	}
	if o.UIPort >= 0 {
		if err = s.startUI(o.Namespace, ports.ui); err != nil {
			return nil, err
		}
	}
	if err = s.lease.Publish(s.info); err != nil {
		return nil, fmt.Errorf("devserver: %w", err)
	}
	return s, nil
}

// Address is the host and port of the frontend.
func (s *Server) Address() string { return s.info.Address }

// UI is the URL of the UI without a path, empty if there is none.
func (s *Server) UI() string { return s.info.UI }

// awaitNamespace waits until the namespace can be used.
func (s *Server) awaitNamespace(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := client.NewLazyClient(client.Options{HostPort: s.info.Address, Namespace: name, Logger: sdklog.NewStructuredLogger(s.log.SLog())})
	if err != nil {
		return fmt.Errorf("devserver: %w", err)
	}
	defer c.Close()
	for {
		_, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: name})
		if err == nil {
			return nil
		}
		select {
		case fatal := <-s.log.fatal:
			return fmt.Errorf("devserver: the Temporal server gave up: %s", fatal)
		case <-ctx.Done():
			return fmt.Errorf("devserver: the Temporal server at %s does not answer: %w (see %s)", s.info.Address, err, s.log.path)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// startUI starts the UI and waits until it listens.
func (s *Server) startUI(namespace string, port int) error {
	s.ui = uiserver.NewServer(uioptions.WithConfigProvider(&uiconfig.Config{
		Host:                loopback,
		Port:                port,
		TemporalGRPCAddress: s.info.Address,
		EnableUI:            true,
		DefaultNamespace:    namespace,
		CORS:                uiconfig.CORS{CookieInsecure: true}, // plain HTTP on loopback
		HideLogs:            true,
		DisableNewsFetch:    true,
	}))
	ended := make(chan error, 1)
	go func() { ended <- s.ui.Start() }()
	address := net.JoinHostPort(loopback, strconv.Itoa(port))
	for deadline := time.Now().Add(startTimeout); ; {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			s.info.UI = "http://" + address
			return nil
		}
		select {
		case e := <-ended:
			return fmt.Errorf("devserver: the UI ended at its start: %w", e)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("devserver: the UI at %s does not answer: %w", address, err)
		}
	}
}

// Stop stops the UI and the server and gives the data folder free. It waits until ctx ends, at most ten
// seconds; if the server has not stopped by then the folder stays locked until this process ends.
func (s *Server) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err := s.lease.Withdraw()
	done := make(chan error, 1)
	go func() {
		if s.ui != nil {
			s.ui.Stop()
		}
		if s.srv != nil {
			done <- s.srv.Stop()
		} else {
			done <- nil
		}
	}()
	select {
	case e := <-done:
		err = errors.Join(err, e)
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("devserver: the Temporal server has not stopped: %w", ctx.Err()))
	}
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return errors.Join(err, s.lease.Release())
}
