package builtin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// A seed's text never changes: the model was trained on it, and results name seeds.
func TestTextGolden(t *testing.T) {
	const want = "42f40e3d8707d2f2b4db860fb9e47a2f3437751f7b9d7ab7fc7610bb24561dc4"
	sum := sha256.Sum256(Text(1, 1<<20))
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("sha-256 of Text(1, 1<<20) is %s, want %s", got, want)
	}
}

func TestTextPrefix(t *testing.T) {
	long, most := TextEntropy(9, 50_000)
	var last float64
	for _, n := range []int{-1, 0, 1, 2, 100, 4096, 4097, 49_999} {
		text, nats := TextEntropy(9, n)
		if len(text) != max(n, 0) || !bytes.HasPrefix(long, text) {
			t.Fatalf("TextEntropy(9, %d) gives %d bytes, or not the start of the longer text", n, len(text))
		}
		if nats < last || nats > most {
			t.Errorf("TextEntropy(9, %d) is %v nats, but a shorter text took %v and a longer one %v", n, nats, last, most)
		}
		last = nats
	}
	if bytes.Equal(Text(1, 1000), Text(2, 1000)) {
		t.Error("two seeds give the same text")
	}
}

func TestTextForm(t *testing.T) {
	text := Text(3, 400_000)
	for i, b := range text {
		if b != '\n' && (b < ' ' || b > '~') {
			t.Fatalf("byte %d is %#x, not printable ASCII", i, b)
		}
	}
	docs := strings.Split(string(text), "\n\n")
	docs = docs[:len(docs)-1] // the last is cut
	starts := map[string]int{}
	for _, d := range docs {
		if d == "" || strings.Contains(d, "  ") && !strings.HasPrefix(d, "def ") {
			t.Fatalf("odd document: %q", d)
		}
		if open := unclosed(d); open != "" {
			t.Fatalf("brackets %q stay open or cross in: %s", open, d)
		}
		starts[strings.Fields(d)[0]]++
	}
	for _, s := range []string{"The", "On", "Record", "A", "Log", "def", "Sums.", "O", "1."} {
		if starts[s] == 0 {
			t.Errorf("none of %d documents starts with %q", len(docs), s)
		}
	}
	if types := len(wordTypes(text)); types < 800 || types > 4000 {
		t.Errorf("%d types of words, expected 800 to 4000", types)
	}
}

// unclosed gives the brackets that do not close in order.
func unclosed(s string) string {
	var open []byte
	for i := range len(s) {
		switch c := s[i]; c {
		case '(', '[', '{':
			open = append(open, c)
		case ')', ']', '}':
			if len(open) == 0 || open[len(open)-1] != map[byte]byte{')': '(', ']': '[', '}': '{'}[c] {
				return string(open) + string(c)
			}
			open = open[:len(open)-1]
		}
	}
	return string(open)
}

func wordTypes(text []byte) map[string]bool {
	types := map[string]bool{}
	for _, w := range bytes.FieldsFunc(text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) {
		types[strings.ToLower(string(w))] = true
	}
	return types
}

// What tales say of a person is the same wherever they say it.
func TestTalesRecall(t *testing.T) {
	g := newGenerator(5, 1)
	for range 200 {
		g.out = g.out[:0]
		g.begin()
		g.tale()
		s := string(g.out)
		for _, p := range g.cast {
			who, where := g.nameOf(p).text, g.lex.places[p.place].text
			if !strings.Contains(s, who+" "+map[bool]string{true: "was", false: "is"}[g.past]+" the "+p.trade+" of "+where) {
				t.Fatalf("no introduction of %s, %s of %s: %s", who, p.trade, where, s)
			}
			for _, rest := range strings.Split(s, who+", the ")[1:] {
				if !strings.HasPrefix(rest, p.trade+" of "+where) {
					t.Fatalf("%s is not always the %s of %s: %s", who, p.trade, where, s)
				}
			}
		}
	}
}

// The lexicon's words must differ, or the text would show less than was chosen.
func TestLexiconDistinct(t *testing.T) {
	l := words()
	seen := map[string]bool{}
	add := func(list ...string) {
		for _, w := range list {
			if seen[w] {
				t.Errorf("%q means two things", w)
			}
			seen[w] = true
		}
	}
	for _, n := range l.nouns {
		add(n.one, n.many)
	}
	for _, v := range l.verbs {
		add(v.base, v.third, v.past)
	}
	add(l.adjectives...)
	add(l.adverbs...)
	for _, n := range l.names {
		add(n.text)
	}
	for _, p := range l.places {
		add(p.text)
	}
}

func BenchmarkText(b *testing.B) {
	const n = 1 << 20
	b.SetBytes(n)
	for seed := range b.N {
		Text(uint64(seed), n)
	}
}
