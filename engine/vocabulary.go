package engine

import (
	"fmt"
	"unicode/utf8"
)

// Kinds of vocabularies.
const (
	VocabularyBPE = "bpe" // byte-level BPE, tokenizer.ggml.model "gpt2"
	VocabularySPM = "spm" // SentencePiece's BPE, tokenizer.ggml.model "llama"
)

// TokenType is what a token is for, as ggml numbers it.
type TokenType int32

// The types of tokens.
const (
	TokenNormal      TokenType = 1
	TokenUnknown     TokenType = 2
	TokenControl     TokenType = 3 // matched in the text itself, and has no text of its own
	TokenUserDefined TokenType = 4 // matched in the text itself
	TokenUnused      TokenType = 5 // fills the vocabulary up to the rows of the embedding
	TokenByte        TokenType = 6 // of SentencePiece: <0x00> to <0xFF>
)

// matched reports whether tokens of the type are sought in the text itself.
func (t TokenType) matched() bool {
	return t == TokenUnknown || t == TokenControl || t == TokenUserDefined
}

// merges reports whether SentencePiece merges to and from tokens of the type.
func (t TokenType) merges() bool { return !t.matched() && t != TokenByte }

// Vocabulary is the tokenizer of a model in the form that writers of files want: what GGUF keeps
// of it, whatever the model was read from. Its slices and maps must not be changed.
type Vocabulary struct {
	Kind string // VocabularyBPE or VocabularySPM
	// Pre is llama.cpp's name of the pre-tokenizer: "smollm", "llama-bpe", "qwen2", …; "default" of
	// SentencePiece's kind.
	Pre    string
	Tokens []VocabularyToken // one for each row of the embedding
	// Merges of byte-level BPE, "left right", the first first; SentencePiece's kind has scores.
	Merges []string

	BOS, EOS, Unknown, Pad int  // tokens; -1: none
	AddBOS, AddEOS         bool // whether runtimes put BOS before a text, EOS after it
	AddSpacePrefix         bool // of SentencePiece's kind: a space is put before a text

	ChatTemplate  string            // Jinja; empty: none
	ChatTemplates map[string]string // those that have names besides, as tool_use; nil: none
}

// VocabularyToken is a token.
type VocabularyToken struct {
	// Text is as GGUF stores it: in the byte alphabet of byte-level BPE, with ▁ for a space in
	// SentencePiece's kind; text that is matched in the text itself is as it is matched.
	Text  string
	Type  TokenType
	Score float32 // of SentencePiece's kind: pairs merge in the order of their results' scores
}

// Vocabulary is the tokenizer of the model in neutral form, read on first use. From a Hugging Face
// folder it is what llama.cpp's converter (convert_hf_to_gguf.py) writes into GGUF: types of added
// tokens, unused tokens [PAD0], … up to the rows of the embedding, whether to add BOS and EOS by
// tokenizer_config.json or else the post-processor. It differs where that would give a file that
// encodes otherwise than the folder: scores of a tokenizer.json without tokenizer.model come from
// its merges, and what GGUF cannot say is refused.
func (c *Checkpoint) Vocabulary() (*Vocabulary, error) { return c.vocabulary() }

// newVocabulary is the tokenizer without any special token.
func newVocabulary(kind string) *Vocabulary {
	return &Vocabulary{Kind: kind, Pre: "default", BOS: -1, EOS: -1, Unknown: -1, Pad: -1}
}

// complete brings the tokens to one for each row of the embedding, and checks that runtimes can
// tell them apart.
func (v *Vocabulary) complete(rows int) error {
	if len(v.Tokens) > rows {
		return malformed("the tokenizer has %d tokens and the embedding %d rows", len(v.Tokens), rows)
	}
	for id := len(v.Tokens); id < rows; id++ {
		pad := padToken(id)
		if v.Kind == VocabularyBPE {
			pad.Score = 0 // as of all tokens there
		}
		v.Tokens = append(v.Tokens, pad)
	}
	seen := make(map[string]int, rows)
	for id, t := range v.Tokens {
		if !utf8.ValidString(t.Text) {
			return malformed("token %d, %q, is not UTF-8", id, t.Text)
		}
		if t.Text == "" {
			continue // runtimes give it a name
		}
		if other, ok := seen[t.Text]; ok {
			return malformed("tokens %d and %d are both %q", other, id, t.Text)
		}
		seen[t.Text] = id
	}
	for _, id := range []*int{&v.BOS, &v.EOS, &v.Unknown, &v.Pad} {
		if *id >= rows {
			*id = -1
		}
	}
	v.AddBOS, v.AddEOS = v.AddBOS && v.BOS >= 0, v.AddEOS && v.EOS >= 0
	return nil
}

// padToken fills the place of a token that the tokenizer does not have.
func padToken(id int) VocabularyToken {
	return VocabularyToken{Text: fmt.Sprintf("[PAD%d]", id), Type: TokenUnused, Score: -10000}
}

// tokenizer makes the tokenizer.
func (v *Vocabulary) tokenizer() (*Tokenizer, error) {
	s := &tokenizerSpec{vocab: make(map[string]int32, len(v.Tokens)), tokens: make([]string, len(v.Tokens))}
	for id, t := range v.Tokens {
		s.tokens[id] = t.Text
		s.vocab[t.Text] = int32(id)
		if t.Type.matched() {
			s.added = append(s.added, addedSpec{text: t.Text, addedToken: addedToken{id: int32(id)}})
		}
	}
	if v.Kind == VocabularySPM {
		s.chars, s.fallback, s.fuse, s.normal = true, true, true, spmNormalizer(v.AddSpacePrefix)
		if v.Unknown >= 0 && v.Unknown < len(v.Tokens) {
			s.unk = v.Tokens[v.Unknown].Text
		}
		var err error
		if s.merges, s.ranks, err = v.scoreMerges(); err != nil {
			return nil, err
		}
		return s.build()
	}
	pre := ggufPre[v.Pre]
	s.stages, s.whole = pre.stages(), pre.whole
	if pre.nfc {
		s.normal = normalizer{{nfc: true}}
	}
	for i, m := range v.Merges {
		pair, ok := splitMerge(m)
		if !ok {
			return nil, malformed("merge %d, %q, is not two tokens with a space between", i, m)
		}
		s.merges = append(s.merges, pair)
	}
	return s.build()
}
