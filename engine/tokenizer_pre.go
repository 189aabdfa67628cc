package engine

import (
	"regexp/syntax"
	"slices"
)

// The regular expressions of Split that have a scanner.
const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternTekken = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternGPT4o  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	// The four steps of llama.cpp's default pre-tokenizer. The second leaves out only a white
	// space that nothing else matches, which is then a word as well.
	patternPunctuation = `[\p{P}\$\+<=>\^~\|]+`
	patternGPT2Short   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`
	patternNumber      = `\p{N}+`
	patternTriple      = `[0-9][0-9][0-9]`

	// The steps of the pre-tokenizers of DeepSeek's first models: ends of lines, letters of
	// bicameral scripts, punctuation, white space at the end, CJK; of its coders: any letters, any
	// punctuation.
	patternLineEnd = "[\r\n]"
	patternCased   = `\s?[` + casedClass + `]+`
	patternMarks   = "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
	patternTrail   = `\s+$`
	patternCJK     = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
	patternLetters = `\s?\p{L}+`
	patternPunct   = `\s?\p{P}+`

	casedClass = "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d" +
		"\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba" +
		"\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d" +
		"\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113" +
		"\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee" +
		"\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a" +
		"\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)

// Names of the pre-tokenizer Digits in stage.name: each digit a word, each run of them a word.
const (
	digitsSingle = "Digits, individual"
	digitsRuns   = "Digits"
)

// scanner makes words of the expression, or of the pre-tokenizer Digits, that it is listed under.
type scanner struct {
	next func(string) int
	// It matches every character, so that what Split does with the rest does not matter.
	whole bool
}

var scanners = map[string]scanner{
	patternGPT2:        {nextGPT2, true},
	patternLlama3:      {nextLlama3(3), true},
	patternQwen2:       {nextLlama3(1), true},
	patternTekken:      {nextCased(1, false), true},
	patternGPT4o:       {nextCased(3, true), true},
	patternPunctuation: {nextPunctuation, false},
	patternGPT2Short:   {nextGPT2, false},
	patternNumber:      {nextNumber, false},
	patternTriple:      {nextTriple, false},
	patternLineEnd:     {nextLineEnd, false},
	patternCased:       {nextSpaced(classSet(casedClass)), false},
	patternMarks:       {nextSpaced(classSet(patternMarks[len(`\s?[`) : len(patternMarks)-len(`]+`)])), false},
	patternTrail:       {nextTrail, false},
	patternCJK:         {nextCJK, false},
	patternLetters:     {nextSpaced(isLetter), false},
	patternPunct:       {nextSpaced(isPunct), false},
	digitsSingle:       {nextDigit, true},
	digitsRuns:         {nextDigits, true},
}

// classSet is the set of a class of characters, as an expression writes it between brackets.
func classSet(class string) func(rune) bool {
	re, err := syntax.Parse("["+class+"]", syntax.Perl)
	if err != nil {
		panic(err)
	}
	ranges := re.Rune // pairs, ascending
	return func(r rune) bool {
		i, found := slices.BinarySearch(ranges, r)
		return found || i%2 == 1 // an odd place is inside a pair
	}
}

// ggufPreTokenizer is what a name in tokenizer.ggml.pre stands for: how text is cut, and what else
// of the original tokenizer.json the name tells.
type ggufPreTokenizer struct {
	steps      []string // scanners
	nfc, whole bool
}

// ggufPre are the pre-tokenizers that tokenizer.ggml.pre names.
var ggufPre = map[string]ggufPreTokenizer{
	"default":          {steps: []string{patternPunctuation, patternGPT2Short, patternNumber, patternTriple}},
	"gpt-2":            preGPT2,
	"mpt":              preGPT2,
	"olmo":             preGPT2,
	"phi-2":            preGPT2,
	"mellum":           preGPT2,
	"a.x-4.0":          preGPT2,
	"gigachat":         preGPT2,
	"trillion":         preGPT2,
	"exaone4":          preGPT2,
	"smollm":           preSmolLM,
	"starcoder":        preSmolLM,
	"refact":           preSmolLM,
	"command-r":        preSmolLM,
	"codeshell":        preSmolLM,
	"exaone":           preSmolLM,
	"minerva-7b":       preSmolLM,
	"llama-bpe":        preLlama3,
	"llama3":           preLlama3,
	"llama-v3":         preLlama3,
	"falcon3":          preLlama3,
	"falcon-h1":        preLlama3,
	"pixtral":          preLlama3,
	"midm-2.0":         preLlama3,
	"lfm2":             preLlama3,
	"smaug-bpe":        {steps: []string{patternLlama3}},
	"dbrx":             {steps: []string{patternLlama3}},
	"qwen2":            preQwen2,
	"deepseek-r1-qwen": preQwen2,
	"megrez":           preQwen2,
	"stablelm2":        {steps: []string{patternQwen2}},
	"hunyuan":          {steps: []string{patternQwen2}},
	"grok-2":           {steps: []string{patternQwen2}},
	"tekken":           {steps: []string{patternTekken}, whole: true},
	"gpt-4o":           {steps: []string{patternGPT4o}},
	"llama4":           {steps: []string{patternGPT4o}},
	"kanana2":          {steps: []string{patternGPT4o}},
	"deepseek-llm":     {steps: []string{patternLineEnd, patternCased, patternMarks, patternTrail, patternCJK, digitsSingle}},
	"deepseek-coder":   {steps: []string{patternLineEnd, patternLetters, patternPunct, patternCJK, digitsSingle}},
}

var (
	preGPT2   = ggufPreTokenizer{steps: []string{patternGPT2}}
	preSmolLM = ggufPreTokenizer{steps: []string{digitsSingle, patternGPT2}}
	preLlama3 = ggufPreTokenizer{steps: []string{patternLlama3}, whole: true}
	preQwen2  = ggufPreTokenizer{steps: []string{patternQwen2}, nfc: true}
)

// ggufPreNames are the names to write, of those that stand for one way to cut the one that
// llama.cpp's converter gives the model that had it first.
var ggufPreNames = []string{
	"gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2", "stablelm2", "tekken", "gpt-4o", "default", "deepseek-llm", "deepseek-coder",
}

// stages are the steps of the pre-tokenizer.
func (p ggufPreTokenizer) stages() stages {
	var st stages
	for _, name := range p.steps {
		st = append(st, stage{name: name, next: scanners[name].next})
	}
	return st
}

// ggufPreName is the name of the pre-tokenizer that cuts like these stages. Where none has the
// same normalisation too, one without serves: llama.cpp does none.
func ggufPreName(st stages, nfc, whole bool) (string, error) {
	var steps []string
	for _, s := range st {
		if s.space {
			return "", unsupported("add_prefix_space of a byte-level tokenizer, which GGUF cannot say")
		}
		steps = append(steps, s.name)
	}
	found := ""
	for _, name := range ggufPreNames {
		if p := ggufPre[name]; slices.Equal(p.steps, steps) && p.whole == whole && (found == "" || p.nfc == nfc) {
			found = name
		}
	}
	if found == "" {
		return "", unsupported("a pre-tokenizer that GGUF has no name for: steps %q, ignore_merges %v", steps, whole)
	}
	return found, nil
}
