package engine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
)

// Teacher is what is kept of a dense model's predictions so that the KL divergence
// of a candidate is exact over the whole vocabulary: the final hidden state after
// the norm, and the log-sum-exp of the logits, of each predicting position. It
// takes 4·Hidden+8 bytes a token in exact numerics and 2·Hidden+8 in fast; logits,
// which would take 4·Vocab, are computed again from it.
//
// A Teacher is not changed once taught and may be used by several models of the
// same checkpoint and numerics at a time.
type Teacher struct {
	numerics      Numerics
	hidden, vocab int
	windows       map[[sha256.Size]byte]taughtRows // by the window's tokens
}

// taughtRows are the positions of a window, from some position on.
type taughtRows struct {
	hidden rows
	lse    []float64 // [positions]
}

// from returns the rows from position p on.
func (t taughtRows) from(p int) taughtRows {
	return taughtRows{hidden: t.hidden.from(p), lse: t.lse[p:]}
}

// Teach runs the dense model over windows and keeps its predictions, against which
// Score measures. A window that comes up twice is kept once. progress, which may be
// nil, is called now and then with the number of windows done.
func (m *Model) Teach(ctx context.Context, windows [][]int32, progress func(done int)) (*Teacher, error) {
	t := &Teacher{numerics: m.numerics, hidden: m.config.Hidden, vocab: m.config.Vocab, windows: make(map[[sha256.Size]byte]taughtRows)}
	var fresh [][]int32
	for _, w := range windows {
		key := windowDigest(w)
		if _, ok := t.windows[key]; !ok {
			t.windows[key] = taughtRows{}
			fresh = append(fresh, w)
		}
	}
	dense, err := m.plan(nil)
	if err != nil {
		return nil, err
	}
	failed, err := m.evaluate(ctx, fresh, nil, []plan{dense}, func(b *batch, f *final) error {
		for i, w := range b.windows {
			n := len(w) - 1
			rows := taughtRows{hidden: f.hidden.from(b.start[i]).clone(n), lse: make([]float64, n)}
			for j, p := range f.out[b.start[i]:][:n] {
				rows.lse[j] = p.lse
			}
			t.windows[windowDigest(w)] = rows
		}
		if progress != nil {
			progress(b.first + len(b.windows))
		}
		return nil
	})
	if err == nil {
		err = failed[0]
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// TeacherBytes is the memory that a teacher takes for a window of n tokens.
func (m *Model) TeacherBytes(n int) int64 {
	if m.numerics == Exact {
		return int64(4*pad(m.config.Hidden)+8) * int64(n-1)
	}
	return int64(2*padBF16(m.config.Hidden)+8) * int64(n-1)
}

// Bytes is the memory that the teacher's states take.
func (t *Teacher) Bytes() int64 {
	var n int64
	for _, w := range t.windows {
		n += w.hidden.bytes() + 8*int64(len(w.lse))
	}
	return n
}

// Only returns the part of a teacher that is for one of its windows, nil if it was
// not taught that.
func (t *Teacher) Only(window []int32) *Teacher {
	key := windowDigest(window)
	rows, ok := t.windows[key]
	if !ok {
		return nil
	}
	return &Teacher{numerics: t.numerics, hidden: t.hidden, vocab: t.vocab, windows: map[[sha256.Size]byte]taughtRows{key: rows}}
}

// Join returns a teacher of all windows that the given ones, of one model, were
// taught. It shares their memory.
func Join(teachers ...*Teacher) *Teacher {
	all := *teachers[0]
	all.windows = make(map[[sha256.Size]byte]taughtRows)
	for _, t := range teachers {
		maps.Copy(all.windows, t.windows)
	}
	return &all
}

// find returns the taught windows that are to be scored.
func (t *Teacher) find(m *Model, windows [][]int32) ([]taughtRows, error) {
	c := m.config
	if t.hidden != c.Hidden || t.vocab != c.Vocab || t.numerics != m.numerics {
		return nil, fmt.Errorf("engine: a teacher of width %d, vocabulary %d and %v numerics cannot teach a model of width %d, vocabulary %d and %v numerics",
			t.hidden, t.vocab, t.numerics, c.Hidden, c.Vocab, m.numerics)
	}
	found := make([]taughtRows, len(windows))
	for i, w := range windows {
		var ok bool
		if found[i], ok = t.windows[windowDigest(w)]; !ok {
			return nil, fmt.Errorf("engine: window %d is not one that the teacher was taught", i)
		}
	}
	return found, nil
}
