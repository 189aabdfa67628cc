package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/builtin"
)

// cursor is a place in the windows that train.
type cursor struct {
	Text   uint64 `json:"text"`   // texts taken in hand; the last one is of seed trainSeed + Text - 1
	Length int    `json:"length"` // of its windows
	Used   int    `json:"used"`   // of its windows
}

// windows are windows of fresh text in shuffled order: text after text, each of the next seed, cut into windows. What is left of a text
// when there is not enough for a step, or when the length changes, is passed over: no window comes twice.
type windows struct {
	cursor
	tokenizer *engine.Tokenizer
	size      int // bytes of a text
	rows      [][]int32
}

// batch returns the next n windows of a length.
func (w *windows) batch(length, n int) ([][]int32, error) {
	if w.Length != length || len(w.rows)-w.Used < n {
		w.cursor = cursor{Text: w.Text + 1, Length: length}
		w.fill()
		if len(w.rows) < n {
			return nil, fmt.Errorf("a text of %d bytes has %d windows of %d tokens, and a step takes %d", w.size, len(w.rows), length, n)
		}
	}
	w.Used += n
	return w.rows[w.Used-n : w.Used], nil
}

// fill makes the windows of the text in hand.
func (w *windows) fill() {
	seed := trainSeed + w.Text - 1
	w.rows = cut(w.tokenizer.Encode(builtin.Text(seed, w.size)), w.Length)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(w.rows), func(i, j int) { w.rows[i], w.rows[j] = w.rows[j], w.rows[i] })
}

// cut divides tokens into windows; a rest is left out.
func cut(ids []int32, length int) (rows [][]int32) {
	for ; len(ids) >= length; ids = ids[length:] {
		rows = append(rows, ids[:length:length])
	}
	return rows
}
