package kernel

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Pool is a fixed set of goroutines that share the tasks of one Run at a time. It decides only who runs a task, never what the
// task computes; a caller whose tasks write disjoint memory gets the same result for any number of threads.
type Pool struct {
	threads int
	run     sync.Mutex // held by the Run that the workers serve
	job     atomic.Pointer[job]
	closed  atomic.Bool
	parked  atomic.Int32
	mu      sync.Mutex // guards wake
	wake    *sync.Cond
	workers sync.WaitGroup
}

// NewPool starts a pool in which Run uses this many threads, the caller's among them; 0 stands for GOMAXPROCS.
func NewPool(threads int) *Pool {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads}
	p.wake = sync.NewCond(&p.mu)
	p.workers.Add(threads - 1)
	for range threads - 1 {
		go p.work()
	}
	return p
}

// Threads returns the number of threads that Run uses.
func (p *Pool) Threads() int { return p.threads }

// Run calls f(0) … f(n-1), each once, in no particular order, and returns when all have returned. Threads take the next task as they get
// free, so tasks may differ in cost. Where the pool is busy with another Run, of another goroutine or of the task that is
// calling, or is closed, Run calls f in order on the calling goroutine.
//
// If a task panics, tasks that have not started are skipped, and Run panics with a *TaskPanic once those under way have returned.
func (p *Pool) Run(n int, f func(i int)) {
	if n <= 0 {
		return
	}
	j := &job{n: int64(n), f: f}
	if p.threads > 1 && n > 1 && !p.closed.Load() && p.run.TryLock() {
		defer p.run.Unlock()
		j.finished = make(chan struct{})
		p.job.Store(j)
		if p.parked.Load() > 0 {
			p.mu.Lock()
			p.wake.Broadcast()
			p.mu.Unlock()
		}
	}
	j.take()
	j.wait()
	if t := j.panicked.Load(); t != nil {
		panic(t)
	}
}

// Close ends the pool's goroutines after the Run under way and waits for them. The pool may be used further, on the callers' goroutines alone.
func (p *Pool) Close() {
	p.run.Lock()
	defer p.run.Unlock()
	p.closed.Store(true)
	p.mu.Lock()
	p.wake.Broadcast()
	p.mu.Unlock()
	p.workers.Wait()
}

// TaskPanic is what Run panics with when a task has panicked.
type TaskPanic struct {
	Task  int    // the argument of f
	Value any    // what the task panicked with
	Stack []byte // the stack of the goroutine that ran it
}

func (t *TaskPanic) Error() string {
	return fmt.Sprintf("kernel: task %d panicked: %v\n\n%s", t.Task, t.Value, t.Stack)
}

// Unwrap returns the value of the panic where it was an error.
func (t *TaskPanic) Unwrap() error {
	err, _ := t.Value.(error)
	return err
}

// spins bounds how often an idle worker, or a Run waiting for the last tasks, yields before it parks: some tens of microseconds, longer
// than the serial code between two Runs of a forward pass, short enough to leave the processor to others.
const spins = 200

// work serves jobs until the pool closes.
func (p *Pool) work() {
	defer func() {
		// A task may end this goroutine by runtime.Goexit (testing.T.FailNow does): another takes its place.
		if !p.closed.Load() {
			go p.work()
			return
		}
		p.workers.Done()
	}()
	for last := p.next(nil); last != nil; last = p.next(last) {
		last.take()
	}
}

// next waits for a job other than last; nil means that the pool has closed.
func (p *Pool) next(last *job) *job {
	for range spins {
		if j := p.job.Load(); j != last {
			return j
		}
		if p.closed.Load() {
			return nil
		}
		runtime.Gosched()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parked.Add(1)
	defer p.parked.Add(-1)
	for {
		// Run stores the job before it looks at parked, and this looks at the job after it has raised parked: one of the two sees the other.
		if j := p.job.Load(); j != last {
			return j
		}
		if p.closed.Load() {
			return nil
		}
		p.wake.Wait()
	}
}

// job is one Run. Workers may hold it after it has ended; then every task is taken, and f is gone.
type job struct {
	n        int64
	f        func(i int)
	next     atomic.Int64 // the next task to take
	done     atomic.Int64 // tasks that have returned, panicked or been skipped
	panicked atomic.Pointer[TaskPanic]
	finished chan struct{} // closed after the last task; nil where nobody shares the job
}

// take runs tasks until none is left.
func (j *job) take() {
	for {
		i := j.next.Add(1) - 1
		if i >= j.n {
			return
		}
		j.call(int(i))
	}
}

func (j *job) call(i int) {
	returned := false
	defer func() {
		if !returned {
			v := recover()
			if v == nil {
				v = "runtime.Goexit was called"
			}
			j.panicked.CompareAndSwap(nil, &TaskPanic{Task: i, Value: v, Stack: debug.Stack()})
		}
		if j.done.Add(1) == j.n && j.finished != nil {
			close(j.finished)
		}
	}()
	if j.panicked.Load() == nil {
		j.f(i)
	}
	returned = true
}

// wait returns when every task has ended, and lets go of f.
func (j *job) wait() {
	for s := 0; j.done.Load() < j.n; s++ {
		if s == spins {
			<-j.finished
			break
		}
		runtime.Gosched()
	}
	j.f = nil
}
