package engine

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// nfc brings s to normalization form C as the reference does: by Unicode 9.
func nfc(s string) string {
	if norm.NFC.IsNormalString(s) {
		return s
	}
	inert := func(r rune) bool { return r >= utf8.RuneSelf && unicode.Is(inert9, r) }
	var out strings.Builder
	for {
		i := strings.IndexFunc(s, inert)
		if i < 0 {
			out.WriteString(nfcPart(s))
			return out.String()
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		out.WriteString(nfcPart(s[:i]))
		out.WriteString(s[i : i+n])
		s = s[i+n:]
	}
}

// nfcPart brings s to normalization form C. Package norm does it, except that it follows UAX 15's
// Stream-Safe Text Format, which breaks up more than 30 marks in a row by a character of its own;
// the reference does not, so text with that many marks is dealt with here.
func nfcPart(s string) string {
	if !manyMarks(s) {
		return norm.NFC.String(s)
	}
	return string(compose(decompose(s)))
}

// manyMarks reports whether norm may break up a run of marks of s. One character decomposes into
// at most three marks, or a letter and three.
func manyMarks(s string) bool {
	for count := 0; len(s) > 0; {
		if s[0] < utf8.RuneSelf {
			count, s = 0, s[1:]
			continue
		}
		p := norm.NFD.PropertiesString(s)
		count++
		if p.LeadCCC() == 0 {
			count = 0
		}
		if count > 8 {
			return true
		}
		s = s[p.Size():]
	}
	return false
}

// mark is a decomposed character and its canonical combining class.
type mark struct {
	r   rune
	ccc uint8
}

// decompose is the canonical decomposition of s, marks in canonical order (Unicode 3.11, D68, D109).
func decompose(s string) []mark {
	var out []mark
	for _, r := range s {
		for _, d := range norm.NFD.String(string(r)) {
			out = append(out, mark{d, norm.NFD.PropertiesString(string(d)).CCC()})
		}
	}
	for from := 0; from < len(out); from++ {
		to := from
		for to < len(out) && out[to].ccc > 0 {
			to++
		}
		slices.SortStableFunc(out[from:to], func(a, b mark) int { return cmp.Compare(a.ccc, b.ccc) })
		from = to
	}
	return out
}

// compose is the canonical composition of a decomposed text (Unicode 3.11, D117). Two characters
// compose where norm makes one of them.
func compose(in []mark) []rune {
	var out []rune
	starter := -1      // index in out of the last character of class 0
	last := uint8(255) // class of the character before, 0: none since the starter
	for _, c := range in {
		if starter >= 0 && (last == 0 || last < c.ccc) {
			if one := []rune(norm.NFC.String(string(out[starter]) + string(c.r))); len(one) == 1 {
				out[starter] = one[0]
				continue
			}
		}
		if last = c.ccc; c.ccc == 0 {
			starter = len(out)
		}
		out = append(out, c.r)
	}
	return out
}
