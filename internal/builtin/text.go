package builtin

import "strconv"

// Text is n bytes of the text of a seed: the same bytes on every machine, and a prefix of every longer text of the seed.
// It is ASCII, made of short documents that a blank line parts; the last may be cut anywhere.
func Text(seed uint64, n int) []byte {
	text, _ := TextEntropy(seed, n)
	return text
}

// TextEntropy is Text and, in nats, -log of the probability of the random choices that made it: an upper bound of -log
// of the text's own probability under the grammar, and so, over many texts, of its entropy (see the package comment).
func TextEntropy(seed uint64, n int) (text []byte, nats float64) {
	if n <= 0 {
		return nil, 0
	}
	g := newGenerator(seed, n)
	for len(g.out) < n {
		g.document()
	}
	return g.out[:n], g.nats
}

// generator writes a text. Its state is what the sentences of a document share.
type generator struct {
	chooser
	lex   *lexicon
	out   []byte
	limit int

	glue, capital bool // the next word follows without a space; begins with a capital

	topic    int
	past     bool  // the document's tense
	recent   []int // nouns of the document so far, which tend to recur
	cast     []person
	lastRole int // who was spoken of last, for a pronoun; -1 for nobody
}

func newGenerator(seed uint64, n int) *generator {
	return &generator{chooser: *newChooser(seed), lex: words(), out: make([]byte, 0, n+4096), limit: n, glue: true, lastRole: -1}
}

// register is a kind of document.
type register struct {
	weight float64
	write  func(*generator)
}

// registers, and the share of the documents that each has.
var registers = []register{
	{30, (*generator).tale},
	{10, (*generator).essay},
	{13, (*generator).record},
	{10, (*generator).scene},
	{10, (*generator).journal},
	{9, (*generator).program},
	{7, (*generator).sums},
	{6, (*generator).verse},
	{5, (*generator).gazetteer},
}

var byRegister = func() *dist {
	var w []float64
	for _, r := range registers {
		w = append(w, r.weight)
	}
	return newDist(w)
}()

// document writes one document and the blank line after it.
func (g *generator) document() {
	g.begin()
	registers[g.from(byRegister)].write(g)
	g.line()
}

// begin chooses what the sentences of a document share, and forgets the document before.
func (g *generator) begin() {
	if !g.coin(0.5) {
		g.topic = g.uniform(topicCount)
	}
	g.past = g.coin(0.6)
	g.recent = g.recent[:0]
	g.cast, g.lastRole = g.cast[:0], -1
}

// word writes a word, after a space unless it follows a line's start or an opening mark.
func (g *generator) word(w string) {
	if !g.glue {
		g.out = append(g.out, ' ')
	}
	if g.capital {
		w = title(w)
	}
	g.glue, g.capital = false, false
	g.raw(w)
}

// words writes several words.
func (g *generator) words(list ...string) {
	for _, w := range list {
		g.word(w)
	}
}

// number writes a number as a word.
func (g *generator) number(n int) { g.word(strconv.Itoa(n)) }

// open writes an opening mark, which the next word joins.
func (g *generator) open(mark string) {
	capital := g.capital
	g.word(mark)
	g.glue, g.capital = true, capital
}

// mark writes what joins the word before: punctuation, a closing bracket.
func (g *generator) mark(m string) {
	g.raw(m)
	g.glue = false
}

// raw writes s as it is.
func (g *generator) raw(s string) {
	g.out = append(g.out, s...)
	g.shut = len(g.out) >= g.limit
}

// line ends a line.
func (g *generator) line() {
	g.raw("\n")
	g.glue = true
}
