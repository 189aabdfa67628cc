package engine

import (
	"math"
	"unicode/utf8"
)

// bpe holds the vocabulary and the merges. Words come in as UTF-8; their symbols are bytes or
// characters.
type bpe struct {
	chars    bool               // symbols are characters
	fallback bool               // of characters: one that is no token becomes the tokens of its bytes
	ids      map[string]int32   // tokens that words can reach, by their bytes
	merges   map[[2]int32]merge // what two neighbouring tokens become
	bytes    [256]int32         // the token of each byte; -1: none
	unk      int32              // the token of symbols that have none; -1: they are left out
	fuse     bool               // neighbouring unknown symbols become one unk
	whole    bool               // a word that is a token is that token, whatever the merges say
}

// merge is the rank of a merge, lower first, and the token it makes.
type merge struct{ rank, id int32 }

// merger is the working memory of bpe.encode.
type merger struct {
	symbols []symbol
	heap    []candidate
}

// symbol is a node of the list of a word's symbols. A symbol that was merged into the one before
// it has id -1.
type symbol struct{ id, prev, next int32 }

// candidate is a merge of the symbol at pos with the next, which made id when it was proposed.
type candidate struct{ rank, pos, id int32 }

func (c candidate) less(d candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.pos < d.pos
}

// encode appends the tokens of a word: the merge of lowest rank first, the leftmost of equal
// ones, until none applies. It takes O(n log n) for n bytes.
func (b *bpe) encode(ids []int32, word string, m *merger) []int32 {
	if b.whole {
		if id, ok := b.ids[word]; ok {
			return append(ids, id)
		}
	}
	if len(word) > math.MaxInt32 {
		panic("engine: a word of 2 GiB")
	}
	m.symbols, m.heap = m.symbols[:0], m.heap[:0]
	if b.chars {
		m.startChars(b, word)
	} else {
		m.startBytes(b, word)
	}
	if n := len(m.symbols); n > 0 {
		m.symbols[n-1].next = -1
	}
	for i := range len(m.symbols) - 1 {
		m.propose(b, int32(i))
	}
	for len(m.heap) > 0 {
		c := m.pop()
		left := &m.symbols[c.pos]
		if left.id < 0 || left.next < 0 {
			continue
		}
		right := m.symbols[left.next]
		// An outdated candidate counts as long as the pair now there makes the same token: so
		// the reference decides, and where two pairs spell one token it shows.
		if now, ok := b.merges[[2]int32{left.id, right.id}]; !ok || now.id != c.id {
			continue
		}
		m.symbols[left.next].id = -1
		left.id, left.next = c.id, right.next
		if right.next >= 0 {
			m.symbols[right.next].prev = c.pos
			m.propose(b, c.pos)
		}
		if left.prev >= 0 {
			m.propose(b, left.prev)
		}
	}
	for _, s := range m.symbols {
		if s.id >= 0 {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// add appends a symbol to the list.
func (m *merger) add(id int32) {
	n := int32(len(m.symbols))
	m.symbols = append(m.symbols, symbol{id, n - 1, n + 1})
}

// startBytes makes the list of the symbols of a word: a token a byte.
func (m *merger) startBytes(b *bpe, word string) {
	unknown := false // the symbol before is unk
	for i := range len(word) {
		id := b.bytes[word[i]]
		if id < 0 && (b.unk < 0 || unknown && b.fuse) {
			continue
		}
		if unknown = id < 0; unknown {
			id = b.unk
		}
		m.add(id)
	}
}

// startChars makes the list of the symbols of a word: a token a character, or a token for each of
// its bytes, or unk.
func (m *merger) startChars(b *bpe, word string) {
	unknown := false // an unk is due
	flush := func() {
		if unknown {
			m.add(b.unk)
		}
		unknown = false
	}
	for len(word) > 0 {
		_, n := utf8.DecodeRuneInString(word)
		char := word[:n]
		word = word[n:]
		if id, ok := b.ids[char]; ok {
			flush()
			m.add(id)
			continue
		}
		if b.fallback && b.hasBytes(char) {
			// An unk that is due comes later, as in the reference.
			for i := range len(char) {
				m.add(b.bytes[char[i]])
			}
			continue
		}
		if b.unk >= 0 {
			if !b.fuse {
				flush()
			}
			unknown = true
		}
	}
	flush()
}

// hasBytes reports whether every byte of s has a token.
func (b *bpe) hasBytes(s string) bool {
	for i := range len(s) {
		if b.bytes[s[i]] < 0 {
			return false
		}
	}
	return true
}

// propose adds the merge of the symbol at pos with the next to the heap, if there is one.
func (m *merger) propose(b *bpe, pos int32) {
	s := m.symbols[pos]
	to, ok := b.merges[[2]int32{s.id, m.symbols[s.next].id}]
	if !ok {
		return
	}
	m.heap = append(m.heap, candidate{to.rank, pos, to.id})
	for i := len(m.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !m.heap[i].less(m.heap[up]) {
			break
		}
		m.heap[i], m.heap[up] = m.heap[up], m.heap[i]
		i = up
	}
}

// pop takes the first candidate from the heap.
func (m *merger) pop() candidate {
	h := m.heap
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1].less(h[down]) {
			down++
		}
		if !h[down].less(h[i]) {
			break
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
	m.heap = h
	return first
}

// byteRune is the character that stands for a byte in the files of byte-level BPE: itself where
// it is printable Latin-1, else one of the 68 from U+0100 on.
var byteRune = func() (table [256]rune) {
	next := rune(0x100)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			table[b] = b
			continue
		}
		table[b] = next
		next++
	}
	return table
}()

// runeByte is the inverse of byteRune.
var runeByte = func() map[rune]byte {
	table := map[rune]byte{}
	for b, r := range byteRune {
		table[r] = byte(b)
	}
	return table
}()

// pieceBytes is the bytes that a token of a file stands for; ok is false where it has characters
// that stand for none.
func pieceBytes(token string) (b []byte, ok bool) {
	b = make([]byte, 0, len(token))
	for _, r := range token {
		c, ok := runeByte[r]
		if !ok {
			return nil, false
		}
		b = append(b, c)
	}
	return b, true
}
