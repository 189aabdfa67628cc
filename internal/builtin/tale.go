package builtin

// Tales: people with fixed attributes, given once and recalled for as long as the tale goes.

// person is one of a tale's cast.
type person struct {
	name  int
	place int
	trade string
	thing int // the noun of what they carry
}

var (
	trades    = []string{"smith", "weaver", "keeper", "pilot", "scribe", "healer", "tanner", "mason"}
	byTrade   = newDist(zipf(len(trades), 2))
	byMention = newDist([]float64{50, 22, 12, 16})
)

// castOf chooses n people, none twice.
func (g *generator) castOf(n int) {
	for _, who := range g.distinct(n, g.lex.topicNames[g.topic]) {
		g.cast = append(g.cast, person{name: who, place: g.from(g.lex.byPlace), trade: trades[g.from(byTrade)], thing: g.noun(-1)})
	}
}

func (g *generator) nameOf(p person) *name { return &g.lex.names[p.name] }

// pronoun is she or he, her or his.
func (g *generator) pronoun(p person, possessive bool) string {
	return []string{"he", "his", "she", "her"}[bit(g.nameOf(p).she)<<1|bit(possessive)]
}

// mention writes a person of the cast as a subject: the name, the pronoun where it can only be the last named, the name
// with the trade and the place, or what they carry; the facts are those of the introduction.
func (g *generator) mention() {
	kind := g.from(byMention)
	if kind == 1 && g.lastRole >= 0 {
		g.word(g.pronoun(g.cast[g.lastRole], false))
		return
	}
	g.lastRole = g.uniform(len(g.cast))
	p := g.cast[g.lastRole]
	g.word(g.nameOf(p).text)
	switch kind {
	case 2:
		g.mark(",")
		g.words("the", p.trade, "of", g.lex.places[p.place].text)
		g.mark(",")
	case 3:
		g.words("with", g.pronoun(p, true), g.form(p.thing, one))
	}
}

// list writes the names of the cast: A, B and C.
func (g *generator) list() {
	for i, p := range g.cast {
		switch {
		case i > 0 && i == len(g.cast)-1:
			g.word("and")
		case i > 0:
			g.mark(",")
		}
		g.word(g.nameOf(p).text)
	}
}

// tale is a title, an introduction of each person, some paragraphs and an end that gives the title again.
func (g *generator) tale() {
	g.castOf(g.between(2, 3))
	g.words("The", "tale", "of")
	g.list()
	g.mark(".")
	g.line()
	for _, p := range g.cast {
		g.word(g.nameOf(p).text)
		g.be(one)
		g.words("the", p.trade, "of", g.lex.places[p.place].text)
		g.mark(",")
		g.words("and", g.pronoun(p, true), g.form(p.thing, one))
		g.be(one)
		g.adjectiveFor(p.thing)
		g.mark(".")
	}
	g.line()
	for range g.between(2, 4) {
		g.paragraph(3, 6)
	}
	g.words("So", "ends", "the", "tale", "of")
	g.list()
	g.mark(".")
	g.line()
}

// scene is a talk of two people who take turns; where each thing is was said at the start and is asked for later.
func (g *generator) scene() {
	g.castOf(2)
	g.past = false
	things := g.distinct(g.between(3, 4), g.lex.topicNouns[g.topic])
	places := make([]int, len(things))
	g.words("A", "scene", "of")
	g.list()
	g.mark(".")
	g.line()
	for i, n := range things {
		places[i] = g.from(g.lex.byPlace)
		g.words("The", g.form(n, one), "is", "in", g.lex.places[places[i]].text)
		g.mark(".")
	}
	g.line()
	first := g.uniform(2)
	for turn := range 2 * g.between(2, 4) {
		g.word(g.nameOf(g.cast[(first+turn)%2]).text)
		g.mark(":")
		switch asked := g.uniform(len(things)); {
		case turn%2 == 1:
			g.capital = true
			g.clause(0)
			g.mark(".")
		case g.coin(0.5):
			g.words("Where", "is", "the", g.form(things[asked], one))
			g.mark("?")
			g.words("It", "is", "in", g.lex.places[places[asked]].text)
			g.mark(".")
		default:
			g.words("Who", "is", "in", g.lex.places[places[asked]].text)
			g.mark("?")
			g.words("The", g.form(things[asked], one))
			g.mark(".")
		}
		g.line()
	}
}
