package engine

import (
	"unicode"
	"unicode/utf8"
)

// nextCased gives the scanner of
//
//	[^\r\n\p{L}\p{N}]?[U]*[V]+|[^\r\n\p{L}\p{N}]?[U]+[V]*|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
//
// where U is \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M} and V is \p{Ll}\p{Lm}\p{Lo}\p{M}: words end where an
// upper-case letter follows a lower-case one. With suffix, (?i:'s|'t|'re|'ve|'m|'ll|'d)? follows
// the letters: digits 3 and suffix for GPT-4o, 1 and none for Mistral's tekken.
func nextCased(digits int, suffix bool) func(s string) int {
	return func(s string) int {
		c, size := classOf(s)
		leads := []int{0} // lengths of the optional character before the letters, in the order of trial
		if c != classLetter && c != classNumber && s[0] != '\r' && s[0] != '\n' {
			leads = []int{size, 0} // a mark may also be of the letters
		}
		for _, word := range []func(string) int{upperLower, upperOnly} {
			for _, lead := range leads {
				n := word(s[lead:])
				if n == 0 {
					continue
				}
				if n += lead; suffix && n < len(s) {
					n += contraction(s[n:], true)
				}
				return n
			}
		}
		if c == classNumber {
			return numbers(s, digits)
		}
		return others(s, "\r\n/")
	}
}

// upperLower is the length of [U]*[V]+ at the start of s, 0 where it does not match.
func upperLower(s string) int {
	upper, last := 0, 0 // lengths of [U]* and of it up to its last character that is of V too
	for upper < len(s) {
		r, n := utf8.DecodeRuneInString(s[upper:])
		u, v := cases(r)
		if !u {
			break
		}
		upper += n
		if v {
			last = upper
		}
	}
	end := upper
	for end < len(s) {
		r, n := utf8.DecodeRuneInString(s[end:])
		if _, v := cases(r); !v {
			break
		}
		end += n
	}
	if end > upper {
		return end
	}
	return last // [U]* gives the last back to [V]+
}

// upperOnly is the length of [U]+[V]* at the start of s where [U]*[V]+ does not match: no character
// of V follows.
func upperOnly(s string) int {
	return runOf(s, func(r rune) bool { u, _ := cases(r); return u }, true)
}

// cases reports whether a character is of \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M} and of
// \p{Ll}\p{Lm}\p{Lo}\p{M}.
func cases(r rune) (upper, lower bool) {
	if r < utf8.RuneSelf {
		return r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z'
	}
	switch {
	case unicode.In(r, unicode.Lu, unicode.Lt, upper16):
		return true, false
	case unicode.In(r, unicode.Ll, lower16):
		return false, true
	case isLetter(r), unicode.In(r, unicode.M, marks16):
		return true, true
	}
	return false, false
}
