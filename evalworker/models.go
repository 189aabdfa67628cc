package evalworker

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/hub"
)

// models holds the models that a worker keeps loaded: one a slot.
type models struct {
	free    chan struct{} // a token for each slot that is not in use
	threads int           // of a slot
	cache   int64         // bytes that a slot may keep, beyond what it needs
	hub     *hub.Client

	mu          sync.Mutex
	idle        []*slot // most recently used last
	checkpoints map[string]*checkpoint
	paths       map[string]string // of models of the Hugging Face hub, by reference
}

// checkpoint is an open model file that slots share.
type checkpoint struct {
	*engine.Checkpoint
	ref    string
	digest string
	users  int
}

// modelKey says which model a slot is to hold.
type modelKey struct {
	ref      string
	digest   string // of the model; as the slot holds it never empty
	numerics engine.Numerics
}

// slot is a loaded model.
type slot struct {
	key        modelKey
	checkpoint *checkpoint
	model      *engine.Model
	threads    int
	levels     map[string]engine.Level // that the last candidates had, by unit and name
	importance map[string][]float64    // of the channels of MLPs
	speed      float64                 // tokens a second of late, 0 if not known
}

func newModels(slots, threads int, cache int64, h *hub.Client) *models {
	m := &models{free: make(chan struct{}, slots), threads: max(1, threads/slots), cache: cache / int64(slots), hub: h,
		checkpoints: map[string]*checkpoint{}, paths: map[string]string{}}
	for range slots {
		m.free <- struct{}{}
	}
	return m
}

// defaultThreads is the number of threads that Go runs at a time.
func defaultThreads() int { return runtime.GOMAXPROCS(0) }

// acquire waits for a slot and returns it with the model of a key loaded. An empty digest stands for whatever
// is there. The caller releases it.
func (m *models) acquire(ctx context.Context, key modelKey) (*slot, error) {
	select {
	case <-m.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	path, err := m.locate(ctx, key.ref, nil)
	var s *slot
	if err == nil {
		s, err = m.load(key, path)
	}
	if err != nil {
		m.free <- struct{}{}
	}
	return s, err
}

// load returns an idle slot that has the model, or loads it from a path in the place of the one idle longest.
func (m *models) load(key modelKey, path string) (*slot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range slices.Backward(m.idle) {
		if have := s.key; have == key || key.digest == "" && have == (modelKey{key.ref, have.digest, key.numerics}) {
			m.idle = slices.Delete(m.idle, i, i+1)
			return s, nil
		}
	}
	// Every slot that is loaded and not idle is held by someone, so idle ones are all that take memory.
	if len(m.idle) > len(m.free) {
		m.unload(m.idle[0])
		m.idle = m.idle[1:]
	}
	ck, err := m.open(key.ref, path, key.digest)
	if err != nil {
		return nil, err
	}
	model, err := engine.Load(ck.Checkpoint, engine.Options{Threads: m.threads, Numerics: key.numerics, Cache: m.cache})
	if err != nil {
		m.closeUnused(ck)
		return nil, err
	}
	ck.users++
	key.digest = ck.digest
	return &slot{key: key, checkpoint: ck, model: model, threads: m.threads, levels: map[string]engine.Level{}, importance: map[string][]float64{}}, nil
}

// open returns the checkpoint of ref, which lies at path. m.mu is held.
func (m *models) open(ref, path, want string) (*checkpoint, error) {
	ck, err := m.shared(ref, path)
	if err != nil {
		return nil, err
	}
	if want != "" && ck.digest != want {
		defer m.closeUnused(ck)
		return nil, mark(ErrChanged, fmt.Errorf("evalworker: model %s has SHA-256 %.12s, the run began with %.12s", ref, ck.digest, want))
	}
	return ck, nil
}

func (m *models) shared(ref, path string) (*checkpoint, error) {
	if ck := m.checkpoints[ref]; ck != nil {
		return ck, nil
	}
	opened, err := engine.Open(path)
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

// candidates makes what the engine scores of the levels of some candidates; units that are not named are
// dense. b may be nil if no level needs a bank. What is made on the fly, on all threads of the slot, is kept until the next call.
func (s *slot) candidates(all []map[string]string, b *bank.Bank) ([]engine.Candidate, error) {
	used := map[string]engine.Level{}
	var makes []making
	named := make([]map[string]string, len(all)) // key by unit
	for i, levels := range all {
		named[i] = map[string]string{}
		for unit, name := range expand(levels) {
			if name == LevelDense {
				continue
			}
			key := unit + " " + name
			named[i][unit] = key
			if _, ok := used[key]; ok {
				continue
			}
			level, dense, err := s.level(unit, name, b)
			if err != nil {
				return nil, err
			}
			if used[key] = level; dense != nil {
				makes = append(makes, making{key, name, dense})
			}
		}
	}
	made := make([]engine.Level, len(makes))
	err := parallel(context.Background(), s.threads, len(makes), func(i int) (err error) {
		made[i], err = makes[i].make()
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, m := range makes {
		used[m.key] = made[i]
	}
	s.levels = used
	candidates := make([]engine.Candidate, len(all))
	for i := range all {
		candidates[i] = engine.Candidate{}
		for unit, key := range named[i] {
			candidates[i][unit] = used[key]
		}
	}
	return candidates, nil
}

// making is a level that is to be made of a module's weights.
type making struct {
	key, name string
	dense     engine.Weights
}

func (m making) make() (engine.Level, error) {
	l, err := ParseLevel(m.name)
	if err != nil {
		return engine.Level{}, mark(ErrCandidate, err)
	}
	w, rows, cols := decode(m.dense)
	packed, err := l.build(w, rows, cols, nil)
	return engine.Level{Name: m.name, Weights: packed}, err
}

// level is a level of a unit as the engine takes it, or the weights that it is to be made of. Levels of different banks have different names.
func (s *slot) level(unit, name string, b *bank.Bank) (level engine.Level, of engine.Weights, err error) {
	l, err := ParseLevel(name)
	if err != nil {
		return level, nil, mark(ErrCandidate, err)
	}
	switch {
	case l.drop():
		return engine.Level{Name: name}, nil, nil
	case l.wide && l.NeedsCalibration():
		return level, nil, jobErrorf("%s: %w", unit, errCalibratedWide(l.Name))
	case l.NeedsCalibration():
		if b == nil {
			return level, nil, jobErrorf("level %s of %s needs calibration and so a bank: give --bank", name, unit)
		}
		w, err := b.Weights(unit, name)
		return engine.Level{Name: name + " " + b.Header().ID(), Weights: w}, nil, err
	}
	if made, ok := s.levels[unit+" "+name]; ok {
		return made, nil, nil
	}
	dense, err := s.dense(unit, l)
	if err != nil || l.spec == nil {
		return engine.Level{Name: name, Weights: dense}, nil, err
	}
	return level, dense, nil
}
