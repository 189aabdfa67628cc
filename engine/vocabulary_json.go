package engine

import (
	"slices"
	"strings"
)

// addedScore is the score that llama.cpp's converter gives to tokens that are matched in the text.
const addedScore = -1000

// addedVocabularyToken is a token that is matched in the text itself. What looks like a control
// token is one, whatever the files say.
func addedVocabularyToken(text string, special bool) VocabularyToken {
	between := func(from, to string) bool { return strings.HasPrefix(text, from) && strings.HasSuffix(text, to) }
	switch {
	case special, between("<|", "|>"), between("<｜", "｜>"), between("<unused", ">"),
		slices.Contains([]string{"<pad>", "<mask>", "<2mass>", "[@BOS@]"}, text):
		return VocabularyToken{Text: text, Type: TokenControl, Score: addedScore}
	}
	return VocabularyToken{Text: strings.ReplaceAll(text, spmSpace, " "), Type: TokenUserDefined, Score: addedScore}
}

// addTokens sets the added tokens that the vocabulary does not have as such. Those without a row of
// the embedding are left out.
func (j *tokenizerJSON) addTokens(v *Vocabulary, rows int) {
	for _, a := range j.Added {
		id := int(a.ID)
		if id >= rows {
			continue
		}
		for len(v.Tokens) <= id {
			v.Tokens = append(v.Tokens, padToken(len(v.Tokens)))
		}
		if t := v.Tokens[id]; t.Text != a.Content || !t.Type.matched() {
			v.Tokens[id] = addedVocabularyToken(a.Content, a.Special)
		}
	}
}

// bytesVocabulary is the vocabulary of byte-level BPE.
func (j *tokenizerJSON) bytesVocabulary(s *tokenizerSpec) (*Vocabulary, error) {
	if len(s.normal) > 0 && !s.normal.isNFC() {
		return nil, unsupported("a normalizer of byte-level BPE that GGUF has no name for")
	}
	v := newVocabulary(VocabularyBPE)
	var err error
	if v.Pre, err = ggufPreName(s.stages, s.normal.isNFC(), s.whole); err != nil {
		other, otherErr := ggufPreName(s.stages, s.normal.isNFC(), !s.whole)
		if otherErr != nil || !s.reached() {
			return nil, err
		}
		v.Pre = other // ignore_merges changes nothing
	}
	v.Tokens = s.vocabularyTokens()
	for _, a := range j.Added {
		t := addedVocabularyToken(a.Content, a.Special)
		v.Tokens[a.ID] = VocabularyToken{Text: t.Text, Type: t.Type} // no scores in this kind
	}
	for _, m := range s.merges {
		if strings.Contains(m[0]+m[1], " ") {
			return nil, unsupported("a merge of %q and %q, which GGUF cannot say", m[0], m[1])
		}
		v.Merges = append(v.Merges, m[0]+" "+m[1])
	}
	return v, nil
}

// reached reports whether merges make every token of byte-level BPE out of its bytes, but for added
// ones: then it does not matter whether a word that is a token is taken whole.
func (s *tokenizerSpec) reached() bool {
	t, err := s.build()
	if err != nil {
		return false
	}
	t.bpe.whole = false
	added := map[int32]bool{}
	for _, a := range s.added {
		added[a.id] = true
	}
	var m merger
	for word, id := range t.bpe.ids {
		if ids := t.bpe.encode(nil, word, &m); !added[id] && (len(ids) != 1 || ids[0] != id) {
			return false
		}
	}
	return true
}

// vocabularyTokens are the tokens by number; holes are unused ones.
func (s *tokenizerSpec) vocabularyTokens() []VocabularyToken {
	tokens := make([]VocabularyToken, len(s.tokens))
	for id, text := range s.tokens {
		tokens[id] = VocabularyToken{Text: text, Type: TokenNormal}
		if text == "" {
			tokens[id] = VocabularyToken{Text: padToken(id).Text, Type: TokenUnused}
		}
	}
	return tokens
}

// charsVocabulary is the vocabulary of a tokenizer of SentencePiece's kind without its
// tokenizer.model: scores are by the order in which merges make the tokens, as SentencePiece's own
// are. Merges that no scores stand for are refused.
func (j *tokenizerJSON) charsVocabulary(s *tokenizerSpec) (*Vocabulary, error) {
	v := newVocabulary(VocabularySPM)
	v.AddBOS = true
	if id, ok := s.vocab[s.unk]; ok && s.unk != "" {
		v.Unknown = int(id)
	}
	v.Tokens = s.vocabularyTokens()
	for id := range v.Tokens {
		v.Tokens[id].Score = padToken(id).Score
	}
	for b := range 256 {
		if id := s.id(byteToken(byte(b))); id >= 0 {
			v.Tokens[id].Type, v.Tokens[id].Score = TokenByte, 0
		} else if s.fallback {
			return nil, unsupported("byte_fallback without the token %s", byteToken(byte(b)))
		}
	}
	if !s.fallback {
		return nil, unsupported("a tokenizer of SentencePiece's kind without byte_fallback, which GGUF cannot say")
	}
	for _, a := range j.Added {
		v.Tokens[a.ID] = addedVocabularyToken(a.Content, a.Special)
	}
	v.BOS, v.EOS = int(s.id("<s>")), int(s.id("</s>")) // where no file says
	next := float32(0)
	scored := make([]bool, len(v.Tokens))
	score := func(id int32) {
		if t := &v.Tokens[id]; !scored[id] && t.Type == TokenNormal {
			t.Score, scored[id] = 0-next, true
			next++
		}
	}
	for _, m := range s.merges {
		if id := s.id(m[0] + m[1]); id >= 0 {
			score(id)
		}
	}
	for id := range v.Tokens {
		score(int32(id))
	}
	return v, v.sameMerges(s.merges)
}

// sameMerges reports where merges are not those that the scores stand for, or not in their order.
func (v *Vocabulary) sameMerges(merges [][2]string) error {
	pairs, ranks, err := v.scoreMerges()
	if err != nil {
		return err
	}
	rank := make(map[[2]string]int32, len(pairs))
	for i, p := range pairs {
		rank[p] = ranks[i]
	}
	last := int32(0)
	for _, m := range merges {
		r, ok := rank[m]
		if !ok || r < last {
			return unsupported("tokenizer.json merges %q and %q in an order that no scores stand for, which GGUF cannot say", m[0], m[1])
		}
		last = r
		delete(rank, m)
	}
	for _, p := range pairs {
		if _, ok := rank[p]; ok {
			return unsupported("tokenizer.json does not merge %q and %q, which GGUF cannot say", p[0], p[1])
		}
	}
	return nil
}

// spacePrefix reports whether a space is put before a text. What else than that and writing spaces
// as ▁ is done to a text is refused: GGUF cannot say it.
func (s *tokenizerSpec) spacePrefix() (bool, error) {
	prefix, spaces := false, false
	for _, step := range s.normal {
		switch {
		case !step.nfc && step.from == "" && (step.to == spmSpace || step.to == " ") && !prefix:
			prefix = true
		case !step.nfc && step.from == " " && step.to == spmSpace:
			spaces = true
		default:
			return false, unsupported("a normalizer of SentencePiece's kind that GGUF cannot say")
		}
	}
	if m := s.meta; m != nil {
		spaces = spaces || m.space == spmSpace
		prefix = prefix || m.first || m.always
	}
	if !spaces {
		return false, unsupported("a tokenizer that does not write spaces as %s, which GGUF cannot say", spmSpace)
	}
	for _, st := range s.stages {
		if st.name != "Metaspace" {
			return false, unsupported("a pre-tokenizer of SentencePiece's kind that GGUF cannot say")
		}
		for id, token := range s.tokens {
			if strings.LastIndex(token, spmSpace) > 0 {
				return false, unsupported("pre-tokenizer Metaspace that splits, with %s inside token %d, which GGUF cannot say", spmSpace, id)
			}
		}
	}
	return prefix, nil
}
