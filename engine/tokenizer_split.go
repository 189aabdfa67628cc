package engine

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// stages cut text into words one after the other, each within the pieces of the one before. The
// regular expressions of the files need look-ahead, which Go's have not; the known ones are
// written out as scanners.
type stages []stage

// stage is one step. It has a scanner or adds a space, or both: then the space comes first.
type stage struct {
	name  string // of the scanner, in scanners
	space bool   // a piece that does not start with a space gets one
	// next is the length of the word at the start of s, at least one character. s is not empty,
	// and no word reaches beyond it.
	next func(s string) int
}

func (st stages) cut(s string, word func(string)) {
	if len(s) == 0 {
		return
	}
	if len(st) == 0 {
		word(s)
		return
	}
	if st[0].space && s[0] != ' ' {
		s = " " + s
	}
	if st[0].next == nil {
		st[1:].cut(s, word)
		return
	}
	for len(s) > 0 {
		n := st[0].next(s)
		st[1:].cut(s[:n], word)
		s = s[n:]
	}
}

// Classes of characters that the expressions tell apart.
type class byte

const (
	classOther class = iota
	classLetter
	classNumber
	classSpace
)

// classOf is the class of the character at the start of s, and its length; s is not empty.
func classOf(s string) (class, int) {
	if b := s[0]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case isLetter(r):
		return classLetter, n
	case isNumber(r):
		return classNumber, n
	case unicode.IsSpace(r):
		return classSpace, n
	}
	return classOther, n
}

var asciiClass = func() (table [utf8.RuneSelf]class) {
	for r := range rune(utf8.RuneSelf) {
		switch {
		case unicode.IsLetter(r):
			table[r] = classLetter
		case unicode.IsNumber(r):
			table[r] = classNumber
		case unicode.IsSpace(r):
			table[r] = classSpace
		}
	}
	return table
}()

// run is the length of the characters of one class at the start of s.
func run(s string, want class) int {
	n := 0
	for n < len(s) {
		c, size := classOf(s[n:])
		if c != want {
			break
		}
		n += size
	}
	return n
}

// spaces is the length of \s+(?!\S)|\s+ at the start of s, which starts with white space: all
// of it at the end of s, else all but the last character, which goes with the next word.
func spaces(s string) int {
	n := run(s, classSpace)
	if n == len(s) {
		return n
	}
	_, last := utf8.DecodeLastRuneInString(s[:n])
	if n == last {
		return n
	}
	return n - last
}

// nextGPT2 scans
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func nextGPT2(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	skip := 0
	if s[0] == ' ' && len(s) > 1 {
		skip = 1
	}
	if c, _ := classOf(s[skip:]); c != classSpace {
		return skip + run(s[skip:], c)
	}
	return spaces(s)
}

// nextLlama3 gives the scanner of
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//
// with digits 3 for Llama 3 and 1 for Qwen 2.
func nextLlama3(digits int) func(s string) int {
	return func(s string) int {
		if n := contraction(s, true); n > 0 {
			return n
		}
		c, size := classOf(s)
		switch {
		case c == classLetter:
			return run(s, classLetter)
		case c == classNumber:
			return numbers(s, digits)
		case s[0] != '\r' && s[0] != '\n':
			if n := run(s[size:], classLetter); n > 0 {
				return size + n
			}
		}
		return others(s, "\r\n")
	}
}

// numbers is the length of \p{N}{1,digits} at the start of s.
func numbers(s string, digits int) int {
	n := 0
	for range digits {
		if n == len(s) {
			break
		}
		c, size := classOf(s[n:])
		if c != classNumber {
			break
		}
		n += size
	}
	return n
}

// others is the length of ` ?[^\s\p{L}\p{N}]+[tail]*|\s*[\r\n]+|\s+(?!\S)|\s+` at the start of s,
// which one of them matches.
func others(s, tail string) int {
	skip := 0
	if s[0] == ' ' {
		skip = 1
	}
	if n := run(s[skip:], classOther); n > 0 {
		n += skip
		for n < len(s) && strings.IndexByte(tail, s[n]) >= 0 {
			n++
		}
		return n
	}
	for n := run(s, classSpace) - 1; n >= 0; n-- { // \s*[\r\n]+ ends at the last line end
		if s[n] == '\r' || s[n] == '\n' {
			return n + 1
		}
	}
	return spaces(s)
}

// contraction is the length of 's|'t|'re|'ve|'m|'ll|'d at the start of s, 0 if there is none.
// Folding case, ſ (U+017F) is an s.
func contraction(s string, fold bool) int {
	if s[0] != '\'' || len(s) < 2 {
		return 0
	}
	lower := func(b byte) byte {
		if fold && b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		return b
	}
	switch lower(s[1]) {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(s) > 2 && lower(s[2]) == 'e' {
			return 3
		}
	case 'l':
		if len(s) > 2 && lower(s[2]) == 'l' {
			return 3
		}
	}
	if fold && len(s) > 2 && s[1:3] == "ſ" {
		return 3
	}
	return 0
}

// nextDigit makes every digit a word of its own.
func nextDigit(s string) int {
	r, n := utf8.DecodeRuneInString(s)
	if isDigit(r) {
		return n
	}
	return runOf(s, isDigit, false)
}

// nextDigits makes every run of digits a word of its own.
func nextDigits(s string) int { return alternate(s, isDigit) }

// isDigit is what the reference's pre-tokenizer Digits calls a digit: any number.
func isDigit(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= '0' && r <= '9'
	}
	return isNumber(r) || unicode.Is(numbers17, r)
}

// nextNumber scans \p{N}+ and what lies between.
func nextNumber(s string) int { return alternate(s, isNumber) }

// nextPunctuation scans [\p{P}\$\+<=>\^~\|]+ and what lies between.
func nextPunctuation(s string) int {
	return alternate(s, func(r rune) bool { return isPunct(r) || strings.ContainsRune("$+<=>^~|", r) })
}

// nextTriple scans [0-9][0-9][0-9] and what lies between.
func nextTriple(s string) int {
	digits := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			digits = 0
			continue
		}
		if digits++; digits == 3 {
			if i == 2 {
				return 3
			}
			return i - 2
		}
	}
	return len(s)
}

// alternate is the length of the characters at the start of s that are in a set, or of those that
// are not in it.
func alternate(s string, in func(rune) bool) int {
	r, _ := utf8.DecodeRuneInString(s)
	return runOf(s, in, in(r))
}

// runOf is the length of the characters at the start of s for which in gives want.
func runOf(s string, in func(rune) bool, want bool) int {
	for i, r := range s {
		if in(r) != want {
			return i
		}
	}
	return len(s)
}
