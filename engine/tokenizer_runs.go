package engine

import (
	"unicode"
	"unicode/utf8"
)

// nextLineEnd makes every \r and every \n a word of its own.
func nextLineEnd(s string) int {
	for i := range len(s) {
		if s[i] == '\r' || s[i] == '\n' {
			return max(i, 1)
		}
	}
	return len(s)
}

// nextTrail scans \s+ at the end of s, and what comes before.
func nextTrail(s string) int {
	n := len(s)
	for n > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:n])
		if !unicode.IsSpace(r) {
			break
		}
		n -= size
	}
	if n == 0 {
		return len(s)
	}
	return n
}

// nextCJK scans the ideographs, and other letters between U+0800 and U+9FA5, and Hangul.
func nextCJK(s string) int {
	return alternate(s, func(r rune) bool { return r >= 0x800 && r <= 0x9fa5 || r >= 0xac00 && r <= 0xd7ff })
}

// nextSpaced gives the scanner of \s?[set]+ and of what lies between.
func nextSpaced(set func(rune) bool) func(s string) int {
	return func(s string) int {
		if n := spaced(s, set); n > 0 {
			return n
		}
		_, n := utf8.DecodeRuneInString(s)
		for n < len(s) && spaced(s[n:], set) == 0 {
			_, size := utf8.DecodeRuneInString(s[n:])
			n += size
		}
		return n
	}
}

// spaced is the length of \s?[set]+ at the start of s, 0 where it does not match. No white space is
// in the set but U+3000, which may be of either.
func spaced(s string, set func(rune) bool) int {
	r, size := utf8.DecodeRuneInString(s)
	if unicode.IsSpace(r) {
		if n := runOf(s[size:], set, true); n > 0 {
			return size + n
		}
	}
	return runOf(s, set, true)
}
