package devserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/paretopress/paretopress/internal/devserver"
	"github.com/paretopress/paretopress/workflows"
	"github.com/paretopress/paretopress/workflows/flowtest"
)

// The runs below also make the histories that package workflows replays:
//
//	go test ./internal/devserver -run TestRuns -record
var record = flag.Bool("record", false, "write the histories of the runs to workflows/testdata/histories")

var quiet = sdklog.NewStructuredLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))

// rig is a client of a server with workers in this process.
type rig struct {
	t        *testing.T
	ctx      context.Context
	client   client.Client
	scenario string
	stop     []func()
}

// newRig starts workers that carry out acts.
func newRig(t *testing.T, s *devserver.Server, acts *flowtest.Activities, scenario string) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	c, err := client.Dial(client.Options{HostPort: s.Address(), Logger: quiet, Identity: "test"})
	require.NoError(t, err)
	flow := workflows.NewWorker(c)
	require.NoError(t, flow.Start())
	r := &rig{t: t, ctx: ctx, client: c, scenario: scenario}
	r.stop = []func(){r.work(acts), flow.Stop, c.Close, cancel}
	return r
}

// work starts a worker that carries out acts, and returns what stops it.
func (r *rig) work(acts *flowtest.Activities) (stop func()) {
	r.t.Helper()
	eval := worker.New(r.client, workflows.EvalQueue, worker.Options{
		DisableWorkflowWorker:            true,
		MaxHeartbeatThrottleInterval:     50 * time.Millisecond, // a cancelled activity learns it soon
		WorkerStopTimeout:                5 * time.Second,
		MaxConcurrentActivityTaskPollers: 4,
	})
	acts.Register(eval)
	require.NoError(r.t, eval.Start())
	return eval.Stop
}

// close stops the workers and the client, in this order.
func (r *rig) close() {
	for _, f := range r.stop {
		f()
	}
}

// input is a run of three steps.
func input(id string) workflows.RunInput {
	return workflows.RunInput{
		Folder: "/runs/" + id, ID: id, Model: "pretended", Space: workflows.SpaceQuant, Target: "bpw=3", Method: workflows.MethodEvoPress,
		Budget: 3 * flowtest.StepTokens, Attributes: true, Tuning: workflows.Tuning{Retry: 20 * time.Millisecond, Heartbeat: 5 * time.Second},
	}
}

// start starts a run.
func (r *rig) start(in workflows.RunInput) client.WorkflowRun {
	r.t.Helper()
	run, err := workflows.Start(r.ctx, r.client, in)
	require.NoError(r.t, err)
	return run
}

// run carries a run out and returns its result.
func (r *rig) run(id string, in workflows.RunInput) (out workflows.RunResult) {
	r.t.Helper()
	require.NoError(r.t, r.start(in).Get(r.ctx, &out))
	r.save(id)
	return out
}

// status asks a run.
func (r *rig) status(id string) workflows.Status {
	r.t.Helper()
	s, err := workflows.AskStatus(r.ctx, r.client, id)
	require.NoError(r.t, err)
	return s
}

// update changes a run.
func (r *rig) update(id, name string, args ...any) workflows.Control {
	r.t.Helper()
	c, err := workflows.Update(r.ctx, r.client, id, name, args...)
	require.NoError(r.t, err)
	return c
}

// await waits for a condition.
func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		require.True(r.t, time.Now().Before(deadline), "waited in vain: %s", what)
	}
}

// save writes the histories of a run, its search (each run of it) and its bank, when recording.
func (r *rig) save(id string) {
	r.t.Helper()
	r.saveAll(map[string]string{"compress": id, "search": workflows.SearchID(id), "bank": workflows.BankWorkflowID("b0")})
}

// saveAll writes the histories of workflows under names, each run of them, when recording.
func (r *rig) saveAll(flows map[string]string) {
	r.t.Helper()
	if !*record || r.scenario == "" {
		return
	}
	for name, flow := range flows {
		runs := r.runsOf(flow)
		for i, run := range runs {
			file := r.scenario + "-" + name
			if len(runs) > 1 {
				file = fmt.Sprintf("%s-%d", file, i+1)
			}
			r.write(file, flow, run)
		}
	}
}

// runsOf lists the run ids of a workflow id, the oldest first.
func (r *rig) runsOf(flow string) []string {
	var runs []string
	r.await("listed", func() bool { // visibility is written a little later
		resp, err := r.client.ListWorkflow(r.ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query: fmt.Sprintf("WorkflowId = '%s' AND StartTime > '%s'", flow, began.UTC().Format(time.RFC3339Nano))})
		require.NoError(r.t, err)
		runs = nil
		for _, e := range resp.GetExecutions() {
			if e.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
				return false
			}
			runs = append([]string{e.GetExecution().GetRunId()}, runs...)
		}
		return len(runs) > 0 || flow == workflows.BankWorkflowID("b0")
	})
	return runs
}

// began is when the present scenario did: all of them build the same bank.
var began time.Time

// write writes one history.
func (r *rig) write(file, flow, run string) {
	r.t.Helper()
	var h history.History
	iter := r.client.GetWorkflowHistory(r.ctx, flow, run, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iter.HasNext() {
		e, err := iter.Next()
		require.NoError(r.t, err)
		h.Events = append(h.Events, e)
	}
	b, err := protojson.Marshal(&h)
	require.NoError(r.t, err)
	host, err := os.Hostname() // in the names of sticky queues
	require.NoError(r.t, err)
	b = bytes.ReplaceAll(b, []byte(`"`+host+`:`), []byte(`"host:`))
	var tree any
	require.NoError(r.t, json.Unmarshal(b, &tree))
	dropStacks(tree)
	b, err = json.Marshal(tree)
	require.NoError(r.t, err)
	path := filepath.Join("..", "..", "workflows", "testdata", "histories", file+".json")
	require.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(r.t, os.WriteFile(path, append(b, '\n'), 0o644))
}

// dropStacks removes stack traces, which hold the paths of this machine, from a JSON value.
func dropStacks(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "stackTrace")
		for _, e := range v {
			dropStacks(e)
		}
	case []any:
		for _, e := range v {
			dropStacks(e)
		}
	}
}

// hold returns a hook that holds the first evaluation of an ask, heartbeating, until it is cancelled.
func hold(ask string) (hook func(context.Context, string, any) error, held, cancelled *atomic.Int32) {
	held, cancelled = new(atomic.Int32), new(atomic.Int32)
	return func(ctx context.Context, _ string, in any) error {
		if e, ok := in.(workflows.EvaluateInput); !ok || e.Ask != ask || e.From != 0 || held.Add(1) > 1 {
			return nil
		}
		for {
			select {
			case <-ctx.Done():
				cancelled.Add(1)
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
				activity.RecordHeartbeat(ctx, workflows.Progress{Done: 7, Total: 9, Unit: "windows", Note: "held"})
			}
		}
	}, held, cancelled
}

// TestRuns does runs of every kind against a real server.
func TestRuns(t *testing.T) {
	t.Parallel()
	s := start(t, devserver.Options{DataDir: t.TempDir(), UIPort: -1})
	defer stop(t, s)
	if *record {
		old, err := filepath.Glob(filepath.Join("..", "..", "workflows", "testdata", "histories", "*.json"))
		require.NoError(t, err)
		for _, f := range old {
			require.NoError(t, os.Remove(f))
		}
	}
	for _, c := range []struct {
		name string
		acts *flowtest.Activities
		do   func(r *rig, acts *flowtest.Activities)
	}{
		{"fresh", &flowtest.Activities{Ranges: [][2]int{{0, 4}, {4, 8}}}, fresh},
		{"continued", &flowtest.Activities{}, continued},
		{"retried", &flowtest.Activities{}, retried},
		{"poisoned", &flowtest.Activities{}, poisoned},
		{"failed", &flowtest.Activities{}, failed},
		{"paused", &flowtest.Activities{}, paused},
		{"stopped", &flowtest.Activities{}, stopped},
		{"cancelled", &flowtest.Activities{}, cancelled},
		{"shared", &flowtest.Activities{Ranges: [][2]int{{0, 8}}}, shared},
		{"trained", &flowtest.Activities{}, trained},
		{"healed", &flowtest.Activities{}, healed},
		{"queued", &flowtest.Activities{}, queued},
	} {
		t.Run(c.name, func(t *testing.T) {
			began = time.Now()
			r := newRig(t, s, c.acts, c.name)
			defer r.close()
			c.do(r, c.acts)
		})
	}
}

func fresh(r *rig, _ *flowtest.Activities) {
	out := r.run("fresh", input("fresh"))
	require.Equal(r.t, 3, out.Steps)
	require.Len(r.t, out.Report.Front, 3)
	st := r.status("fresh")
	require.Equal(r.t, workflows.PhaseDone, st.Phase)
	require.Equal(r.t, 8, st.Bank.Levels)
	require.Equal(r.t, out.Report.Front, st.Front())
	again := r.start(input("fresh")) // resumed: the folder is done
	require.NoError(r.t, again.Get(r.ctx, nil))
	require.NoError(r.t, workflows.RegisterAttributes(r.ctx, r.client, devserver.DefaultNamespace))
	ok, err := workflows.Workers(r.ctx, r.client, devserver.DefaultNamespace)
	require.NoError(r.t, err)
	require.True(r.t, ok)
	r.await("listed by its attributes", func() bool {
		resp, err := r.client.ListWorkflow(r.ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query: "WorkflowType = 'Compress' AND PPModel = 'pretended' AND PPPhase = 'done' AND PPGeneration = 1 AND PPBest < 2"})
		require.NoError(r.t, err)
		return len(resp.GetExecutions()) >= 1
	})
}

func continued(r *rig, acts *flowtest.Activities) {
	in := input("continued")
	in.Tuning.StepsPerRun = 2
	in.Budget = 5 * flowtest.StepTokens
	require.Equal(r.t, 5, r.run("continued", in).Steps)
	require.Len(r.t, r.runsOf(workflows.SearchID("continued")), 3)
	require.Len(r.t, acts.Calls(), 1+6+5*2+1+flowtest.Finalists+1)
}

func retried(r *rig, acts *flowtest.Activities) {
	tried := map[string]bool{}
	var mu sync.Mutex
	acts.Hook = func(_ context.Context, name string, in any) error {
		mu.Lock()
		defer mu.Unlock()
		if (name == workflows.ActivityAdvance || name == workflows.ActivityEvaluate) && !tried[name] {
			tried[name] = true
			return errors.New("connection lost")
		}
		return nil
	}
	require.Equal(r.t, 3, r.run("retried", input("retried")).Steps)
}

func poisoned(r *rig, acts *flowtest.Activities) {
	acts.Hook = func(_ context.Context, _ string, in any) error {
		if e, ok := in.(workflows.EvaluateInput); ok && e.Ask == "log/000001.json" && e.From <= 2 && 2 < e.To && !e.MarkFailed {
			panic("index out of range")
		}
		return nil
	}
	in := input("poisoned")
	in.Tuning.Attempts = 1
	require.Equal(r.t, 3, r.run("poisoned", in).Steps)
	require.Equal(r.t, []string{"log/000001.json/2"}, acts.Failed())
	require.Equal(r.t, 1, r.status("poisoned").Search.Failed)
}

func failed(r *rig, acts *flowtest.Activities) {
	acts.Hook = func(_ context.Context, name string, in any) error {
		if a, ok := in.(workflows.AdvanceInput); ok && a.Step == 1 {
			return workflows.Permanent(workflows.ErrLogConflict, errors.New("log/000002.json holds other bytes"))
		}
		return nil
	}
	err := r.start(input("failed")).Get(r.ctx, nil)
	require.EqualError(r.t, workflows.Cause(err), "log/000002.json holds other bytes")
	r.save("failed")
	require.True(r.t, r.status("failed").Report.Partial)
}

func paused(r *rig, acts *flowtest.Activities) {
	hook, held, cancelled := hold("log/000001.json")
	acts.Hook = hook
	run := r.start(input("paused"))
	r.await("held", func() bool { return held.Load() > 0 })
	r.await("progress seen", func() bool {
		st := r.status("paused")
		return len(st.Pending) == 1 && st.Pending[0].Progress.Done == 7 && st.Pending[0].Running && st.Search.Step == 0 && st.BatchDone == 1 && st.Batches == 2
	})
	require.True(r.t, r.update("paused", workflows.UpdatePause).Paused)
	r.await("machines given back", func() bool { return cancelled.Load() == 1 && len(r.status("paused").Pending) == 0 })
	require.True(r.t, r.status("paused").Paused)
	_, err := workflows.Update(r.ctx, r.client, "paused", workflows.UpdatePause)
	require.EqualError(r.t, err, "workflows: pause run paused: already paused")
	require.False(r.t, r.update("paused", workflows.UpdateResume).Paused)
	var out workflows.RunResult
	require.NoError(r.t, run.Get(r.ctx, &out))
	require.Equal(r.t, 3, out.Steps)
	r.save("paused")
}

func stopped(r *rig, acts *flowtest.Activities) {
	hook, held, _ := hold("log/000004.json")
	acts.Hook = hook
	in := input("stopped")
	run := r.start(in)
	require.EqualValues(r.t, 600, r.update("stopped", workflows.UpdateExtend, workflows.ExtendInput{Tokens: 300}).Budget)
	r.await("held", func() bool { return held.Load() > 0 })
	require.True(r.t, r.update("stopped", workflows.UpdateStop).Stop)
	var out workflows.RunResult
	require.NoError(r.t, run.Get(r.ctx, &out))
	require.True(r.t, out.Stopped)
	require.Equal(r.t, 4, out.Steps)
	r.save("stopped")
}

func cancelled(r *rig, acts *flowtest.Activities) {
	hook, held, cancelled := hold("log/000001.json")
	acts.Hook = hook
	run := r.start(input("cancelled"))
	r.await("held", func() bool { return held.Load() > 0 })
	require.NoError(r.t, workflows.Cancel(r.ctx, r.client, "cancelled"))
	err := run.Get(r.ctx, nil)
	require.True(r.t, temporal.IsCanceledError(err), "%v", err)
	require.EqualValues(r.t, 1, cancelled.Load(), "the run ended before its activities did")
	require.True(r.t, r.status("cancelled").Report.Partial)
	r.save("cancelled")
	require.ErrorContains(r.t, workflows.Cancel(r.ctx, r.client, "nobody"), "cancel run nobody")
}

// Two runs that need one bank build it once at a time.
func shared(r *rig, acts *flowtest.Activities) {
	building, most := new(atomic.Int32), new(atomic.Int32)
	release := make(chan struct{})
	acts.Hook = func(ctx context.Context, name string, _ any) error {
		if name == workflows.ActivityBuildLevels {
			most.Store(max(most.Load(), building.Add(1)))
			defer building.Add(-1)
			<-release
		}
		return nil
	}
	first := r.start(input("first"))
	r.await("building", func() bool { return building.Load() == 1 })
	second := r.start(input("second"))
	r.await("waiting", func() bool {
		st := r.status("second")
		return st.Phase == workflows.PhaseBank && st.BankRanges == 1 && len(st.Pending) == 1
	})
	close(release)
	require.NoError(r.t, first.Get(r.ctx, nil))
	require.NoError(r.t, second.Get(r.ctx, nil))
	require.EqualValues(r.t, 1, most.Load())
	r.save("second")
}

// A training that fails once, is continued as new, paused in the middle of a step, resumed and stopped.
func trained(r *rig, acts *flowtest.Activities) {
	held, cancelled, lost := new(atomic.Int32), new(atomic.Int32), new(atomic.Int32)
	acts.Hook = func(ctx context.Context, name string, in any) error {
		switch {
		case name == "step" && in.(int) == 1 && lost.Add(1) == 1:
			return errors.New("connection lost")
		case name != "step" || in.(int) != 6 && in.(int) != 9:
			return nil
		}
		held.Add(1)
		for {
			select {
			case <-ctx.Done():
				cancelled.Add(1)
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
				if in.(int) == 6 && cancelled.Load() > 0 {
					return nil
				}
				activity.RecordHeartbeat(ctx, workflows.Progress{Done: int64(in.(int)), Total: flowtest.TrainSteps, Unit: "steps", Note: "held"})
			}
		}
	}
	in := workflows.FinetuneInput{Folder: "/runs/trained", ID: "trained", Model: "pretended", Method: "spiel-ag", Objective: workflows.ObjectiveKL,
		Steps: flowtest.TrainSteps, Attributes: true, Tuning: workflows.Tuning{Retry: 20 * time.Millisecond, Heartbeat: 5 * time.Second, StepsPerRun: 1}}
	_, err := workflows.StartFinetune(r.ctx, r.client, in)
	require.NoError(r.t, err)
	r.await("held", func() bool { return held.Load() == 1 })
	r.await("progress seen", func() bool {
		st := r.status("trained")
		return st.Phase == workflows.PhaseTrain && st.Training.Step == 6 && len(st.Pending) == 1 && st.Pending[0].Progress.Done == 6
	})
	require.True(r.t, r.update("trained", workflows.UpdatePause).Paused)
	r.await("machine given back", func() bool { return cancelled.Load() == 1 && len(r.status("trained").Pending) == 0 })
	require.True(r.t, r.status("trained").Paused)
	_, err = workflows.Update(r.ctx, r.client, "trained", workflows.UpdateExtend, workflows.ExtendInput{Tokens: 1})
	require.ErrorContains(r.t, err, "cannot extend a training")
	require.False(r.t, r.update("trained", workflows.UpdateResume).Paused)
	r.await("held again", func() bool { return held.Load() >= 3 })
	require.True(r.t, r.update("trained", workflows.UpdateStop).Stop)
	var out workflows.FinishFinetuneResult
	require.NoError(r.t, r.client.GetWorkflow(r.ctx, "trained", "").Get(r.ctx, &out))
	require.Equal(r.t, 9, out.Steps)
	require.Equal(r.t, workflows.PhaseDone, r.status("trained").Phase)
	r.saveAll(map[string]string{"finetune": "trained"})
}

// A run that heals two points, of which one cannot be, and is paused and resumed meanwhile.
func healed(r *rig, acts *flowtest.Activities) {
	held, cancelled := new(atomic.Int32), new(atomic.Int32)
	acts.Hook = func(ctx context.Context, name string, in any) error {
		if train, ok := in.(workflows.TrainInput); ok && strings.HasSuffix(train.Folder, "c000001") && train.To > flowtest.TrainStop {
			return workflows.Permanent(workflows.ErrBadSpec, errors.New("step 5: the loss is NaN"))
		}
		if name != "step" || in.(int) != 6 || held.Add(1) > 1 {
			return nil
		}
		for {
			select {
			case <-ctx.Done():
				cancelled.Add(1)
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
				activity.RecordHeartbeat(ctx, workflows.Progress{Done: 6, Total: flowtest.TrainSteps, Unit: "steps", Note: "held"})
			}
		}
	}
	in := input("healed")
	in.Heal = workflows.HealFront
	run := r.start(in)
	r.await("progress seen", func() bool {
		st := r.status("healed")
		return st.Phase == workflows.PhaseHeal && st.Healing.Training != nil && st.Healing.Training.Step == 6 && len(st.Pending) == 1 && st.Pending[0].Progress.Done == 6
	})
	require.True(r.t, r.update("healed", workflows.UpdatePause).Paused)
	r.await("machine given back", func() bool { return cancelled.Load() == 1 && len(r.status("healed").Pending) == 0 })
	require.False(r.t, r.update("healed", workflows.UpdateResume).Paused)
	var out workflows.RunResult
	require.NoError(r.t, run.Get(r.ctx, &out))
	st := r.status("healed")
	require.Equal(r.t, 1, st.Healing.Done)
	require.Equal(r.t, []string{"c000001: step 5: the loss is NaN"}, st.Healing.Failed)
	r.saveAll(map[string]string{"compress": "healed", "search": workflows.SearchID("healed"), "finetune": workflows.HealID("healed", "c000000"), "failing": workflows.HealID("healed", "c000001")})
}

// A run whose activities nobody takes says that it waits for a worker, until one comes.
func queued(r *rig, acts *flowtest.Activities) {
	r.stop[0]()
	r.stop[0] = func() {}
	run := r.start(input("queued"))
	r.await("in the queue", func() bool { return r.status("queued").Waiting(time.Now()) })
	st := r.status("queued")
	require.Equal(r.t, workflows.PhasePrepare, st.Phase)
	require.Len(r.t, st.Pending, 1)
	require.False(r.t, st.Pending[0].Running)
	r.stop[0] = r.work(acts)
	require.NoError(r.t, run.Get(r.ctx, nil))
	require.False(r.t, r.status("queued").Waiting(time.Now()))
}
