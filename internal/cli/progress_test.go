package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/paretopress/paretopress/workflows"
)

// TestPlainProgress prints lines with rate and remaining time where stderr is no terminal.
func TestPlainProgress(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{out: &out, tasks: map[string]*task{}, now: func() time.Time { return now }}
	p.report("search", "tokens", 1000, 5000, "generation 1") // a resumed job: 1000 were done before
	now = now.Add(20 * time.Second)
	p.report("search", "tokens", 3000, 5000, "generation 2")
	now = now.Add(time.Second)
	p.report("search", "tokens", 3100, 5000, "generation 2") // too soon for a line
	p.finish("search", "")
	p.finish("search", "")
	p.finish("never begun", "")
	want := "search      20% 1000/5000 tokens  generation 1\n" +
		"search      60% 3000/5000 tokens 100/s 20s left  generation 2\n" +
		"search     done in 21s\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// A task that goes from one kind of work to another, as from fetching a model to reading it, counts anew.
func TestProgressOfAnotherKind(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{out: &out, tasks: map[string]*task{}, now: func() time.Time { return now }}
	for _, r := range []struct {
		unit        string
		done, total int64
	}{{"steps", 0, 0}, {"bytes", 5000, 8000}, {"steps", 0, 0}, {"files", 0, 1}} {
		p.report("prepare", r.unit, r.done, r.total, "")
		now = now.Add(plainInterval)
	}
	want := "prepare    begun\nprepare     62% 5000/8000 bytes\nprepare    5000 bytes\nprepare      0% 0/1 files\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// TestWaitingProgress: a job whose activity no worker takes says that it waits, now and then, until one does.
func TestWaitingProgress(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	p := &progress{out: &out, tasks: map[string]*task{}, now: func() time.Time { return now }}
	queued := workflows.Pending{Activity: workflows.ActivityPrepareFinetune, Attempt: 1, Queued: now}
	st := workflows.Status{Phase: workflows.PhasePrepare, Training: &workflows.Training{}}
	for range 15 {
		st.Pending = []workflows.Pending{queued}
		p.show(st)
		now = now.Add(plainInterval)
	}
	running := workflows.Pending{Activity: workflows.ActivityPrepareFinetune, Attempt: 1, Running: true, Progress: workflows.Progress{Total: 1, Unit: "files", Note: "opening the model"}}
	st.Pending = []workflows.Pending{running}
	p.show(st)
	now = now.Add(plainInterval)
	st = workflows.Status{Phase: workflows.PhaseSearch, Search: &workflows.State{Generation: 3}, Budget: 100}
	st.Pending = []workflows.Pending{queued}
	p.show(st)
	want := "prepare    begun\nprepare    waits for a worker\nprepare    waits for a worker\nprepare    waits for a worker\nprepare      0% 0/1 files  opening the model\n" +
		"prepare    done in 2m40s\nsearch       0% 0/100 tokens  waits for a worker\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 9999: "9999", 10000: "10k", 123456: "123k", 1_500_000: "1.5M", 45_000_000: "45M", 2_500_000_000: "2.5G"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{1500 * time.Millisecond: "1.5s", 42 * time.Second: "42s", 95 * time.Second: "1m35s", 3*time.Hour + 4*time.Minute: "3h04m"} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	table(&out, []string{"ID", ">SIZE"}, [][]string{{"a", "10"}, {"long", "9"}})
	if want := "ID    SIZE\na       10\nlong     9\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
