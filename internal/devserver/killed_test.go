package devserver_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/paretopress/paretopress/internal/devserver"
	"github.com/paretopress/paretopress/internal/devserver/lease"
	"github.com/paretopress/paretopress/workflows"
	"github.com/paretopress/paretopress/workflows/flowtest"
)

// TestVictim is not a test: TestKilledServer runs it as another process, which serves, starts a run, and
// is killed in the middle of it.
func TestVictim(t *testing.T) {
	dir := os.Getenv("PARETOPRESS_TEST_VICTIM")
	if dir == "" {
		t.Skip("runs as the other process of TestKilledServer")
	}
	hook, held, _ := hold("log/000001.json")
	s := start(t, devserver.Options{DataDir: dir, UIPort: -1})
	r := newRig(t, s, &flowtest.Activities{Hook: hook}, "")
	in := input("killed")
	in.Tuning.Heartbeat = time.Second
	r.start(in)
	r.await("held", func() bool { return held.Load() > 0 })
	r.await("the other batch scored", func() bool { return r.status("killed").BatchDone == 1 })
	os.Stdout.WriteString("\nheld\n")
	os.Stdin.Read(make([]byte, 1)) // until killed
}

// A process that is killed while it serves and works loses nothing but the batch that it was at.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), "PARETOPRESS_TEST_VICTIM="+dir)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer in.Close()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var said strings.Builder
	for buf := make([]byte, 256); !strings.Contains(said.String(), "\nheld\n"); {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		require.NoError(t, err, "the other process: %s", said.String())
	}
	_, ok := lease.Lookup(dir)
	require.True(t, ok)
	require.NoError(t, cmd.Process.Kill())
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	_, ok = lease.Lookup(dir)
	require.False(t, ok, "the lease of a killed process is believed")

	began := time.Now()
	s := start(t, devserver.Options{DataDir: dir, UIPort: -1})
	acts := &flowtest.Activities{Step: 2} // the steps that the other process scored are in the folder
	acts.Hook = func(_ context.Context, name string, _ any) error {
		if name == workflows.ActivityPrepare {
			return errors.New("prepared before")
		}
		return nil
	}
	acts.Fill()
	r := newRig(t, s, acts, "")
	var res workflows.RunResult
	require.NoError(t, r.client.GetWorkflow(r.ctx, "killed", "").Get(r.ctx, &res))
	t.Logf("finished %v after the restart", time.Since(began).Round(time.Millisecond))
	require.Equal(t, 3, res.Steps)
	calls := strings.Join(acts.Calls(), "\n")
	require.Contains(t, calls, "Ask:log/000001.json From:0 To:2", "the batch in hand is done again")
	require.NotContains(t, calls, "Ask:log/000001.json From:2 To:4", "the other is not")
	require.NotContains(t, calls, "Advance {Folder:/runs/killed Step:0 ", "nor is what was told before")
	r.close()
	stop(t, s)
}
