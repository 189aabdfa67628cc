package engine

// vocabulary reads the tokenizer from the metadata.
func (g *gguf) vocabulary() (*Vocabulary, error) {
	model, err := g.text("tokenizer.ggml.model", "")
	if err != nil {
		return nil, err
	}
	var v *Vocabulary
	switch model {
	case "gpt2":
		v = newVocabulary(VocabularyBPE)
	case "llama":
		v = newVocabulary(VocabularySPM)
		v.BOS, v.EOS, v.Unknown, v.AddBOS = 1, 2, 0, true // where the file does not say
	case "":
		return nil, malformed("the file has no tokenizer")
	default:
		return nil, unsupported("tokenizer model %q (want gpt2, byte-level BPE, or llama, SentencePiece)", model)
	}
	if v.Kind == VocabularyBPE {
		if v.Pre, err = g.text("tokenizer.ggml.pre", "default"); err != nil {
			return nil, err
		}
		if _, ok := ggufPre[v.Pre]; !ok {
			return nil, unsupported("pre-tokenizer %q", v.Pre)
		}
		v.AddBOS = ggufPre[v.Pre].whole // llama.cpp's own default: of the kinds of Llama 3 and tekken
	}
	if err := g.vocabularyTokens(v); err != nil {
		return nil, err
	}
	if v.Kind == VocabularyBPE {
		if v.Merges, err = g.texts("tokenizer.ggml.merges"); err != nil {
			return nil, err
		}
	}
	for key, id := range map[string]*int{"bos": &v.BOS, "eos": &v.EOS, "unknown": &v.Unknown, "padding": &v.Pad} {
		// A number that is no token stands for none: converters have written -1.
		if value, ok := g.meta["tokenizer.ggml."+key+"_token_id"]; ok {
			if n, ok := value.integer(); ok && n >= 0 && n < len(v.Tokens) {
				*id = n
			}
		}
	}
	v.AddSpacePrefix = v.Kind == VocabularySPM && g.flag("tokenizer.ggml.add_space_prefix", true)
	v.AddBOS = g.flag("tokenizer.ggml.add_bos_token", v.AddBOS)
	v.AddEOS = g.flag("tokenizer.ggml.add_eos_token", v.AddEOS)
	return v, g.chatTemplates(v)
}

// vocabularyTokens reads the tokens with their types and scores.
func (g *gguf) vocabularyTokens(v *Vocabulary) error {
	tokens, err := g.texts("tokenizer.ggml.tokens")
	if err != nil {
		return err
	}
	v.Tokens = make([]VocabularyToken, len(tokens))
	for id, text := range tokens {
		v.Tokens[id] = VocabularyToken{Text: text, Type: TokenNormal}
	}
	if g.has("tokenizer.ggml.token_type") {
		kinds, err := g.integers("tokenizer.ggml.token_type")
		if err != nil {
			return err
		}
		if len(kinds) != len(tokens) {
			return malformed("%d token types for %d tokens", len(kinds), len(tokens))
		}
		for id, kind := range kinds {
			v.Tokens[id].Type = TokenType(kind)
		}
	}
	if v.Kind == VocabularySPM || g.has("tokenizer.ggml.scores") {
		scores, err := g.floats("tokenizer.ggml.scores")
		if err != nil {
			return err
		}
		if len(scores) != len(tokens) {
			return malformed("%d token scores for %d tokens", len(scores), len(tokens))
		}
		for id, score := range scores {
			v.Tokens[id].Score = score
		}
	}
	return nil
}

// chatTemplates reads the chat templates.
func (g *gguf) chatTemplates(v *Vocabulary) (err error) {
	const key = "tokenizer.chat_template"
	if v.ChatTemplate, err = g.text(key, ""); err != nil || !g.has(key+"s") {
		return err
	}
	names, err := g.texts(key + "s")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := g.text(key+"."+name, "")
		if err != nil {
			return err
		}
		if text != "" {
			v.addTemplate(name, text)
		}
	}
	return nil
}

// addTemplate adds a chat template that has a name; that of the name default is the one without.
func (v *Vocabulary) addTemplate(name, text string) {
	if name == "" || name == "default" {
		v.ChatTemplate = text
		return
	}
	if v.ChatTemplates == nil {
		v.ChatTemplates = map[string]string{}
	}
	v.ChatTemplates[name] = text
}
