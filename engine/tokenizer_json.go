package engine

import (
	"encoding/json"
	"maps"
	"slices"
)

// tokenizerJSON is the part of tokenizer.json that decides how text is encoded and decoded.
type tokenizerJSON struct {
	Added []struct {
		ID         int64  `json:"id"`
		Content    string `json:"content"`
		Single     bool   `json:"single_word"`
		LStrip     bool   `json:"lstrip"`
		RStrip     bool   `json:"rstrip"`
		Normalized bool   `json:"normalized"`
	} `json:"added_tokens"`
	Normalizer   *stepJSON `json:"normalizer"`
	PreTokenizer *stepJSON `json:"pre_tokenizer"`
	Decoder      *stepJSON `json:"decoder"`
	Model        struct {
		Type         string           `json:"type"`
		Dropout      float64          `json:"dropout"`
		Unk          string           `json:"unk_token"`
		Prefix       string           `json:"continuing_subword_prefix"`
		Suffix       string           `json:"end_of_word_suffix"`
		FuseUnk      bool             `json:"fuse_unk"`
		ByteFallback bool             `json:"byte_fallback"`
		IgnoreMerges bool             `json:"ignore_merges"`
		Vocab        map[string]int64 `json:"vocab"`
		Merges       []mergeJSON      `json:"merges"`
	} `json:"model"`
}

// stepJSON is a normalizer, pre-tokenizer or decoder; which members count depends on its type.
type stepJSON struct {
	Type          string     `json:"type"`
	Normalizers   []stepJSON `json:"normalizers"`
	PreTokenizers []stepJSON `json:"pretokenizers"`
	Decoders      []stepJSON `json:"decoders"`

	Pattern struct { // Split
		Regex  string  `json:"Regex"`
		String *string `json:"String"`
	} `json:"pattern"`
	Behavior string `json:"behavior"`
	Invert   bool   `json:"invert"`

	Individual bool  `json:"individual_digits"` // Digits
	Space      *bool `json:"add_prefix_space"`  // ByteLevel
	UseRegex   *bool `json:"use_regex"`
}

// mergeJSON is a merge, written "a b" or ["a", "b"].
type mergeJSON [2]string

func (m *mergeJSON) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		var pair []string
		if err := json.Unmarshal(b, &pair); err != nil {
			return err
		}
		if len(pair) != 2 {
			return malformed("a merge of %d tokens", len(pair))
		}
		*m = mergeJSON(pair)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	pair, ok := splitMerge(s)
	if !ok {
		return malformed("merge %q is not two tokens with a space between", s)
	}
	*m = pair
	return nil
}

// The regular expressions of Split that have a scanner.
const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	// The four steps of llama.cpp's default pre-tokenizer. The second leaves out only a white
	// space that nothing else matches, which is then a word as well.
	patternPunctuation = `[\p{P}\$\+<=>\^~\|]+`
	patternGPT2Short   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`
	patternNumber      = `\p{N}+`
	patternTriple      = `[0-9][0-9][0-9]`
)

// scanners are the scanners of the expressions; whole tells those that match every character, so
// that what Split does with the rest does not matter.
var scanners = map[string]struct {
	next  func(string) int
	whole bool
}{
	patternGPT2:        {nextGPT2, true},
	patternLlama3:      {nextLlama3(3), true},
	patternQwen2:       {nextLlama3(1), true},
	patternPunctuation: {nextPunctuation, false},
	patternGPT2Short:   {nextGPT2, false},
	patternNumber:      {nextNumber, false},
	patternTriple:      {nextTriple, false},
}

// parseTokenizer reads a tokenizer.json. Truncation, padding and the post-processor are left out:
// they do not change what a text is encoded to when no tokens are added.
func parseTokenizer(data []byte) (*Tokenizer, error) {
	var j tokenizerJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, malformed("%v", err)
	}
	m := &j.Model
	switch {
	case m.Type != "BPE" && m.Type != "":
		return nil, unsupported("tokenizer model %q (want byte-level BPE)", m.Type)
	case len(m.Vocab) == 0:
		return nil, malformed("the tokenizer has no vocabulary")
	case m.Dropout != 0:
		return nil, unsupported("BPE dropout")
	case m.Prefix != "" || m.Suffix != "":
		return nil, unsupported("continuing_subword_prefix or end_of_word_suffix")
	case m.ByteFallback:
		return nil, unsupported("byte_fallback: a tokenizer of SentencePiece's kind")
	}
	s := &tokenizerSpec{vocab: make(map[string]int32, len(m.Vocab)), unk: m.Unk, fuse: m.FuseUnk, whole: m.IgnoreMerges}
	count := len(m.Vocab) + len(j.Added)
	for _, token := range slices.Sorted(maps.Keys(m.Vocab)) {
		if err := s.place(token, m.Vocab[token], count); err != nil {
			return nil, err
		}
		s.vocab[token] = int32(m.Vocab[token])
	}
	for _, a := range j.Added {
		if id, ok := m.Vocab[a.Content]; ok && id != a.ID {
			return nil, malformed("added token %q has number %d and in the vocabulary %d", a.Content, a.ID, id)
		}
		if err := s.place(a.Content, a.ID, count); err != nil {
			return nil, err
		}
		s.added = append(s.added, addedSpec{a.Content, a.Normalized, addedToken{int32(a.ID), a.Single, a.LStrip, a.RStrip}})
	}
	for _, m := range m.Merges {
		s.merges = append(s.merges, m)
	}
	if err := j.steps(s); err != nil {
		return nil, err
	}
	return s.build()
}

// steps reads the normalizer, the pre-tokenizer and the decoder.
func (j *tokenizerJSON) steps(s *tokenizerSpec) error {
	if j.Normalizer != nil {
		list := []stepJSON{*j.Normalizer}
		if j.Normalizer.Type == "Sequence" {
			list = j.Normalizer.Normalizers
		}
		for _, n := range list {
			if n.Type != "NFC" {
				return unsupported("normalizer %q (NFC is supported)", n.Type)
			}
			s.nfc = true
		}
	}
	if j.PreTokenizer == nil {
		return unsupported("a tokenizer without pre-tokenizer (want byte-level BPE)")
	}
	list := []stepJSON{*j.PreTokenizer}
	if j.PreTokenizer.Type == "Sequence" {
		list = j.PreTokenizer.PreTokenizers
	}
	for i, p := range list {
		st, err := p.stage()
		if err != nil {
			return err
		}
		if last := i == len(list)-1; last != (p.Type == "ByteLevel") {
			return unsupported("a pre-tokenizer that does not end in its only ByteLevel")
		}
		if st.space || st.next != nil {
			s.stages = append(s.stages, st)
		}
	}
	if len(list) == 0 {
		return unsupported("an empty pre-tokenizer (want byte-level BPE)")
	}
	if d := j.Decoder; d != nil && d.Type == "Sequence" && len(d.Decoders) == 1 {
		j.Decoder = &d.Decoders[0]
	}
	if j.Decoder == nil || j.Decoder.Type != "ByteLevel" {
		return unsupported("a decoder that is not ByteLevel")
	}
	return nil
}

// stage is the step of a pre-tokenizer.
func (p *stepJSON) stage() (stage, error) {
	switch p.Type {
	case "ByteLevel":
		st := stage{space: or(p.Space, true)}
		if or(p.UseRegex, true) {
			st.next = nextGPT2
		}
		return st, nil
	case "Digits":
		if p.Individual {
			return stage{next: nextDigit}, nil
		}
		return stage{next: nextDigits}, nil
	case "Split":
		scanner, ok := scanners[p.Pattern.Regex]
		if !ok {
			if p.Pattern.String != nil {
				return stage{}, unsupported("pre-tokenizer Split at the string %q", *p.Pattern.String)
			}
			return stage{}, unsupported("pre-tokenizer Split with the expression %s", p.Pattern.Regex)
		}
		if p.Behavior != "Isolated" && !(p.Behavior == "Removed" && p.Invert && scanner.whole) {
			return stage{}, unsupported("pre-tokenizer Split with behavior %q", p.Behavior)
		}
		return stage{next: scanner.next}, nil
	}
	return stage{}, unsupported("pre-tokenizer %q (ByteLevel, Digits and Split are supported)", p.Type)
}
