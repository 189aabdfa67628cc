package engine

import "container/list"

// lru keeps values up to a number of bytes; those not used longest go first. What
// it keeps never has an influence on a result.
type lru[V any] struct {
	limit, used int64
	size        func(V) int64
	drop        func(V) // takes a value that has to go
	entries     map[string]*list.Element
	order       list.List // of *kept[V], most recently used first
}

type kept[V any] struct {
	key   string
	value V
}

func newLRU[V any](limit int64, size func(V) int64, drop func(V)) *lru[V] {
	return &lru[V]{limit: limit, size: size, drop: drop, entries: make(map[string]*list.Element)}
}

// get returns the value of a key.
func (l *lru[V]) get(key string) (v V, ok bool) {
	e := l.entries[key]
	if e == nil {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*kept[V]).value, true
}

// has reports whether a key has a value, which does not count as a use.
func (l *lru[V]) has(key string) bool { return l.entries[key] != nil }

// clear forgets everything.
func (l *lru[V]) clear() {
	clear(l.entries)
	l.order.Init()
	l.used = 0
}

// put keeps a value, whose key has none yet, and drops what there is no room for:
// the value itself if it is larger than the limit.
func (l *lru[V]) put(key string, v V) {
	n := l.size(v)
	if n > l.limit {
		l.drop(v)
		return
	}
	l.entries[key] = l.order.PushFront(&kept[V]{key, v})
	for l.used += n; l.used > l.limit; {
		e := l.order.Back()
		last := l.order.Remove(e).(*kept[V])
		delete(l.entries, last.key)
		l.used -= l.size(last.value)
		l.drop(last.value)
	}
}
