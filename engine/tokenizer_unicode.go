package engine

import "unicode"

// The reference tokenizer reads characters by three versions of Unicode, none of them Go's
// (15): its regular expressions by 16, its digits by 17, its normalization by 9. These tables are
// the difference (TestTokens, with what bench/peers/golden_tokens.py --codepoints makes, compares
// every character).

// letters16 are the letters of Unicode 16 that are not in 15.
var letters16 = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1c89, 0x1c8a, 1}, {0xa7cb, 0xa7cd, 1}, {0xa7da, 0xa7dc, 1},
	},
	R32: []unicode.Range32{
		{0x105c0, 0x105f3, 1}, {0x10d4a, 0x10d65, 1}, {0x10d6f, 0x10d85, 1}, {0x10ec2, 0x10ec4, 1}, {0x11380, 0x11389, 1},
		{0x1138b, 0x1138b, 1}, {0x1138e, 0x1138e, 1}, {0x11390, 0x113b5, 1}, {0x113b7, 0x113b7, 1}, {0x113d1, 0x113d1, 1},
		{0x113d3, 0x113d3, 1}, {0x11bc0, 0x11be0, 1}, {0x13460, 0x143fa, 1}, {0x16100, 0x1611d, 1}, {0x16d40, 0x16d6c, 1},
		{0x18cff, 0x18cff, 1}, {0x1e5d0, 0x1e5ed, 1}, {0x1e5f0, 0x1e5f0, 1}, {0x2ebf0, 0x2ee5d, 1},
	},
}

// Of letters16, upper16 are upper and title case, lower16 lower case; the others have no case.
var (
	upper16 = &unicode.RangeTable{
		R16: []unicode.Range16{{0x1c89, 0x1c89, 1}, {0xa7cb, 0xa7cc, 1}, {0xa7da, 0xa7da, 1}, {0xa7dc, 0xa7dc, 1}},
		R32: []unicode.Range32{{0x10d50, 0x10d65, 1}},
	}
	lower16 = &unicode.RangeTable{
		R16: []unicode.Range16{{0x1c8a, 0x1c8a, 1}, {0xa7cd, 0xa7cd, 1}, {0xa7db, 0xa7db, 1}},
		R32: []unicode.Range32{{0x10d70, 0x10d85, 1}},
	}
)

// marks16 are the marks of Unicode 16 that are not in 15.
var marks16 = &unicode.RangeTable{
	R16: []unicode.Range16{{0x0897, 0x0897, 1}},
	R32: []unicode.Range32{
		{0x10d69, 0x10d6d, 1}, {0x10efc, 0x10efc, 1}, {0x113b8, 0x113c0, 1}, {0x113c2, 0x113c2, 1}, {0x113c5, 0x113c5, 1},
		{0x113c7, 0x113ca, 1}, {0x113cc, 0x113d0, 1}, {0x113d2, 0x113d2, 1}, {0x113e1, 0x113e2, 1}, {0x11f5a, 0x11f5a, 1},
		{0x1611e, 0x1612f, 1}, {0x1e5ee, 0x1e5ef, 1},
	},
}

// numbers16 are the numbers of Unicode 16 that are not in 15.
var numbers16 = &unicode.RangeTable{
	R32: []unicode.Range32{
		{0x10d40, 0x10d49, 1}, {0x116d0, 0x116e3, 1}, {0x11bf0, 0x11bf9, 1}, {0x16130, 0x16139, 1}, {0x16d70, 0x16d79, 1},
		{0x1ccf0, 0x1ccf9, 1}, {0x1e5f1, 0x1e5fa, 1},
	},
}

// numbers17 are the numbers of Unicode 17 that are not in 16.
var numbers17 = &unicode.RangeTable{
	R32: []unicode.Range32{
		{0x11de0, 0x11de9, 1}, {0x16ff4, 0x16ff6, 1},
	},
}

// punctuation16 is the punctuation of Unicode 16 that is not in 15.
var punctuation16 = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1b4e, 0x1b4f, 1}, {0x1b7f, 0x1b7f, 1},
	},
	R32: []unicode.Range32{
		{0x10d6e, 0x10d6e, 1}, {0x113d4, 0x113d5, 1}, {0x113d7, 0x113d8, 1}, {0x11be1, 0x11be1, 1}, {0x16d6d, 0x16d6f, 1},
		{0x1e5ff, 0x1e5ff, 1},
	},
}

// inert9 are the characters after Unicode 9 that combine or that normalization reorders. To
// the reference they are letters that stand for themselves.
var inert9 = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x07fd, 0x07fd, 1}, {0x0898, 0x089f, 1}, {0x08ca, 0x08d3, 1}, {0x09fe, 0x09fe, 1}, {0x0c3c, 0x0c3c, 1},
		{0x0d3b, 0x0d3c, 1}, {0x0eba, 0x0eba, 1}, {0x1715, 0x1715, 1}, {0x1abf, 0x1ace, 1}, {0x1df6, 0x1dfa, 1},
		{0xa82c, 0xa82c, 1},
	},
	R32: []unicode.Range32{
		{0x10d24, 0x10d27, 1}, {0x10eab, 0x10eac, 1}, {0x10efd, 0x10eff, 1}, {0x10f46, 0x10f50, 1}, {0x10f82, 0x10f85, 1},
		{0x11070, 0x11070, 1}, {0x1133b, 0x1133b, 1}, {0x1145e, 0x1145e, 1}, {0x11839, 0x1183a, 1}, {0x11930, 0x11930, 1},
		{0x1193d, 0x1193e, 1}, {0x11943, 0x11943, 1}, {0x119e0, 0x119e0, 1}, {0x11a34, 0x11a34, 1}, {0x11a47, 0x11a47, 1},
		{0x11a99, 0x11a99, 1}, {0x11d42, 0x11d42, 1}, {0x11d44, 0x11d45, 1}, {0x11d97, 0x11d97, 1}, {0x11f41, 0x11f42, 1},
		{0x16ff0, 0x16ff1, 1}, {0x1e08f, 0x1e08f, 1}, {0x1e130, 0x1e136, 1}, {0x1e2ae, 0x1e2ae, 1}, {0x1e2ec, 0x1e2ef, 1},
		{0x1e4ec, 0x1e4ef, 1},
	},
}

func isLetter(r rune) bool { return unicode.IsLetter(r) || unicode.Is(letters16, r) }

func isNumber(r rune) bool { return unicode.IsNumber(r) || unicode.Is(numbers16, r) }

func isPunct(r rune) bool { return unicode.IsPunct(r) || unicode.Is(punctuation16, r) }
