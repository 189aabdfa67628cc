package engine

import (
	"context"
	"fmt"
)

// Teacher is what is kept of a dense model's predictions so that the KL divergence
// of a candidate is exact over the whole vocabulary: the final hidden state after
// the norm, and the log-sum-exp of the logits, of each predicting position. It
// takes 4·Hidden+8 bytes a token; logits, which would take 4·Vocab, are computed
// again from it.
//
// A Teacher is not changed once taught and may be used by several models of the
// same checkpoint at a time.
type Teacher struct {
	hidden, vocab int
	windows       map[string]taughtRows // by the window's tokens
}

// taughtRows are the positions of a window, from some position on.
type taughtRows struct {
	hidden []float32 // [positions x ld]
	ld     int
	lse    []float64 // [positions]
}

// from returns the rows from position p on.
func (t taughtRows) from(p int) taughtRows {
	return taughtRows{hidden: t.hidden[p*t.ld:], ld: t.ld, lse: t.lse[p:]}
}

// Teach runs the model over windows and keeps its predictions, against which
// Score measures. A window that comes up twice is kept once.
func (m *Model) Teach(ctx context.Context, windows [][]int32) (*Teacher, error) {
	t := &Teacher{hidden: m.config.Hidden, vocab: m.config.Vocab, windows: make(map[string]taughtRows)}
	var fresh [][]int32
	for _, w := range windows {
		key := windowKey(w)
		if _, ok := t.windows[key]; !ok {
			n, ld := max(len(w)-1, 0), pad(m.config.Hidden)
			t.windows[key] = taughtRows{hidden: make([]float32, n*ld), ld: ld, lse: make([]float64, n)}
			fresh = append(fresh, w)
		}
	}
	err := m.batches(fresh, func(b *batch) error {
		if err := m.forward(ctx, b); err != nil {
			return err
		}
		return m.finish(ctx, b, func(r rowBlock, h []float32, ld, n int, s *scratch, out []prediction) {
			w := b.windows[r.window]
			rows := t.windows[windowKey(w)].from(r.first)
			for i := range n {
				copy(rows.hidden[i*rows.ld:][:m.config.Hidden], h[i*ld:])
			}
			m.predict(h, ld, n, w[r.first+1:], nil, s, out)
			for i := range n {
				rows.lse[i] = out[i].lse
			}
		})
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Bytes is the memory that the teacher's states take.
func (t *Teacher) Bytes() int64 {
	var n int64
	for _, w := range t.windows {
		n += 4*int64(len(w.hidden)) + 8*int64(len(w.lse))
	}
	return n
}

// find returns the taught windows that are to be scored.
func (t *Teacher) find(c Config, windows [][]int32) ([]taughtRows, error) {
	if t.hidden != c.Hidden || t.vocab != c.Vocab {
		return nil, fmt.Errorf("engine: a teacher of width %d and vocabulary %d cannot teach a model of width %d and vocabulary %d",
			t.hidden, t.vocab, c.Hidden, c.Vocab)
	}
	found := make([]taughtRows, len(windows))
	for i, w := range windows {
		var ok bool
		if found[i], ok = t.windows[windowKey(w)]; !ok {
			return nil, fmt.Errorf("engine: window %d is not one that the teacher was taught", i)
		}
	}
	return found, nil
}

// windowKey makes the tokens of a window the key of a map.
func windowKey(w []int32) string {
	b := make([]byte, 0, 4*len(w))
	for _, id := range w {
		b = append(b, byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
	}
	return string(b)
}
