package engine

import (
	"slices"
	"strings"
)

// tokenizerSpec is what the files say of a tokenizer, its tokens as they are written there.
type tokenizerSpec struct {
	chars    bool // SentencePiece's kind; else tokens are in the characters of the byte alphabet
	fallback bool // characters that are no token become tokens of bytes, <0x00> to <0xFF>
	vocab    map[string]int32
	tokens   []string // by number; holes are empty
	merges   [][2]string
	ranks    []int32 // of the merges; nil: their order
	added    []addedSpec
	normal   normalizer
	meta     *metaspace
	stages   stages
	unk      string // the token of unknown symbols, empty: none
	fuse     bool
	whole    bool
}

// addedSpec is a token to be matched in the text.
type addedSpec struct {
	text       string
	normalized bool // sought after normalisation
	addedToken
}

// build makes the tokenizer.
func (s *tokenizerSpec) build() (*Tokenizer, error) {
	t := &Tokenizer{normal: s.normal, meta: s.meta, stages: s.stages, pieces: make([][]byte, len(s.tokens))}
	t.bpe = bpe{
		chars: s.chars, fallback: s.fallback, ids: make(map[string]int32, len(s.vocab)), unk: -1, fuse: s.fuse, whole: s.whole,
	}
	if s.chars {
		s.buildChars(t)
	} else {
		s.buildBytes(t)
	}
	if (s.chars || slices.Contains(t.bpe.bytes[:], -1)) && s.unk != "" {
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
		default:
			if text := s.normal.apply(a.text); text != "" {
				t.added.normal.add(text, a.addedToken)
			}
		}
	}
	return t, nil
}

// buildBytes sets the bytes that tokens of byte-level BPE stand for.
func (s *tokenizerSpec) buildBytes(t *Tokenizer) {
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
		t.bpe.bytes[b] = s.id(string(r))
	}
}

// buildChars sets the text that tokens of SentencePiece's kind stand for.
func (s *tokenizerSpec) buildChars(t *Tokenizer) {
	t.bpe.ids = s.vocab
	for id, token := range s.tokens {
		t.pieces[id] = []byte(strings.ReplaceAll(token, spmSpace, " "))
	}
	for b := range t.bpe.bytes {
		id := s.id(byteToken(byte(b)))
		if t.bpe.bytes[b] = id; id >= 0 {
			t.pieces[id] = []byte{byte(b)}
		}
	}
}

// id is the number of a token, -1 where there is none.
func (s *tokenizerSpec) id(token string) int32 {
	if id, ok := s.vocab[token]; ok {
		return id
	}
	return -1
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
		rank := int32(i)
		if s.ranks != nil {
			rank = s.ranks[i]
		}
		b.merges[[2]int32{left, right}] = merge{rank, both}
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
