package evalworker

import (
	"context"
	"sync"
	"time"

	"github.com/paretopress/paretopress/engine"
)

// teachers keeps what the dense models predict for windows, up to a number of bytes; what has not been
// used longest goes first and is computed again when it is needed again.
type teachers struct {
	limit int64
	busy  chan struct{} // holds a token while no one computes

	mu    sync.Mutex
	kept  map[string]*taught
	bytes int64
	clock int64 // counts uses
}

// taught is the teacher of one window.
type taught struct {
	*engine.Teacher
	used int64
}

func newTeachers(limit int64) *teachers {
	t := &teachers{limit: limit, busy: make(chan struct{}, 1), kept: map[string]*taught{}}
	t.busy <- struct{}{}
	return t
}

// room is the number of windows of seqLen tokens whose teachers are kept at a time, at least one.
func (t *teachers) room(s *slot, seqLen int) int {
	return max(1, int(t.limit/s.model.TeacherBytes(seqLen)))
}

// get returns the teacher of windows for the model of a slot. What of it is missing is computed.
// progress is called now and then meanwhile.
func (t *teachers) get(ctx context.Context, s *slot, windows [][]int32, progress func()) (*engine.Teacher, error) {
	keys := make([]string, len(windows))
	for i, w := range windows {
		keys[i] = s.key.digest + s.model.Numerics().String() + digest(Windows{Tokens: [][]int32{w}}.encode())
	}
	found := make([]*engine.Teacher, len(windows))
	if t.find(keys, found) {
		return engine.Join(found...), nil
	}
	// One at a time: another slot is likely to be after the same windows.
	select {
	case <-t.busy:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { t.busy <- struct{}{} }()
	if t.find(keys, found) {
		return engine.Join(found...), nil
	}
	var missing [][]int32
	for i, w := range windows {
		if found[i] == nil {
			missing = append(missing, w)
		}
	}
	began := time.Now()
	taught, err := s.model.Teach(ctx, missing, func(int) { progress() })
	if err != nil {
		return nil, err
	}
	s.speed = float64(len(missing)*len(missing[0])) / time.Since(began).Seconds()
	for i, w := range windows {
		if found[i] == nil {
			found[i] = taught.Only(w)
			t.keep(keys[i], found[i])
		}
	}
	return engine.Join(found...), nil
}

// find fills in the teachers that are kept and reports whether that is all.
func (t *teachers) find(keys []string, found []*engine.Teacher) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := true
	for i, k := range keys {
		e := t.kept[k]
		if e == nil {
			all = false
			continue
		}
		t.clock++
		e.used = t.clock
		found[i] = e.Teacher
	}
	return all
}

// keep adds a teacher and makes room for it.
func (t *teachers) keep(key string, teacher *engine.Teacher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	t.kept[key] = &taught{teacher, t.clock}
	t.bytes += teacher.Bytes()
	for t.bytes > t.limit && len(t.kept) > 1 {
		oldest := ""
		for k, e := range t.kept {
			if oldest == "" || e.used < t.kept[oldest].used {
				oldest = k
			}
		}
		t.bytes -= t.kept[oldest].Bytes()
		delete(t.kept, oldest)
	}
}
