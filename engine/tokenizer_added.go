package engine

import (
	"unicode"
	"unicode/utf8"
)

// added holds the tokens that are matched in the text itself, in two sets: those that are sought
// in the text as it is, and those that are sought after normalisation.
type added struct{ raw, normal matcher }

// addedToken is a token that is matched in the text.
type addedToken struct {
	id             int32
	single         bool // only where no word character touches it
	lstrip, rstrip bool // it swallows the white space before it, after it
}

// matcher finds the leftmost, and of those the longest, of a set of strings: a trie.
type matcher struct {
	tokens []addedToken
	nodes  []trieNode
}

// trieNode is a node of the trie; node 0 is the root.
type trieNode struct {
	next  map[byte]int32
	token int32 // index of the token that ends here, -1: none
}

// add adds a token; of two with equal text the first counts.
func (m *matcher) add(text string, t addedToken) {
	if len(m.nodes) == 0 {
		m.nodes = []trieNode{{token: -1}}
	}
	at := int32(0)
	for i := range len(text) {
		to, ok := m.nodes[at].next[text[i]]
		if !ok {
			to = int32(len(m.nodes))
			m.nodes = append(m.nodes, trieNode{token: -1})
			if m.nodes[at].next == nil {
				m.nodes[at].next = map[byte]int32{}
			}
			m.nodes[at].next[text[i]] = to
		}
		at = to
	}
	if m.nodes[at].token < 0 {
		m.nodes[at].token = int32(len(m.tokens))
		m.tokens = append(m.tokens, t)
	}
}

// longest finds the longest token that s starts with.
func (m *matcher) longest(s string) (t addedToken, length int, ok bool) {
	at := int32(0)
	for i := range len(s) {
		to, found := m.nodes[at].next[s[i]]
		if !found {
			break
		}
		at = to
		if k := m.nodes[at].token; k >= 0 {
			t, length, ok = m.tokens[k], i+1, true
		}
	}
	return t, length, ok
}

// split calls token for each token found in s and rest for each piece of text between them, in
// order.
func (m *matcher) split(s string, token func(id int32), rest func(string)) {
	if len(m.tokens) == 0 {
		rest(s)
		return
	}
	done := 0 // up to here s is dealt with
	for i := 0; i < len(s); {
		t, n, ok := m.longest(s[i:])
		if !ok {
			i++
			continue
		}
		from, to := i, i+n
		i = to
		if t.single {
			before, _ := utf8.DecodeLastRuneInString(s[:from])
			after, _ := utf8.DecodeRuneInString(s[to:])
			if from > 0 && wordRune(before) || to < len(s) && wordRune(after) {
				continue
			}
		}
		if t.lstrip {
			for from > done {
				r, n := utf8.DecodeLastRuneInString(s[:from])
				if !unicode.IsSpace(r) {
					break
				}
				from -= n
			}
			from = max(from, done)
		}
		if t.rstrip {
			for to < len(s) {
				r, n := utf8.DecodeRuneInString(s[to:])
				if !unicode.IsSpace(r) {
					break
				}
				to += n
			}
		}
		if done < from {
			rest(s[done:from])
		}
		token(t.id)
		done = to
	}
	if done < len(s) {
		rest(s[done:])
	}
}

// wordRune reports whether a regular expression's \w matches r (Unicode TR18, annex C).
func wordRune(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M, unicode.Nd, unicode.Pc, unicode.Join_Control)
}
