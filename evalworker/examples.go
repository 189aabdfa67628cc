package evalworker

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/paretopress/paretopress/engine"
)

// examples are sequences of tokens to train on.
type examples struct {
	tokens  [][]int32
	counted [][]bool // for each, which tokens are to be predicted; nil: all
	cut     int      // that were longer than a window and lost their ends
	left    int      // left out: nothing of them is to be predicted
}

// textExamples are windows of a text, all of whose tokens are predicted.
func textExamples(w Windows) examples { return examples{tokens: w.Tokens} }

// add takes an example, cut to a window of seqLen tokens.
func (e *examples) add(tokens []int32, counted []bool, seqLen int) {
	if len(tokens) > seqLen {
		tokens, counted = tokens[:seqLen], counted[:seqLen]
		e.cut++
	}
	if len(tokens) < 2 || !slices.Contains(counted[1:], true) {
		e.left++
		return
	}
	e.tokens, e.counted = append(e.tokens, tokens), append(e.counted, counted)
}

// split takes every fourth example out, for tests.
func (e examples) split() (train, heldOut examples) {
	train.cut, train.left = e.cut, e.left
	for i, tokens := range e.tokens {
		to := &train
		if i%4 == 3 {
			to = &heldOut
		}
		to.tokens = append(to.tokens, tokens)
		if e.counted != nil {
			to.counted = append(to.counted, e.counted[i])
		}
	}
	return train, heldOut
}

// pick returns examples by number.
func (e examples) pick(numbers []int) examples {
	var p examples
	for _, i := range numbers {
		p.tokens = append(p.tokens, e.tokens[i])
		if e.counted != nil {
			p.counted = append(p.counted, e.counted[i])
		}
	}
	return p
}

// digest is the SHA-256 of the tokens and of what counts of them.
func (e examples) digest() string {
	h := sha256.New()
	for i, tokens := range e.tokens {
		var b []byte
		for p, id := range tokens {
			b = binary.LittleEndian.AppendUint32(b, uint32(id)<<1)
			if e.counted == nil || e.counted[i][p] {
				b[len(b)-4] |= 1
			}
		}
		h.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(tokens))))
		h.Write(b)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// order is which examples make up the n-th microbatch of some, of count: a shuffle of all of them, then another, and so on, by the seed. It depends on
// nothing that came before, so that a training goes on anywhere.
func order(seed uint64, count, size, n int) []int {
	out := make([]int, 0, size)
	for at := n * size; len(out) < size; {
		epoch := at / count
		rng := rand.New(rand.NewPCG(seed, uint64(epoch)))
		turn := rng.Perm(count)
		take := min(size-len(out), count-at%count)
		out = append(out, turn[at%count:][:take]...)
		at += take
	}
	return out
}

// example is a conversation as tokens: everything is read, and what the assistant says is to be predicted.
func (c conversation) example(t *engine.Tokenizer, template *chatTemplate, eos int) (tokens []int32, counted []bool, err error) {
	if template == nil {
		return c.plain(t, eos)
	}
	full, err := template.render(c, false)
	if err != nil {
		return nil, nil, err
	}
	tokens = t.Encode([]byte(full))
	counted = make([]bool, len(tokens))
	for i, m := range c {
		if m.Role != roleAssistant {
			continue
		}
		before, err := template.render(c[:i], true)
		if err != nil {
			return nil, nil, err
		}
		through, err := template.render(c[:i+1], false)
		if err != nil {
			return nil, nil, err
		}
		from, to := common(tokens, t.Encode([]byte(before))), common(tokens, t.Encode([]byte(through)))
		for p := from; p < to; p++ {
			counted[p] = true
		}
	}
	return tokens, counted, nil
}

// plain is a prompt and its completion without any template.
func (c conversation) plain(t *engine.Tokenizer, eos int) ([]int32, []bool, error) {
	if len(c) != 2 || c[0].Role != roleUser || c[1].Role != roleAssistant {
		return nil, nil, fmt.Errorf("the model has no chat template: of an example without one there is one prompt and one completion")
	}
	tokens := t.Encode([]byte(c[0].Content))
	counted := make([]bool, len(tokens))
	for _, id := range t.Encode([]byte(c[1].Content)) {
		tokens, counted = append(tokens, id), append(counted, true)
	}
	if eos >= 0 {
		tokens, counted = append(tokens, int32(eos)), append(counted, true)
	}
	return tokens, counted, nil
}

// common is the number of tokens that two lists begin with alike.
func common(a, b []int32) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
