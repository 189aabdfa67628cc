package engine

import (
	"slices"
	"strings"
)

// tokenizerSpec is what the files say of a tokenizer, in the characters of the byte alphabet.
type tokenizerSpec struct {
	vocab  map[string]int32
	tokens []string // by number; holes are empty
	merges [][2]string
	added  []addedSpec
	stages stages
	nfc    bool
	unk    string // the token of unknown bytes, empty: none
	fuse   bool
	whole  bool
}

// addedSpec is a token to be matched in the text.
type addedSpec struct {
	text       string
	normalized bool // sought after normalisation
	addedToken
}

// build makes the tokenizer.
func (s *tokenizerSpec) build() (*Tokenizer, error) {
	t := &Tokenizer{nfc: s.nfc, stages: s.stages, pieces: make([][]byte, len(s.tokens))}
	t.bpe = bpe{ids: make(map[string]int32, len(s.vocab)), unk: -1, fuse: s.fuse, whole: s.whole}
	for id, token := range s.tokens {
		b, ok := pieceBytes(token)
		if !ok {
			b = []byte(token)
		} else if s.vocab[token] == int32(id) {
			t.bpe.ids[string(b)] = int32(id)
		}
		t.pieces[id] = b
	}
	for b, r := range byteRune {
		t.bpe.bytes[b] = -1
		if id, ok := s.vocab[string(r)]; ok {
			t.bpe.bytes[b] = id
		}
	}
	if slices.Contains(t.bpe.bytes[:], -1) && s.unk != "" {
		id, ok := s.vocab[s.unk]
		if !ok {
			return nil, malformed("the unknown token %q is not in the vocabulary", s.unk)
		}
		t.bpe.unk = id
	}
	if err := s.rank(&t.bpe); err != nil {
		return nil, err
	}
	for _, a := range s.added {
		switch {
		case a.text == "":
		case !a.normalized:
			t.added.raw.add(a.text, a.addedToken)
		case s.nfc:
			t.added.normal.add(nfc(a.text), a.addedToken)
		default:
			t.added.normal.add(a.text, a.addedToken)
		}
	}
	return t, nil
}

// rank fills the table of merges. Of two merges of one pair the later counts, as in the reference.
func (s *tokenizerSpec) rank(b *bpe) error {
	b.merges = make(map[[2]int32]merge, len(s.merges))
	for i, m := range s.merges {
		left, okLeft := s.vocab[m[0]]
		right, okRight := s.vocab[m[1]]
		both, okBoth := s.vocab[m[0]+m[1]]
		if !okLeft || !okRight || !okBoth {
			return malformed("merge %d, of %q and %q, is of tokens that the vocabulary does not have", i, m[0], m[1])
		}
		b.merges[[2]int32{left, right}] = merge{int32(i), both}
	}
	return nil
}

// splitMerge reads a merge in its old form, two tokens with a space between.
func splitMerge(s string) (m [2]string, ok bool) {
	m[0], m[1], ok = strings.Cut(s, " ")
	return m, ok && !strings.Contains(m[1], " ")
}

// place puts a token at its number, and reports one that is out of range or taken. It makes room
// only in proportion to count, the number of tokens there are: a number far above that is hostile.
func (s *tokenizerSpec) place(token string, id int64, count int) error {
	if id < 0 || id >= int64(8*count+1<<16) {
		return malformed("token %q has number %d in a vocabulary of %d", token, id, count)
	}
	if n := int(id) + 1; n > len(s.tokens) {
		s.tokens = append(s.tokens, make([]string, n-len(s.tokens))...)
	}
	if have := s.tokens[id]; have != "" && have != token {
		return malformed("tokens %q and %q have the same number %d", have, token, id)
	}
	s.tokens[id] = token
	return nil
}
