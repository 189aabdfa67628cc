package workflows_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"

	. "github.com/paretopress/paretopress/workflows"
)

// TestReplay runs the workflows along recorded histories. It fails if the code would now take another
// turn than it took when a run that may still be going was started. The histories are made by
//
//	go test ./internal/devserver -run TestRuns -record
//
// A change that breaks the replay needs workflow.GetVersion; recording anew is for new histories.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/histories/*.json")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		kind, _, _ := strings.Cut(name, "-")
		seen[kind] = true
		t.Run(name, func(t *testing.T) {
			r := worker.NewWorkflowReplayer()
			Register(r)
			require.NoError(t, r.ReplayWorkflowHistoryFromJSONFile(quiet, f))
		})
	}
	for _, kind := range []string{"fresh", "continued", "retried", "poisoned", "failed", "paused", "stopped", "cancelled", "shared", "trained", "healed"} {
		require.True(t, seen[kind], "no history of a run that was %s", kind)
	}
}
