package builtin

// Prose: noun phrases, clauses and sentences. Verbs agree with the head of their subject, however much stands between;
// brackets and quotations close; what was mentioned tends to come again.

const (
	recurs     = 0.3 // share of nouns that a document has had before
	collocates = 0.7 // share of adjectives that are their noun's favourites
)

// number of a noun phrase.
type number bool

const (
	one  number = false
	many number = true
)

// noun picks a noun of the topic, or of the class given, or one that the document has had.
func (g *generator) noun(class int) int {
	fresh := g.lex.topicNouns[g.topic]
	if class >= 0 {
		fresh = g.lex.objects[g.topic][class]
	}
	var n int
	if len(g.recent) == 0 {
		n = g.from(fresh)
	} else {
		n = g.mixture(recurs,
			func() int { return g.recent[g.rng.IntN(len(g.recent))] },
			func(v int) float64 {
				var k int
				for _, r := range g.recent {
					if r == v {
						k++
					}
				}
				return float64(k) / float64(len(g.recent))
			}, fresh)
	}
	if g.recent = append(g.recent, n); len(g.recent) > 12 {
		g.recent = g.recent[1:]
	}
	return n
}

// adjectiveFor writes an adjective before noun n, likely one that the noun likes.
func (g *generator) adjectiveFor(n int) {
	likes := g.lex.nouns[n].likes
	a := g.mixture(collocates,
		func() int { return likes[g.draw(g.lex.byFavourite)] },
		func(v int) float64 { return g.lex.likesP(n, v) },
		g.lex.topicAdjectives[g.topic])
	g.word(g.lex.adjectives[a])
}

// form is noun n's form in a number.
func (g *generator) form(n int, num number) string {
	if num == many {
		return g.lex.nouns[n].many
	}
	return g.lex.nouns[n].one
}

// nounPhrase writes a noun phrase of a class (-1: any) and gives its number. Up to depth phrases nest in it.
func (g *generator) nounPhrase(class, depth int) number {
	num := number(g.coin(0.35))
	// The noun is chosen before its adjective is, so that the adjective can suit it.
	n := g.noun(class)
	switch {
	case num == many && g.coin(0.3):
		g.word(smallNumbers[g.from(bySmall)])
	case num == one && g.coin(0.3):
		g.word("a")
	default:
		g.word("the")
	}
	if g.coin(0.35) {
		g.adjectiveFor(n)
	}
	g.word(g.form(n, num))
	if depth > 0 {
		switch g.from(byModifier) {
		case 1:
			g.word("of")
			g.nounPhrase(-1, depth-1)
		case 2:
			g.word("that")
			g.predicate(num, depth-1)
		case 3:
			g.word("that")
			g.verbOf(g.nounPhrase(-1, 0))
		case 4:
			g.open("(")
			g.word("which")
			g.be(num)
			g.adjectiveFor(n)
			g.mark(")")
		}
	}
	return num
}

var (
	byModifier   = newDist([]float64{70, 12, 7, 6, 5})
	smallNumbers = []string{"two", "three", "four", "five", "six", "ten"}
	bySmall      = newDist(zipf(6, 1))
	bySentence   = newDist([]float64{46, 12, 10, 10, 8, 8, 6})
	byObject     = newDist([]float64{55, 25, 20})
)

// be writes the verb to be.
func (g *generator) be(num number) {
	g.word([]string{"is", "are", "was", "were"}[bit(g.past)<<1|bit(bool(num))])
}

// verbOf writes a verb that agrees with a number, with its preposition, and gives the class that it prefers.
func (g *generator) verbOf(num number) (class int) {
	v := &g.lex.verbs[g.from(g.lex.topicVerbs[g.topic])]
	switch {
	case g.coin(0.08):
		if g.past {
			g.word("did")
		} else {
			g.word([]string{"does", "do"}[bit(bool(num))])
		}
		g.words("not", v.base)
	case g.past:
		g.word(v.past)
	case num == many:
		g.word(v.base)
	default:
		g.word(v.third)
	}
	if v.prep != "" {
		g.word(v.prep)
	}
	return v.class
}

// predicate writes a verb and its object.
func (g *generator) predicate(num number, depth int) {
	g.nounPhrase(g.verbOf(num), depth)
	switch g.from(byObject) {
	case 1:
		g.word(g.lex.adverbs[g.from(g.lex.byAdverb)])
	case 2:
		g.words("in", g.lex.places[g.from(g.lex.byPlace)].text)
	}
}

// clause writes a subject and a predicate.
func (g *generator) clause(depth int) { g.predicate(g.subject(depth), depth) }

// subject writes a person of the cast or a noun phrase, and gives the number.
func (g *generator) subject(depth int) number {
	if len(g.cast) > 0 && g.coin(0.65) {
		g.mention()
		return one
	}
	return g.nounPhrase(-1, depth)
}

// sentence writes one sentence of prose.
func (g *generator) sentence() {
	g.capital = true
	switch g.from(bySentence) {
	case 0:
		g.clause(1)
	case 1:
		g.word([]string{"when", "if"}[g.uniform(2)])
		g.clause(0)
		g.mark(",")
		g.clause(1)
	case 2:
		g.clause(0)
		g.word([]string{"and", "but"}[g.uniform(2)])
		g.clause(0)
	case 3:
		num := g.subject(1)
		g.be(num)
		g.word(g.lex.adjectives[g.from(g.lex.topicAdjectives[g.topic])])
	case 4:
		g.subject(0)
		g.word("said")
		g.mark(",")
		g.quotation()
		return
	case 5:
		g.clause(0)
		g.open("[")
		g.clause(0)
		if g.coin(0.3) {
			g.open("(")
			g.clause(0)
			g.mark(")")
		}
		g.mark("]")
	default:
		g.word("now")
		num := g.nounPhrase(-1, 1)
		g.mark(",")
		g.words("which")
		g.verbOf(num)
		g.nounPhrase(-1, 0)
		g.mark(",")
		g.be(num)
		g.words("in", g.lex.places[g.from(g.lex.byPlace)].text)
	}
	g.mark(".")
}

// quotation writes a quoted sentence, in the present tense.
func (g *generator) quotation() {
	past := g.past
	g.past = false
	g.open(`"`)
	g.capital = true
	g.clause(0)
	g.mark(`."`)
	g.past = past
}

// paragraph writes lo … hi sentences and ends the line.
func (g *generator) paragraph(lo, hi int) {
	for range g.between(lo, hi) {
		g.sentence()
	}
	g.line()
}

// essay is prose on a theme, which its title names.
func (g *generator) essay() {
	theme := g.noun(-1)
	g.word("On")
	g.words("the", g.form(theme, one))
	g.mark(".")
	g.line()
	for range g.between(1, 3) {
		g.words("The", g.form(theme, one))
		g.be(one)
		class := g.lex.classes[g.lex.nouns[theme].class]
		g.words(article(class), class)
		g.mark(".")
		g.recent = append(g.recent, theme, theme)
		g.paragraph(3, 6)
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
