package evalworker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
)

// models holds the models that a worker keeps loaded: one a slot, with the units of the candidate that
// it ran last in place.
type models struct {
	free    chan struct{} // a token for each slot that is not in use
	threads int           // of a slot

	mu          sync.Mutex
	idle        []*slot // most recently used last
	checkpoints map[string]*checkpoint
}

// checkpoint is an open model file that slots share.
type checkpoint struct {
	*engine.Checkpoint
	ref    string
	digest string
	users  int
}

// slot is a loaded model and what is in place in it.
type slot struct {
	checkpoint *checkpoint
	model      *engine.Model
	levels     map[string]string // units that are not dense
}

func newModels(slots, threads int) *models {
	m := &models{free: make(chan struct{}, slots), threads: max(1, threads/slots), checkpoints: map[string]*checkpoint{}}
	for range slots {
		m.free <- struct{}{}
	}
	return m
}

// defaultThreads is the number of threads that Go runs at a time.
func defaultThreads() int { return runtime.GOMAXPROCS(0) }

// acquire waits for a slot and returns it with the model ref loaded, whose digest must be want unless
// that is empty. The caller releases it.
func (m *models) acquire(ctx context.Context, ref, want string) (*slot, error) {
	select {
	case <-m.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, err := m.load(ref, want)
	if err != nil {
		m.free <- struct{}{}
	}
	return s, err
}

// load returns an idle slot that has the model, or loads it in the place of the one idle longest.
func (m *models) load(ref, want string) (*slot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range slices.Backward(m.idle) {
		if s.checkpoint.ref == ref && (want == "" || s.checkpoint.digest == want) {
			m.idle = slices.Delete(m.idle, i, i+1)
			return s, nil
		}
	}
	// Every slot that is loaded and not idle is held by someone, so idle ones are all that take memory.
	if len(m.idle) > len(m.free) {
		m.unload(m.idle[0])
		m.idle = m.idle[1:]
	}
	ck, err := m.open(ref, want)
	if err != nil {
		return nil, err
	}
	model, err := engine.Load(ck.Checkpoint, engine.Options{Threads: m.threads})
	if err != nil {
		m.closeUnused(ck)
		return nil, err
	}
	ck.users++
	return &slot{ck, model, map[string]string{}}, nil
}

// open returns the checkpoint of ref. m.mu is held.
func (m *models) open(ref, want string) (*checkpoint, error) {
	ck, err := m.shared(ref)
	if err != nil {
		return nil, err
	}
	if want != "" && ck.digest != want {
		defer m.closeUnused(ck)
		return nil, mark(ErrChanged, fmt.Errorf("evalworker: model %s has SHA-256 %.12s, the run began with %.12s", ref, ck.digest, want))
	}
	return ck, nil
}

func (m *models) shared(ref string) (*checkpoint, error) {
	if ck := m.checkpoints[ref]; ck != nil {
		return ck, nil
	}
	opened, err := engine.Open(ref)
	if err != nil {
		return nil, mark(ErrJob, err)
	}
	d, err := opened.Digest()
	if err != nil {
		opened.Close()
		return nil, err
	}
	ck := &checkpoint{Checkpoint: opened, ref: ref, digest: d}
	m.checkpoints[ref] = ck
	return ck, nil
}

// unload lets go of a slot's memory. m.mu is held.
func (m *models) unload(s *slot) {
	s.model.Close()
	s.checkpoint.users--
	m.closeUnused(s.checkpoint)
}

// closeUnused closes a checkpoint that no slot uses. m.mu is held.
func (m *models) closeUnused(ck *checkpoint) {
	if ck.users > 0 {
		return
	}
	ck.Close() // it was only read
	delete(m.checkpoints, ck.ref)
}

// release gives a slot back.
func (m *models) release(s *slot) {
	m.mu.Lock()
	m.idle = append(m.idle, s)
	m.mu.Unlock()
	m.free <- struct{}{}
}

// close lets go of all idle slots. None may be in use.
func (m *models) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.idle {
		m.unload(s)
	}
	m.idle = nil
}

// dense restores every unit.
func (s *slot) dense() error { return s.put(nil, nil) }

// put brings the model to the given levels; units that are not named are dense. Only what differs from
// what is in place is touched. b may be nil if no level needs a bank. After an error the slot is in a
// state between the two, which the next put starts from.
func (s *slot) put(levels map[string]string, b *bank.Bank) error {
	var changed []string
	for unit, level := range levels {
		if level != LevelDense && s.levels[unit] != level {
			changed = append(changed, unit)
		}
	}
	for unit := range s.levels {
		if level := levels[unit]; level == "" || level == LevelDense {
			changed = append(changed, unit)
		}
	}
	// A sub-block comes before its modules: restoring it makes them dense.
	slices.SortFunc(changed, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	for at := 0; at < len(changed); at++ {
		unit := changed[at]
		level := levels[unit]
		switch {
		case level != "" && level != LevelDense:
			if err := s.set(unit, level, b); err != nil {
				return err
			}
			s.levels[unit] = level
		case s.levels[unit] == "": // its sub-block took it along
		default:
			if err := s.model.Restore(unit); err != nil {
				return err
			}
			delete(s.levels, unit)
			for _, inner := range slices.Sorted(maps.Keys(s.levels)) {
				if strings.HasPrefix(inner, unit+".") {
					delete(s.levels, inner)
					if level := levels[inner]; level != "" && !slices.Contains(changed, inner) {
						changed = append(changed, inner)
					}
				}
			}
		}
	}
	return nil
}

func rank(unit string) int {
	if isSubBlock(unit) {
		return 0
	}
	return 1
}

// set puts one level in place.
func (s *slot) set(unit, level string, b *bank.Bank) error {
	l, err := ParseLevel(level)
	if err != nil {
		return mark(ErrCandidate, err)
	}
	if l.drop() {
		return s.dropUnit(unit)
	}
	w, err := s.weights(unit, l, b)
	if err != nil {
		return err
	}
	return s.model.Set(unit, w)
}

// dropUnit drops a sub-block, or a linear module by itself: its output is 0.
func (s *slot) dropUnit(unit string) error {
	if isSubBlock(unit) {
		return s.model.Drop(unit)
	}
	w, err := engine.Dense(s.checkpoint.Checkpoint, unit)
	if err != nil {
		return err
	}
	rows, cols := w.Shape()
	return s.model.Set(unit, zeros{rows, cols})
}

// zeros is a matrix of zeros.
type zeros struct{ rows, cols int }

func (z zeros) Shape() (rows, cols int)                { return z.rows, z.cols }
func (z zeros) DecodeRows(first, n int, dst []float32) { clear(dst[:n*z.cols]) }

// weights returns a level of a module: from the bank, or made on the fly if it needs no calibration.
func (s *slot) weights(unit string, l Level, b *bank.Bank) (engine.Weights, error) {
	if l.NeedsCalibration() {
		if b == nil {
			return nil, jobErrorf("level %s of %s needs calibration and so a bank: give --bank", l.Name, unit)
		}
		return b.Weights(unit, l.Name)
	}
	dense, err := engine.Dense(s.checkpoint.Checkpoint, unit)
	if err != nil {
		return nil, err
	}
	w, rows, cols := decode(dense)
	return l.build(w, rows, cols, nil)
}
