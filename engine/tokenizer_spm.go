package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// spmSpace stands for a space in the tokens of SentencePiece (U+2581).
const spmSpace = "▁"

// byteToken is how SentencePiece's kind of tokenizer writes the token of a byte.
func byteToken(b byte) string { return fmt.Sprintf("<0x%02X>", b) }

// normalizer changes a text step by step.
type normalizer []normalStep

// normalStep is one step of a normalizer: Unicode's form NFC, or else a replacement, or else text
// that is put before the text if that is not empty.
type normalStep struct {
	nfc      bool
	from, to string // from is empty: to is put before the text
}

func (n normalizer) apply(s string) string {
	for _, step := range n {
		switch {
		case s == "":
		case step.nfc:
			s = nfc(s)
		case step.from != "":
			s = strings.ReplaceAll(s, step.from, step.to)
		default:
			s = step.to + s
		}
	}
	return s
}

// isNFC reports whether all that the normalizer does is NFC.
func (n normalizer) isNFC() bool {
	for _, step := range n {
		if !step.nfc {
			return false
		}
	}
	return len(n) > 0
}

// spmNormalizer is what SentencePiece does to a text, as llama.cpp and the older files of Hugging
// Face have it: a space is put before each piece of text, whatever it starts with.
func spmNormalizer(prefix bool) normalizer {
	if prefix {
		return normalizer{{to: spmSpace}, {from: " ", to: spmSpace}}
	}
	return normalizer{{from: " ", to: spmSpace}}
}

// metaspace is the pre-tokenizer that writes spaces as another character and puts one before a
// text that does not start with it.
type metaspace struct {
	space string
	// Which pieces of text between added tokens get one: the one with which the text starts, or
	// each.
	first, always bool
}

func (m *metaspace) apply(s string, first bool) string {
	s = strings.ReplaceAll(s, " ", m.space)
	if (m.always || m.first && first) && s != "" && !strings.HasPrefix(s, m.space) {
		s = m.space + s
	}
	return s
}

// nextMeta gives the scanner of words that each start with a space of Metaspace.
func nextMeta(space string) func(s string) int {
	return func(s string) int {
		_, n := utf8.DecodeRuneInString(s)
		if at := strings.Index(s[n:], space); at >= 0 {
			return n + at
		}
		return len(s)
	}
}

// maxPiece bounds the tokens that scoreMerges takes apart, in bytes: what it does grows with the
// square of their length.
const maxPiece = 1024

// scoreMerges lists the pairs of tokens that SentencePiece may merge, with their ranks: it takes
// the pair whose result has the highest score, and of equal ones the leftmost. Pairs that make one
// token have one rank and stand together, the longest left one first.
func (v *Vocabulary) scoreMerges() (pairs [][2]string, ranks []int32, err error) {
	ids := make(map[string]int32, len(v.Tokens))
	order := make([]int32, 0, len(v.Tokens))
	for id, t := range v.Tokens {
		if !t.Type.merges() {
			continue
		}
		if t.Score != t.Score {
			return nil, nil, malformed("the score of token %d is NaN", id)
		}
		if len(t.Text) > maxPiece {
			return nil, nil, unsupported("token %d has %d bytes, more than %d", id, len(t.Text), maxPiece)
		}
		ids[t.Text] = int32(id)
		order = append(order, int32(id))
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(v.Tokens[b].Score, v.Tokens[a].Score) })
	rank := int32(0)
	for i, id := range order {
		t := v.Tokens[id]
		if i > 0 && v.Tokens[order[i-1]].Score != t.Score {
			rank++
		}
		if ids[t.Text] != id {
			continue // there twice: the later counts
		}
		for cut := len(t.Text) - 1; cut > 0; cut-- {
			if !utf8.RuneStart(t.Text[cut]) {
				continue
			}
			left, right := t.Text[:cut], t.Text[cut:]
			_, okLeft := ids[left]
			_, okRight := ids[right]
			if okLeft && okRight {
				pairs, ranks = append(pairs, [2]string{left, right}), append(ranks, rank)
			}
		}
	}
	return pairs, ranks, nil
}
