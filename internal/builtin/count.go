package builtin

// Journals, sums and programs: numbers that follow from numbers before.

var (
	weekdays = []string{"Firsday", "Mornday", "Tillday", "Markday", "Ferday", "Songday", "Restday"}
	winds    = []string{"north", "east", "south", "west"}
	byTurn   = newDist([]float64{6, 2, 0.5, 2}) // the wind stays, veers, turns about, backs
	bySum    = newDist([]float64{4, 2, 3, 2, 2})
	goods    = []string{"casks", "sacks", "ropes", "coins"}
	byPlus   = newDist([]float64{3, 2, 1})
)

// journal is a ship's log: the days and the weekdays follow each other, the wind turns slowly, the stock dwindles.
func (g *generator) journal() {
	g.past = true
	day, weekday, wind := g.between(1, 60), g.uniform(len(weekdays)), g.uniform(len(winds))
	stock, what := g.between(55, 95), goods[g.uniform(len(goods))]
	g.words("Log", "of", "the")
	g.word(title(g.lex.nouns[g.noun(-1)].one))
	g.mark(".")
	g.line()
	for range g.between(3, 6) {
		g.word("Day")
		g.number(day)
		g.mark(",")
		g.word(weekdays[weekday])
		g.mark(".")
		g.words("Wind", winds[wind])
		g.mark(".")
		g.sentence()
		if g.coin(0.7) {
			used := g.between(2, 9)
			stock -= used
			g.words("We", "used")
			g.number(used)
			g.word(what)
			g.mark(",")
			g.number(stock)
			g.words("are", "left")
			g.mark(".")
		}
		g.line()
		day, weekday = day+1, (weekday+1)%len(weekdays)
		wind = (wind + g.from(byTurn)) % len(winds)
	}
}

// sums is a page of arithmetic and counting.
func (g *generator) sums() {
	g.word("Sums.")
	g.line()
	for range g.between(5, 9) {
		a, b := g.between(1, 12), g.between(1, 12)
		switch g.from(bySum) {
		case 0:
			g.equation(a, "+", b, a+b)
		case 1:
			g.equation(a+b, "-", b, a)
		case 2:
			g.words("Count", "by")
			g.number(b)
			g.mark(":")
			for i := range 6 {
				if i > 0 {
					g.mark(",")
				}
				g.number(a + i*b)
			}
		case 3:
			g.equation(a, "*", b, a*b)
		default:
			g.number(a)
			g.word([]string{"is less than", "is", "is more than"}[1+compare(a, b)])
			g.number(b)
		}
		g.mark(".")
		g.line()
	}
}

func (g *generator) equation(a int, op string, b, c int) {
	g.number(a)
	g.word(op)
	g.number(b)
	g.word("=")
	g.number(c)
}

// compare is -1, 0 or 1.
func compare(a, b int) int { return bit(a > b) - bit(a < b) }

// program is a function of nested calls, then assignments whose values are shown.
func (g *generator) program() {
	names := g.distinct(4, g.lex.topicVerbs[g.topic])
	v := func(i int) string { return g.lex.verbs[names[i]].base }
	g.words("def", v(0))
	g.raw("(" + v(1) + ", " + v(2) + "):")
	g.line()
	g.raw("    if " + v(1) + " > " + v(2) + ":")
	g.line()
	g.raw("        return ")
	g.glue = true
	g.expression(v, 3)
	g.line()
	g.raw("    return ")
	g.glue = true
	g.expression(v, 2)
	g.line()
	value := [2]int{g.between(1, 20), g.between(1, 20)}
	for i, x := range value {
		g.words(v(1+i), "=")
		g.number(x)
		g.line()
	}
	for range g.between(2, 4) {
		i := g.uniform(2)
		switch g.from(byPlus) {
		case 0:
			add := g.between(1, 9)
			g.words(v(1+i), "+=")
			g.number(add)
			value[i] += add
		case 1:
			g.words(v(1+i), "=", v(2-i))
			value[i] = value[1-i]
		default:
			g.words("swap", v(1), v(2))
			value[0], value[1] = value[1], value[0]
		}
		g.line()
		i = g.uniform(2)
		g.words("show", v(1+i), "->")
		g.number(value[i])
		g.line()
	}
}

// expression writes calls and brackets of the function v(3) over the arguments v(1) and v(2), nested up to depth.
func (g *generator) expression(v func(int) string, depth int) {
	if depth == 0 || g.coin(0.3) {
		g.word(v(1 + g.uniform(2)))
		return
	}
	switch g.uniform(3) {
	case 0:
		g.word(v(3))
		g.mark("(")
		g.glue = true
		g.expression(v, depth-1)
		g.mark(",")
		g.expression(v, depth-1)
		g.mark(")")
	case 1:
		g.open("[")
		g.expression(v, depth-1)
		g.word("+")
		g.expression(v, depth-1)
		g.mark("]")
	default:
		g.open("{")
		g.expression(v, depth-1)
		g.mark("}")
	}
}
