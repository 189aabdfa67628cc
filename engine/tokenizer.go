package engine

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// Tokenizer is a BPE tokenizer, of bytes (GPT-2's kind) or of characters with bytes for those that
// are no token (SentencePiece's kind). It gives the tokens that the reference implementation
// (Hugging Face tokenizers) gives for the same tokenizer.json. It is safe for concurrent use.
//
// Sennrich et al., Neural Machine Translation of Rare Words with Subword Units, arXiv 1508.07909;
// Radford et al., Language Models are Unsupervised Multitask Learners, 2019 (the byte alphabet);
// Kudo and Richardson, SentencePiece, arXiv 1808.06226.
type Tokenizer struct {
	bpe    bpe
	normal normalizer // changes the text first
	meta   *metaspace // nil: none
	stages stages     // cuts text into words before merging
	added  added      // tokens matched in the text itself, before and after normalisation
	pieces [][]byte
}

// Encode gives the tokens of a text, without adding tokens at its start or end. Tokens of the
// vocabulary that are marked as added (<|im_end|> and the like) are matched where the text
// contains them, as the reference does. Bytes that are not UTF-8 are read as U+FFFD, one for each
// maximal part of a sequence (Unicode 3.9, table 3-8; Python's errors="replace").
func (t *Tokenizer) Encode(text []byte) []int32 {
	s := string(text)
	if !utf8.ValidString(s) {
		s = replaceInvalid(s)
	}
	if s == "" {
		return nil
	}
	e := encoder{t: t, words: map[string][]int32{}}
	t.added.raw.split(s, e.token, func(s string) {
		t.added.normal.split(t.normal.apply(s), e.token, e.text)
		e.inside = true
	})
	return e.ids
}

// Decode joins the bytes of the tokens. A token may hold a part of a character, so the result is
// UTF-8 only where the tokens together are. Numbers outside the vocabulary give nothing. The space
// that a tokenizer of SentencePiece's kind puts before a text stays.
func (t *Tokenizer) Decode(ids []int32) []byte {
	var b bytes.Buffer
	for _, id := range ids {
		if id >= 0 && int(id) < len(t.pieces) {
			b.Write(t.pieces[id])
		}
	}
	return b.Bytes()
}

// Vocab is one more than the highest token.
func (t *Tokenizer) Vocab() int { return len(t.pieces) }

// encoder collects the tokens of one text, and remembers words: text repeats them.
type encoder struct {
	t      *Tokenizer
	inside bool // some of the text is dealt with
	ids    []int32
	words  map[string][]int32
	merge  merger
}

// Words up to maxWord bytes are remembered, up to maxWords of them.
const (
	maxWord  = 64
	maxWords = 1 << 16
)

func (e *encoder) token(id int32) {
	e.ids = append(e.ids, id)
	e.inside = true
}

// text encodes a text in which no added token is.
func (e *encoder) text(s string) {
	if e.t.meta != nil {
		s = e.t.meta.apply(s, !e.inside)
	}
	e.inside = true
	e.t.stages.cut(s, e.word)
}

func (e *encoder) word(w string) {
	if ids, ok := e.words[w]; ok {
		e.ids = append(e.ids, ids...)
		return
	}
	from := len(e.ids)
	e.ids = e.t.bpe.encode(e.ids, w, &e.merge)
	if len(w) <= maxWord && len(e.words) < maxWords {
		e.words[w] = slices.Clone(e.ids[from:])
	}
}

// replaceInvalid reads s as Python's decode("utf-8", errors="replace") reads bytes.
func replaceInvalid(s string) string {
	out := make([]byte, 0, len(s)+len(s)/2)
	for len(s) > 0 {
		if r, n := utf8.DecodeRuneInString(s); r != utf8.RuneError || n > 1 {
			out, s = append(out, s[:n]...), s[n:]
			continue
		}
		out, s = utf8.AppendRune(out, utf8.RuneError), s[maximalPart(s):]
	}
	return string(out)
}

// maximalPart is the length of the longest start of s that begins a character, at least one byte;
// s does not start with a whole character.
func maximalPart(s string) int {
	low, high, more := byte(0x80), byte(0xbf), 0 // range of the second byte, bytes after the first
	switch b := s[0]; {
	case b >= 0xc2 && b <= 0xdf:
		more = 1
	case b >= 0xe0 && b <= 0xef:
		more = 2
		switch b {
		case 0xe0: // overlong
			low = 0xa0
		case 0xed: // surrogates
			high = 0x9f
		}
	case b >= 0xf0 && b <= 0xf4:
		more = 3
		switch b {
		case 0xf0: // overlong
			low = 0x90
		case 0xf4: // beyond U+10FFFF
			high = 0x8f
		}
	}
	n := 1
	for ; n <= more && n < len(s) && s[n] >= low && s[n] <= high; n++ {
		low, high = 0x80, 0xbf
	}
	return n
}
