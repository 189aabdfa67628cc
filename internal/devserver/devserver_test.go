package devserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/paretopress/paretopress/internal/devserver"
	"github.com/paretopress/paretopress/internal/devserver/lease"
	"github.com/paretopress/paretopress/workflows"
	"github.com/paretopress/paretopress/workflows/flowtest"
)

// start starts a server on dir that is stopped when the test ends, if not before.
func start(t *testing.T, o devserver.Options) *devserver.Server {
	t.Helper()
	began := time.Now()
	s, err := devserver.Start(o)
	require.NoError(t, err)
	t.Logf("started in %v", time.Since(began).Round(time.Millisecond))
	return s
}

// stop stops a server within its bound.
func stop(t *testing.T, s *devserver.Server) {
	t.Helper()
	began := time.Now()
	require.NoError(t, s.Stop(context.Background()))
	t.Logf("stopped in %v", time.Since(began).Round(time.Millisecond))
}

// A server that is stopped and started again has its workflows; meanwhile it is found, listens on
// loopback only, and shows its UI.
func TestServeStopAndServeAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data #1 50%?") // all that is special in SQLite's URIs
	s := start(t, devserver.Options{DataDir: dir})

	info, ok := lease.Lookup(dir)
	require.True(t, ok)
	require.Equal(t, lease.Info{Address: s.Address(), UI: s.UI(), PID: os.Getpid()}, info)

	_, err := devserver.Start(devserver.Options{DataDir: dir})
	require.ErrorIs(t, err, lease.ErrInUse)
	require.ErrorContains(t, err, dir)
	require.ErrorContains(t, err, s.Address())

	require.Equal(t, []string(nil), listensElsewhere(t))

	status, body := get(t, s.UI())
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "<!doctype html>")
	status, body = get(t, s.UI()+"/api/v1/namespaces/default/workflows")
	require.Equal(t, http.StatusOK, status, body)

	acts := &flowtest.Activities{}
	r := newRig(t, s, acts, "")
	first := r.run("r1", input("r1"))
	r.close()
	stop(t, s)
	_, ok = lease.Lookup(dir)
	require.False(t, ok)
	_, err = os.Stat(filepath.Join(dir, "server.json"))
	require.ErrorIs(t, err, os.ErrNotExist)

	s = start(t, devserver.Options{DataDir: dir})
	r = newRig(t, s, acts, "")
	var again workflows.RunResult
	require.NoError(t, r.client.GetWorkflow(r.ctx, "r1", "").Get(r.ctx, &again))
	require.Equal(t, first, again)
	require.Equal(t, workflows.PhaseDone, r.status("r1").Phase)
	retention(t, r.client, devserver.DefaultRetention)
	r.close()
	stop(t, s)

	log, err := os.ReadFile(filepath.Join(dir, "server.log"))
	require.NoError(t, err)
	require.Empty(t, string(log))
}

// get fetches a page of the UI.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// retention checks how long a namespace keeps closed workflows.
func retention(t *testing.T, c client.Client, want time.Duration) {
	t.Helper()
	d, err := c.WorkflowService().DescribeNamespace(context.Background(), &workflowservice.DescribeNamespaceRequest{Namespace: devserver.DefaultNamespace})
	require.NoError(t, err)
	require.Equal(t, want, d.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration())
}

// listensElsewhere returns the addresses other than loopback that this process listens on.
func listensElsewhere(t *testing.T) []string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	mine := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		if link, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(link, "socket:[") {
			mine[strings.Trim(link, "socket:[]")] = true
		}
	}
	var elsewhere []string
	listening := 0
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		require.NoError(t, err)
		lines := bufio.NewScanner(f)
		for lines.Scan() { // sl local remote st tx:rx tr:when retrnsmt uid timeout inode
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || fields[3] != "0A" || !mine[fields[9]] {
				continue
			}
			listening++
			if !strings.HasPrefix(fields[1], "0100007F:") {
				elsewhere = append(elsewhere, fields[1])
			}
		}
		f.Close()
	}
	require.GreaterOrEqual(t, listening, 6, "four services, the HTTP API and the UI")
	return elsewhere
}

// A port that is taken is named, with its flag, and nothing is left behind.
func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	for flag, o := range map[string]devserver.Options{
		"--port":    {DataDir: dir, Port: taken},
		"--ui-port": {DataDir: dir, UIPort: taken},
	} {
		_, err := devserver.Start(o)
		require.ErrorContains(t, err, fmt.Sprintf("devserver: %s: 127.0.0.1:%d is in use", flag, taken))
	}
	_, err = devserver.Start(devserver.Options{DataDir: dir, Port: 70000})
	require.ErrorContains(t, err, "--port: 70000 is not a port")
	l2, err := lease.Acquire(dir)
	require.NoError(t, err, "the folder is free again")
	require.NoError(t, l2.Release())
}

// A folder that cannot be used, or holds something else under the database's name, is an error.
func TestUnusableFolder(t *testing.T) {
	_, err := devserver.Start(devserver.Options{})
	require.ErrorContains(t, err, "no data folder")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err = devserver.Start(devserver.Options{DataDir: file})
	require.ErrorContains(t, err, file)

	dir := t.TempDir()
	database := filepath.Join(dir, "temporal-1.32.db")
	require.NoError(t, os.WriteFile(database, []byte(strings.Repeat("this is no database\n", 500)), 0o644))
	_, err = devserver.Start(devserver.Options{DataDir: dir})
	require.ErrorContains(t, err, database)
	_, ok := lease.Lookup(dir)
	require.False(t, ok)
}

// What a process that died while it made the database left behind is made anew.
func TestUnfinishedDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "temporal-1.32.db.new"), []byte("half"), 0o644))
	s := start(t, devserver.Options{DataDir: dir, UIPort: -1, Retention: 48 * time.Hour, Namespace: devserver.DefaultNamespace})
	require.Empty(t, s.UI())
	c, err := client.Dial(client.Options{HostPort: s.Address(), Logger: quiet})
	require.NoError(t, err)
	retention(t, c, 48*time.Hour)
	c.Close()
	stop(t, s)
}
