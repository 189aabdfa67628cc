package evalworker

import (
	"errors"
	"os"
	"sync"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/internal/hub"
	"github.com/paretopress/paretopress/workflows"
)

// Options say what a worker may use. Nothing in them has an influence on results.
type Options struct {
	Slots   int // evaluations at a time, each with a loaded model of its own [1]
	Threads int // threads that compute, shared out to the slots [as many as Go runs at a time]
	// Cache is the memory, in bytes, for what saves work when it is needed again: decoded weights, hidden states
	// that candidates share, what the dense models predict. Negative: as little as possible. [a quarter of
	// the machine's memory, [DefaultCache]]
	Cache int64
	// Hub is where models that are named hf:owner/name come from. [that of the process's environment]
	Hub *hub.Client
}

func (o Options) withDefaults() Options {
	if o.Slots < 1 {
		o.Slots = 1
	}
	if o.Threads < 1 {
		o.Threads = defaultThreads()
	}
	if o.Cache == 0 {
		o.Cache = DefaultCache()
	}
	if o.Hub == nil {
		o.Hub = hub.New(os.Getenv)
	}
	return o
}

// minTeachers is the least memory for what the dense models predict: windows are scored in lots of which all
// teachers fit.
const minTeachers = 64 << 20

// Reporter is told how far a piece of work is. It is called often and must be quick.
type Reporter func(workflows.Progress)

// Workbench holds what the activities of a process share: loaded models, the dense model's predictions,
// open banks. Its methods are the activities as plain functions and may be called from several
// goroutines at once.
type Workbench struct {
	options  Options
	models   *models
	teachers *teachers

	mu        sync.Mutex
	banks     map[string]*bank.Bank // by folder
	histories map[string]*history   // by folder
}

// NewWorkbench returns an empty workbench. The caller closes it.
func NewWorkbench(o Options) *Workbench {
	o = o.withDefaults()
	return &Workbench{
		options: o, models: newModels(o.Slots, o.Threads, max(0, o.Cache/4*3), o.Hub), teachers: newTeachers(max(minTeachers, o.Cache/4)),
		banks: map[string]*bank.Bank{}, histories: map[string]*history{},
	}
}

// Close lets go of models and banks. No method may be running.
func (w *Workbench) Close() error {
	w.models.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for dir, b := range w.banks {
		errs = append(errs, b.Close())
		delete(w.banks, dir)
	}
	return errors.Join(errs...)
}

// bank returns the bank of a run, nil if it needs none. It stays open.
func (w *Workbench) bank(r *run) (*bank.Bank, error) {
	if r.prepared.Bank == nil {
		return nil, nil
	}
	dir := r.bankDir()
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.banks[dir]; b != nil {
		return b, nil
	}
	b, err := bank.Create(dir, *r.prepared.Bank)
	if err != nil {
		return nil, err
	}
	w.banks[dir] = b
	return b, nil
}
