package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// evaluation takes candidates through the model, batch by batch. Candidates that
// begin alike share what they have in common: their plans form a trie, which is
// walked depth first, and the residual stream at its branches is kept.
type evaluation struct {
	m     *Model
	plans []plan
	// teachers are those of the windows of the call, nil without.
	teachers []taughtRows
	// sink takes what the head found for a batch.
	sink func(b *batch, f *final) error
	// failed says why a candidate has no output.
	failed []error

	b       *batch
	keys    [][sha256.Size]byte // of the windows of the batch
	at      int                 // sub-blocks that b.x has been through
	path    [sha256.Size]byte   // of the last of them
	pending []*final            // that wait for the head
	idle    []*final            // that do not
}

// evaluate runs candidates over windows. An output that is not finite because of a
// candidate's weights counts against that candidate alone.
func (m *Model) evaluate(ctx context.Context, windows [][]int32, teachers []taughtRows, plans []plan, sink func(*batch, *final) error) ([]error, error) {
	if err := m.check(windows); err != nil {
		return nil, err
	}
	e := &evaluation{m: m, plans: plans, teachers: teachers, sink: sink, failed: make([]error, len(plans))}
	all := make([]int, len(plans))
	for i := range all {
		all[i] = i
	}
	for _, s := range m.spans(windows) {
		e.begin(windows, s)
		for _, group := range e.split(e.alive(all), func(p plan) [sha256.Size]byte { return p.root }) {
			if err := e.walk(ctx, group, 0); err != nil {
				return nil, err
			}
		}
		if err := e.flush(ctx); err != nil {
			return nil, err
		}
	}
	return e.failed, nil
}

// begin lays the batch out.
func (e *evaluation) begin(windows [][]int32, s span) {
	e.b = e.m.layout(windows, s)
	e.b.x = grow(e.b.x, e.b.rows*e.m.config.Hidden)
	e.keys = e.keys[:0]
	for _, w := range e.b.windows {
		e.keys = append(e.keys, windowDigest(w))
	}
	e.lost()
}

// lost notes that the residual stream is of no use.
func (e *evaluation) lost() { e.at, e.path = -1, [sha256.Size]byte{} }

// alive are those of a group that have not failed.
func (e *evaluation) alive(group []int) []int {
	var left []int
	for _, c := range group {
		if e.failed[c] == nil {
			left = append(left, c)
		}
	}
	return left
}

// walk takes a group of candidates, which agree on the sub-blocks before depth, to
// their ends.
func (e *evaluation) walk(ctx context.Context, group []int, depth int) error {
	if len(group) == 0 {
		return nil
	}
	first := e.plans[group[0]]
	for depth < len(first.steps) && e.agree(group, depth) {
		depth++
	}
	switch err := e.reach(ctx, first, depth, len(group) > 1); {
	case errors.Is(err, ErrNotFinite):
		for _, c := range group {
			e.failed[c] = err
		}
		return nil
	case err != nil:
		return err
	}
	if depth < len(first.steps) {
		for _, part := range e.split(group, func(p plan) [sha256.Size]byte { return p.steps[depth].path }) {
			if err := e.walk(ctx, part, depth); err != nil {
				return err
			}
		}
		return nil
	}
	for _, part := range e.split(group, func(p plan) [sha256.Size]byte { return sha256.Sum256([]byte(p.head.key)) }) {
		if err := e.end(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// agree reports whether a group goes on alike at depth.
func (e *evaluation) agree(group []int, depth int) bool {
	for _, c := range group[1:] {
		if e.plans[c].steps[depth].path != e.plans[group[0]].steps[depth].path {
			return false
		}
	}
	return true
}

// split divides a group by a key of their plans, in the order of their first members.
func (e *evaluation) split(group []int, key func(plan) [sha256.Size]byte) [][]int {
	var parts [][]int
	index := make(map[[sha256.Size]byte]int)
	for _, c := range group {
		k := key(e.plans[c])
		i, ok := index[k]
		if !ok {
			i = len(parts)
			index[k] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], c)
	}
	return parts
}

// reach brings the residual stream to where it is after the first depth sub-blocks
// of a plan: from where it is, from what is kept, or from the embeddings. If others
// share the way, the states along it are kept.
func (e *evaluation) reach(ctx context.Context, p plan, depth int, shared bool) error {
	if err := e.start(p, depth); err != nil {
		return err
	}
	for e.at < depth {
		if err := e.m.advance(ctx, e.b, e.at/2, e.at%2, p.steps[e.at]); err != nil {
			e.lost()
			return err
		}
		e.path = p.steps[e.at].path
		e.at++
		if shared && (e.at%2 == 0 || e.at == depth) {
			e.keep()
		}
	}
	return nil
}

// start sets the residual stream to the deepest state of a plan that is at hand, at
// most depth.
func (e *evaluation) start(p plan, depth int) error {
	for at := depth; at > 0; at-- {
		if path := p.steps[at-1].path; e.at == at && e.path == path || e.recall(path) {
			e.at, e.path = at, path
			return nil
		}
	}
	if e.at == 0 && e.path == p.root {
		return nil
	}
	e.lost()
	if err := e.m.embed(e.b, p.embedding); err != nil {
		return err
	}
	e.at, e.path = 0, p.root
	return nil
}

// keep keeps the residual stream of each window.
func (e *evaluation) keep() {
	e.m.yieldActivations()
	for i := range e.b.windows {
		key := stateKey(e.keys[i], e.path)
		if !e.m.states.has(key) && 4*int64(len(e.window(i))) <= e.m.states.limit {
			state := e.m.freeState(len(e.window(i)))
			copy(state, e.window(i))
			e.m.states.put(key, state)
		}
	}
}

// recall sets the residual stream to the kept states of a path, if there is one for
// every window.
func (e *evaluation) recall(path [sha256.Size]byte) bool {
	for i := range e.b.windows {
		if !e.m.states.has(stateKey(e.keys[i], path)) {
			return false
		}
	}
	for i := range e.b.windows {
		state, _ := e.m.states.get(stateKey(e.keys[i], path))
		copy(e.window(i), state)
	}
	return true
}

// window is the residual stream of a window of the batch.
func (e *evaluation) window(i int) []float32 {
	hidden := e.m.config.Hidden
	return e.b.x[e.b.start[i]*hidden:][:len(e.b.windows[i])*hidden]
}

// end notes that the candidates of a group have reached the head.
func (e *evaluation) end(ctx context.Context, group []int) error {
	f := new(final)
	if n := len(e.idle); n > 0 {
		f, e.idle = e.idle[n-1], e.idle[:n-1]
	}
	f.members, f.head, f.err = group, e.plans[group[0]].head, nil
	if err := e.m.finish(ctx, e.b, f); err != nil {
		return err
	}
	e.pending = append(e.pending, f)
	if int64(len(e.pending))*f.hidden.bytes() > e.m.pending || len(e.pending) == maxPending {
		return e.flush(ctx)
	}
	return nil
}

// maxPending bounds the ends that pass the head together: what they save falls as
// 1/n, what one costs that does not get its turn before a crash does not.
const maxPending = 16

// flush runs the head for the ends that wait for it.
func (e *evaluation) flush(ctx context.Context) error {
	if len(e.pending) == 0 {
		return nil
	}
	teachers := e.teachers
	if teachers != nil {
		teachers = teachers[e.b.first:][:len(e.b.windows)]
	}
	if err := e.m.predict(ctx, e.b, e.pending, teachers); err != nil {
		return err
	}
	for _, f := range e.pending {
		if f.err != nil {
			for _, c := range f.members {
				e.failed[c] = f.err
			}
			continue
		}
		if err := e.sink(e.b, f); err != nil {
			return err
		}
	}
	e.idle, e.pending = append(e.idle, e.pending...), e.pending[:0]
	return nil
}

// freeState returns memory for a state of n numbers.
func (m *Model) freeState(n int) []float32 {
	if free := m.free[n]; len(free) > 0 {
		m.free[n] = free[:len(free)-1]
		return free[len(free)-1]
	}
	return make([]float32, n)
}

// recycleState takes a state that is not kept any more: one of a size, which is
// what the next state to be kept needs.
func (m *Model) recycleState(x []float32) {
	if len(m.free[len(x)]) == 0 {
		m.free[len(x)] = append(m.free[len(x)], x)
	}
}

// stateKey is the key of the state of a window after the sub-blocks of a path.
func stateKey(window, path [sha256.Size]byte) string { return string(window[:]) + string(path[:]) }

// windowDigest stands for the tokens of a window.
func windowDigest(w []int32) [sha256.Size]byte {
	b := make([]byte, 0, 4*len(w))
	for _, id := range w {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return sha256.Sum256(b)
}
