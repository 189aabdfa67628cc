package cli

import (
	"cmp"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows how far long work has come: a bar for each task on a terminal, and elsewhere a
// plain line when a task starts, ends, and now and then between. It writes to stderr only.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	bars  *mpb.Progress // nil where stderr is no terminal
	tasks map[string]*task
	now   func() time.Time
}

// task is one line of progress. Its rate counts from the first report, so that work which a
// resumed job had done before does not look fast.
type task struct {
	label, unit, note string
	done, total       int64
	first             int64
	began, printed    time.Time
	last              string // plain line
	bar               *mpb.Bar
	text              atomic.Pointer[string] // what the bar shows; its goroutine must not take the lock
	finished          bool
}

// plainInterval is the time between two plain lines about one task, sameInterval that between two lines that say the same.
const (
	plainInterval = 10 * time.Second
	sameInterval  = time.Minute
)

// newProgress returns progress on s.Err, with bars if it is a terminal.
func (s *session) newProgress() *progress {
	p := &progress{out: s.Stderr, tasks: map[string]*task{}, now: time.Now}
	if s.terminal {
		p.bars = mpb.New(mpb.WithOutput(s.Stderr), mpb.WithWidth(24), mpb.WithRefreshRate(200*time.Millisecond))
	}
	return p
}

// report sets the state of the task with the given label: done of total units (total 0 while it is
// not known) and a short note on what it is at.
func (p *progress) report(label, unit string, done, total int64, note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tasks[label]
	if t == nil {
		t = &task{label: label, unit: unit, first: done, began: p.now()}
		p.tasks[label] = t
		if p.bars != nil {
			t.bar = p.addBar(t)
		}
	}
	if t.finished {
		return
	}
	if t.unit != unit && total > 0 { // it has come to work of another kind
		t.unit, t.done, t.first = unit, 0, done
	}
	t.done, t.total, t.note = max(done, t.done), total, note
	if t.bar != nil {
		t.show(p.now())
		t.bar.SetTotal(max(total, 1), false)
		t.bar.SetCurrent(min(t.done, max(total, 1)))
		return
	}
	now := p.now()
	line, interval := t.line(now), plainInterval
	if line == t.last { // it waits
		interval = sameInterval
	}
	if now.Sub(t.printed) >= interval {
		t.printed, t.last = now, line
		fmt.Fprintln(p.out, line)
	}
}

// finish ends the task with the given label, if there is one.
func (p *progress) finish(label, note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tasks[label]
	if t == nil || t.finished {
		return
	}
	t.finished, t.note = true, note
	if t.bar != nil {
		t.show(p.now())
		t.bar.SetCurrent(max(t.total, 1))
		t.bar.SetTotal(-1, true)
		return
	}
	fmt.Fprintf(p.out, "%-10s done in %s%s\n", t.label, short(p.now().Sub(t.began)), suffix(note))
}

// close ends the display; unfinished bars stay where they are.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars == nil {
		return
	}
	for _, t := range p.tasks {
		if !t.finished {
			t.bar.Abort(false)
		}
	}
	p.bars.Wait()
	p.bars = nil
}

// addBar draws t: label, bar, share, rate, remaining time and note; mpb cuts it where the terminal
// is narrow.
func (p *progress) addBar(t *task) *mpb.Bar {
	t.show(p.now())
	// Total 0: a bar that reaches its total is not done before finish says so.
	return p.bars.New(0, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-10s", t.label))),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + *t.text.Load() })))
}

// show sets the text beside the bar.
func (t *task) show(now time.Time) {
	text := t.numbers(now)
	t.text.Store(&text)
}

// line is the task as one plain line.
func (t *task) line(now time.Time) string {
	return fmt.Sprintf("%-10s %s", t.label, t.numbers(now))
}

// numbers gives counts, rate, remaining time and note.
func (t *task) numbers(now time.Time) string {
	elapsed := now.Sub(t.began)
	if t.finished {
		return "done in " + short(elapsed) + suffix(t.note)
	}
	if t.done == 0 && t.total == 0 {
		return cmp.Or(t.note, "begun")
	}
	s := count(t.done)
	if t.total > 0 {
		s = fmt.Sprintf("%3d%% %s/%s", 100*min(t.done, t.total)/t.total, s, count(t.total))
	}
	s += " " + t.unit
	if new := t.done - t.first; new > 0 && elapsed > time.Second {
		rate := float64(new) / elapsed.Seconds()
		if rate < 10 {
			s += fmt.Sprintf(" %.2g/s", rate)
		} else {
			s += fmt.Sprintf(" %s/s", count(int64(rate+0.5)))
		}
		if t.total > t.done {
			s += fmt.Sprintf(" %s left", short(time.Duration(float64(t.total-t.done)/rate*float64(time.Second))))
		}
	}
	return s + suffix(t.note)
}

func suffix(note string) string {
	if note == "" {
		return ""
	}
	return "  " + note
}

// count prints n with at most four characters: 950, 12k, 3.4M.
func count(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprint(n)
	case n < 1_000_000:
		return fmt.Sprintf("%dk", n/1000)
	case n < 10_000_000:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	case n < 1_000_000_000:
		return fmt.Sprintf("%dM", n/1_000_000)
	}
	return fmt.Sprintf("%.1fG", float64(n)/1e9)
}

// short prints a duration in the two largest units that matter.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// megabytes prints a size as users compare files: decimal megabytes, kilobytes below one.
func megabytes(n int64) string {
	if n < 1_000_000 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.2f MB", float64(n)/1e6)
}
