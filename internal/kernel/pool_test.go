package kernel

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPoolRunsEachTaskOnce(t *testing.T) {
	for _, threads := range []int{0, 1, 2, 5} {
		p := NewPool(threads)
		if threads > 0 && p.Threads() != threads {
			t.Errorf("%d threads, want %d", p.Threads(), threads)
		}
		for _, n := range []int{-1, 0, 1, 2, 3, 100} {
			for range 50 {
				ran := make([]int, max(0, n)) // not atomic: the race detector sees whether Run orders the tasks before its return
				p.Run(n, func(i int) { ran[i]++ })
				for i, c := range ran {
					if c != 1 {
						t.Fatalf("%d threads: task %d of %d ran %d times", threads, i, n, c)
					}
				}
			}
		}
		p.Close()
	}
}

func TestPoolUsesItsThreads(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	// Three tasks that wait for one another can only end if three goroutines run them; the second time, after the workers have parked.
	for range 2 {
		var wg sync.WaitGroup
		wg.Add(3)
		p.Run(3, func(int) {
			wg.Done()
			wg.Wait()
		})
		for deadline := time.Now().Add(10 * time.Second); p.parked.Load() < 2; {
			if time.Now().After(deadline) {
				t.Fatal("idle workers do not park")
			}
			runtime.Gosched()
		}
	}
}

func TestPoolNestedAndConcurrent(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	var total atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				p.Run(5, func(int) {
					p.Run(3, func(int) { total.Add(1) })
				})
			}
		})
	}
	wg.Wait()
	if total.Load() != 4*20*5*3 {
		t.Errorf("%d inner tasks ran, want %d", total.Load(), 4*20*5*3)
	}
}

func TestPoolPanic(t *testing.T) {
	cause := errors.New("no such tensor")
	for _, threads := range []int{1, 2, 4} {
		p := NewPool(threads)
		for range 20 {
			func() {
				defer func() {
					v, ok := recover().(*TaskPanic)
					if !ok || v.Task != 3 || !errors.Is(v, cause) || len(v.Stack) == 0 {
						t.Errorf("%d threads: recovered %v", threads, v)
					}
				}()
				p.Run(8, func(i int) {
					if i == 3 {
						panic(cause)
					}
				})
				t.Error("Run returned")
			}()
			var n atomic.Int64
			p.Run(10, func(int) { n.Add(1) })
			if n.Load() != 10 {
				t.Fatalf("%d threads: %d of 10 tasks ran after a panic", threads, n.Load())
			}
		}
		p.Close()
	}
}

// TestPoolGoexit ends the goroutine of a task, as testing.T.FailNow does: the pool keeps its threads, and Run does not hang.
func TestPoolGoexit(t *testing.T) {
	p := NewPool(2)
	for range 10 {
		done := make(chan any)
		go func() {
			defer func() { done <- recover() }() // a *TaskPanic, or nil where it was this goroutine that ended
			p.Run(2, func(i int) {
				if i == 1 {
					runtime.Goexit()
				}
			})
		}()
		if v, ok := (<-done).(*TaskPanic); v != nil && (!ok || v.Task != 1) {
			t.Errorf("recovered %v", v)
		}
	}
	var wg sync.WaitGroup
	wg.Add(2)
	p.Run(2, func(int) {
		wg.Done()
		wg.Wait()
	})
	p.Close()
}

func TestPoolClosed(t *testing.T) {
	p := NewPool(2)
	p.Close()
	p.Close()
	ran := 0
	p.Run(3, func(int) { ran++ })
	if ran != 3 {
		t.Errorf("%d of 3 tasks ran", ran)
	}
}

// TestPoolLetsGo holds that an idle pool keeps nothing alive that its last tasks used.
func TestPoolLetsGo(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	freed := make(chan struct{})
	func() {
		big := make([]float32, 1<<20)
		runtime.AddCleanup(&big[0], func(struct{}) { close(freed) }, struct{}{})
		p.Run(2, func(i int) { big[i] = 1 })
	}()
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		runtime.GC()
		select {
		case <-freed:
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the memory of a task was not freed")
		}
	}
}
