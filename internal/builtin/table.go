package builtin

import "strconv"

// Records, verse and gazetteers: values that come again, lines that come again, facts of the invented world.

// record is a block of "key: value" lines, then questions that recall them.
func (g *generator) record() {
	keys := g.distinct(g.between(4, 6), byKey)
	where := g.from(g.lex.byPlace)
	g.words("Record", "of", g.lex.places[where].text)
	g.line()
	values := make([]string, len(keys))
	for i, k := range keys {
		values[i] = recordKeys[k].value(g)
		g.word(recordKeys[k].text)
		g.mark(":")
		g.word(values[i])
		g.line()
	}
	for range g.between(3, 5) {
		i := g.uniform(len(keys))
		if g.coin(0.5) {
			g.words("The", recordKeys[keys[i]].text, "of", g.lex.places[where].text, "is", values[i])
		} else {
			g.words("What", "is", "the", recordKeys[keys[i]].text)
			g.mark("?")
			g.capital = true
			g.word(values[i])
		}
		g.mark(".")
		if g.coin(0.4) {
			g.sentence()
		}
		g.line()
	}
}

// recordKeys are the keys of records, with what kind of value each takes.
var recordKeys = []struct {
	text  string
	value func(*generator) string
}{
	{"keeper", (*generator).nameValue},
	{"owner", (*generator).nameValue},
	{"guest", (*generator).nameValue},
	{"stock", (*generator).nounValue},
	{"sign", (*generator).nounValue},
	{"gift", (*generator).nounValue},
	{"code", (*generator).codeValue},
	{"price", (*generator).numberValue},
	{"age", (*generator).numberValue},
	{"mood", (*generator).adjectiveValue},
}

var byKey = newDist(zipf(len(recordKeys), 4))

func (g *generator) nameValue() string {
	return g.lex.names[g.from(g.lex.topicNames[g.topic])].text
}
func (g *generator) nounValue() string   { return g.lex.nouns[g.noun(-1)].one }
func (g *generator) numberValue() string { return strconv.Itoa(g.between(2, 99)) }
func (g *generator) adjectiveValue() string {
	return g.lex.adjectives[g.from(g.lex.topicAdjectives[g.topic])]
}

// codeValue is two letters and two digits, to be copied letter by letter.
func (g *generator) codeValue() string {
	b := []byte{'A' + byte(g.uniform(26)), 'A' + byte(g.uniform(26)), '0' + byte(g.uniform(10)), '0' + byte(g.uniform(10))}
	return string(b)
}

// verse is stanzas of two couplets' length: rhymed lines and a refrain, the same in every stanza.
func (g *generator) verse() {
	start := len(g.out)
	g.words("O", g.form(g.noun(-1), one))
	g.mark(",")
	g.word("my")
	n := g.noun(-1)
	g.adjectiveFor(n)
	g.word(g.form(n, one))
	g.mark("!")
	refrain := string(g.out[start:])
	g.line()
	for range g.between(2, 3) {
		n := g.noun(-1)
		for turn := range 2 {
			if turn == 1 {
				n = g.from(g.lex.nouns[n].rhymes)
			}
			g.capital = true
			g.verbOf(g.nounPhrase(-1, 0))
			g.words("the", g.form(n, one))
			g.mark([]string{",", "."}[turn])
			g.line()
		}
		g.raw(refrain)
		g.line()
	}
}

// gazetteer lists things in order, says what the invented world knows of each, and lists them backwards.
func (g *generator) gazetteer() {
	things := g.distinct(g.between(3, 5), g.lex.topicNouns[g.topic])
	for i, n := range things {
		g.number(i + 1)
		g.mark(".")
		it := &g.lex.nouns[n]
		at := &g.lex.places[it.place]
		g.words(it.one)
		g.mark(":")
		g.words(article(g.lex.classes[it.class]), g.lex.classes[it.class], "of", at.text, "in", "the", at.region, "on", "the", at.river)
		g.mark(".")
		g.line()
	}
	for _, backwards := range []bool{false, true} {
		g.word([]string{"In order:", "Backwards:"}[bit(backwards)])
		for i := range things {
			if i > 0 {
				g.mark(",")
			}
			at := i
			if backwards {
				at = len(things) - 1 - i
			}
			g.word(g.form(things[at], one))
		}
		g.mark(".")
		g.line()
	}
}
