package engine

// ggufPre is how the pre-tokenizers that tokenizer.ggml.pre names cut text, and what else of the
// original tokenizer.json the name stands for.
var ggufPre = map[string]struct {
	stages     stages
	nfc, whole bool
}{
	"default":   {stages: stages{{next: nextPunctuation}, {next: nextGPT2}, {next: nextNumber}, {next: nextTriple}}},
	"gpt-2":     {stages: stages{{next: nextGPT2}}},
	"mpt":       {stages: stages{{next: nextGPT2}}},
	"olmo":      {stages: stages{{next: nextGPT2}}},
	"phi-2":     {stages: stages{{next: nextGPT2}}},
	"smollm":    {stages: stages{{next: nextDigit}, {next: nextGPT2}}},
	"starcoder": {stages: stages{{next: nextDigit}, {next: nextGPT2}}},
	"refact":    {stages: stages{{next: nextDigit}, {next: nextGPT2}}},
	"llama-bpe": {stages: stages{{next: nextLlama3(3)}}, whole: true},
	"llama3":    {stages: stages{{next: nextLlama3(3)}}, whole: true},
	"llama-v3":  {stages: stages{{next: nextLlama3(3)}}, whole: true},
	"qwen2":     {stages: stages{{next: nextLlama3(1)}}, nfc: true},
}

// Kinds of tokens in tokenizer.ggml.token_type that are matched in the text itself.
const (
	ggufUnknown     = 2
	ggufControl     = 3
	ggufUserDefined = 4
)

// tokenizer reads the tokenizer from the metadata.
func (g *gguf) tokenizer() (*Tokenizer, error) {
	model, err := g.text("tokenizer.ggml.model", "")
	if err != nil {
		return nil, err
	}
	switch model {
	case "gpt2":
	case "":
		return nil, malformed("the file has no tokenizer")
	case "llama":
		return nil, unsupported("a SentencePiece tokenizer (tokenizer.ggml.model is llama; want gpt2, byte-level BPE)")
	default:
		return nil, unsupported("tokenizer model %q (want gpt2, byte-level BPE)", model)
	}
	name, err := g.text("tokenizer.ggml.pre", "default")
	if err != nil {
		return nil, err
	}
	pre, ok := ggufPre[name]
	if !ok {
		return nil, unsupported("pre-tokenizer %q", name)
	}
	tokens, err := g.texts("tokenizer.ggml.tokens")
	if err != nil {
		return nil, err
	}
	merges, err := g.texts("tokenizer.ggml.merges")
	if err != nil {
		return nil, err
	}
	s := &tokenizerSpec{
		vocab: make(map[string]int32, len(tokens)), tokens: tokens, stages: pre.stages, nfc: pre.nfc, whole: pre.whole,
	}
	for id, token := range tokens {
		s.vocab[token] = int32(id)
	}
	for i, m := range merges {
		pair, ok := splitMerge(m)
		if !ok {
			return nil, malformed("merge %d, %q, is not two tokens with a space between", i, m)
		}
		s.merges = append(s.merges, pair)
	}
	if g.has("tokenizer.ggml.token_type") {
		kinds, err := g.integers("tokenizer.ggml.token_type")
		if err != nil {
			return nil, err
		}
		if len(kinds) != len(tokens) {
			return nil, malformed("%d token types for %d tokens", len(kinds), len(tokens))
		}
		for id, kind := range kinds {
			if kind == ggufUnknown || kind == ggufControl || kind == ggufUserDefined {
				s.added = append(s.added, addedSpec{text: tokens[id], addedToken: addedToken{id: int32(id)}})
			}
		}
	}
	return s.build()
}
