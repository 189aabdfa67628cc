package builtin

import (
	"math/rand/v2"
	"strings"
	"sync"
)

// Sizes of the vocabulary. Each word has one meaning, so the lexicon has about 1,100 types besides inflected forms.
const (
	nounCount      = 360
	verbCount      = 150
	adjectiveCount = 120
	adverbCount    = 36
	nameCount      = 96
	placeCount     = 48
	topicCount     = 12
	classCount     = 6
	strongVerbs    = 24 // the most frequent verbs have a past tense of their own

	lexiconSeed = 0x70617265746f // the lexicon is the same for every text
)

// noun is a common noun.
type noun struct {
	one, many string
	class     int   // what it is a kind of
	place     int   // where it is found, a fact of the invented world
	rhymes    *dist // over nouns: those that end alike
	likes     []int // its favourite adjectives, the dearest first
}

// verb takes an object, after a preposition of its own where it has one.
type verb struct {
	base, third, past string
	prep              string
	class             int // of the objects that it prefers
}

// name is a person.
type name struct {
	text string
	she  bool
}

// place is a town of the invented world.
type place struct {
	text          string
	region, river string
}

// lexicon is the vocabulary, the facts of the invented world and the distributions over both.
type lexicon struct {
	nouns      []noun
	verbs      []verb
	adjectives []string
	adverbs    []string
	names      []name
	places     []place
	classes    []string

	topicNouns      [topicCount]*dist
	topicVerbs      [topicCount]*dist
	topicAdjectives [topicCount]*dist
	topicNames      [topicCount]*dist
	objects         [topicCount][classCount]*dist // nouns of a topic, those of a class preferred
	byAdverb        *dist
	byPlace         *dist
	byFavourite     *dist
}

// favourites is the number of adjectives that a noun likes.
const favourites = 4

var (
	regions      = []string{"north", "south", "east", "west"}
	rivers       = []string{"Ouler", "Bramma", "Tavel", "Sindre", "Kest"}
	prepositions = []string{"", "", "", "", "at", "to", "with", "for", "from", "on"}
	classNames   = []string{"tool", "plant", "animal", "building", "vessel", "garment"}
)

// words is the lexicon, made once.
var words = sync.OnceValue(makeLexicon)

func makeLexicon() *lexicon {
	f := newForge()
	l := &lexicon{classes: classNames}
	for i := range adjectiveCount {
		l.adjectives = append(l.adjectives, f.word(1+min(i/40, 1), ""))
	}
	for range adverbCount {
		l.adverbs = append(l.adverbs, f.word(1, "ly"))
	}
	for i := range placeCount {
		suffix := []string{"ton", "wick", "mere", "dale", "port", "ham"}[i%6]
		l.places = append(l.places, place{title(f.word(1, suffix)), regions[f.rng.IntN(len(regions))], rivers[f.rng.IntN(len(rivers))]})
	}
	for i := range nameCount {
		suffix := []string{"a", "", "ia", "o", "enn", "us"}[i%6]
		l.names = append(l.names, name{title(f.word(1+i/64, suffix)), i%2 == 0})
	}
	for i := range nounCount {
		one := f.word(1+min(i/120, 1), "")
		n := noun{one: one, many: plural(one), class: f.rng.IntN(classCount), place: f.rng.IntN(placeCount)}
		for len(n.likes) < favourites {
			n.likes = append(n.likes, f.rng.IntN(adjectiveCount))
		}
		l.nouns = append(l.nouns, n)
	}
	for i := range verbCount {
		base := f.word(1+min(i/60, 1), "")
		v := verb{base: base, third: plural(base), past: regularPast(base), prep: prepositions[f.rng.IntN(len(prepositions))], class: f.rng.IntN(classCount)}
		if i < strongVerbs {
			v.past = f.word(1, "t")
		}
		l.verbs = append(l.verbs, v)
	}
	l.distributions()
	return l
}

// distributions sets Zipfian distributions, in which a topic's own words are the more frequent, and the rhymes.
func (l *lexicon) distributions() {
	topical := func(n, topic int, boost float64, prefer func(int) bool) *dist {
		w := zipf(n, 6)
		for i := range w {
			if (i*5+i/topicCount)%topicCount == topic {
				w[i] *= boost
			}
			if prefer != nil && prefer(i) {
				w[i] *= 12
			}
		}
		return newDist(w)
	}
	for t := range topicCount {
		l.topicNouns[t] = topical(nounCount, t, 40, nil)
		l.topicVerbs[t] = topical(verbCount, t, 30, nil)
		l.topicAdjectives[t] = topical(adjectiveCount, t, 15, nil)
		l.topicNames[t] = topical(nameCount, t, 30, nil)
		for c := range classCount {
			l.objects[t][c] = topical(nounCount, t, 40, func(i int) bool { return l.nouns[i].class == c })
		}
	}
	l.byAdverb = newDist(zipf(adverbCount, 2))
	l.byPlace = newDist(zipf(placeCount, 6))
	l.byFavourite = newDist(zipf(favourites, 1))

	for i := range l.nouns {
		w := make([]float64, nounCount)
		for j := range w {
			w[j] = 1e-4 / nounCount // keeps a noun without a rhyme drawable
			if j != i && rime(l.nouns[j].one) == rime(l.nouns[i].one) {
				w[j] = 1 / float64(j+6)
			}
		}
		l.nouns[i].rhymes = newDist(w)
	}
}

// likesP is the probability that noun n's favourite adjective is a.
func (l *lexicon) likesP(n, a int) float64 {
	var p float64
	for i, f := range l.nouns[n].likes {
		if f == a {
			p += l.byFavourite.p[i]
		}
	}
	return p
}

// forge makes words that sound like English and are all different.
type forge struct {
	rng   *rand.Rand
	taken map[string]bool
}

func newForge() *forge {
	f := &forge{rng: rand.New(rand.NewPCG(lexiconSeed, lexiconSeed)), taken: map[string]bool{}}
	for _, w := range strings.Fields(plainWords) {
		f.taken[w] = true
	}
	return f
}

var (
	onsets = strings.Fields("b bl br d dr fl fr g gl gr h l m p pl pr r s sc sl sm sp st sw t th tr v w")
	nuclei = strings.Fields("a e i o u a e i o u ai ea oa ar er or")
	codas  = strings.Fields("b d g l m n p t th ck ft ld lm nd nt mp sk st")
	links  = strings.Fields("b d g l m n p r t v nd st")
)

// plainWords are English words that a text uses as they are; no invented word may be one of them.
const plainWords = `a an and are as at be by day did do does first for from had has have he her him his if in is it its let me
new no not now of on or our she so sum ten than that the their them then they this to two up was we were who with you your
tool plant animal building vessel garment north south east west red map end add ask bad bed best bit bird boat book boot bull
bust cart cat corn dam damn dart dead deaf dirt dog fat fart fist fool food foot fur girl god gun hell hurt man moon nap nun
part pig pick pimp prick poor porn rap rat rest sad sin slut slit slag smart smell soot spit start sod spick sun tard tart test top turd tit twat wit wood dick dung`

// word is a new word of the given number of syllables and the suffix.
func (f *forge) word(syllables int, suffix string) string {
	pick := func(list []string) string { return list[f.rng.IntN(len(list))] }
	for {
		w := pick(onsets) + pick(nuclei)
		for range syllables - 1 {
			w += pick(links) + pick(nuclei)
		}
		if suffix != "ly" {
			coda := pick(codas)
			if len(coda) > 1 && strings.LastIndexAny(w, "aeiou") != len(w)-1 {
				coda = coda[:1] // "bead", not "beand"
			}
			w += coda
		}
		w += suffix
		if !f.taken[w] && !f.taken[plural(w)] {
			f.taken[w], f.taken[plural(w)], f.taken[regularPast(w)] = true, true, true
			return w
		}
	}
}

// plural is also the third person of a verb.
func plural(w string) string {
	if strings.HasSuffix(w, "s") || strings.HasSuffix(w, "sh") {
		return w + "es"
	}
	return w + "s"
}

func regularPast(w string) string { return w + "ed" }

// article is a or an.
func article(w string) string {
	if strings.IndexByte("aeiou", w[0]) >= 0 {
		return "an"
	}
	return "a"
}

func title(w string) string { return strings.ToUpper(w[:1]) + w[1:] }

// rime is what two words that rhyme have in common: the last vowels and what follows them.
func rime(w string) string {
	end := strings.LastIndexAny(w, "aeiou")
	for end > 0 && strings.IndexByte("aeiou", w[end-1]) >= 0 {
		end--
	}
	return w[end:]
}
