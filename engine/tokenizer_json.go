package engine

import (
	"encoding/json"
	"maps"
	"slices"
	"unicode/utf8"
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
		Special    bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer    *stepJSON       `json:"normalizer"`
	PreTokenizer  *stepJSON       `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       *stepJSON       `json:"decoder"`
	Model         struct {
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

	Pattern struct { // Split, Replace
		Regex  string  `json:"Regex"`
		String *string `json:"String"`
	} `json:"pattern"`
	Behavior string `json:"behavior"`
	Invert   bool   `json:"invert"`
	Content  string `json:"content"` // Replace
	Prepend  string `json:"prepend"` // Prepend

	Individual  bool   `json:"individual_digits"` // Digits
	Space       *bool  `json:"add_prefix_space"`  // ByteLevel, Metaspace
	UseRegex    *bool  `json:"use_regex"`
	Replacement string `json:"replacement"` // Metaspace
	Scheme      string `json:"prepend_scheme"`
	Split       *bool  `json:"split"`
}

// list is the steps of a Sequence, else the step itself.
func (p *stepJSON) list() []stepJSON {
	switch {
	case p == nil:
		return nil
	case p.Type != "Sequence":
		return []stepJSON{*p}
	}
	return slices.Concat(p.Normalizers, p.PreTokenizers, p.Decoders)
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

// parseTokenizer reads a tokenizer.json. Truncation, padding and the post-processor are left out:
// they do not change what a text is encoded to when no tokens are added.
func parseTokenizer(data []byte) (*Tokenizer, error) {
	var j tokenizerJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, malformed("%v", err)
	}
	s, err := j.spec()
	if err != nil {
		return nil, err
	}
	return s.build()
}

// spec is what the file says.
func (j *tokenizerJSON) spec() (*tokenizerSpec, error) {
	m := &j.Model
	switch {
	case m.Type != "BPE" && m.Type != "":
		return nil, unsupported("tokenizer model %q (want BPE)", m.Type)
	case len(m.Vocab) == 0:
		return nil, malformed("the tokenizer has no vocabulary")
	case m.Dropout != 0:
		return nil, unsupported("BPE dropout")
	case m.Prefix != "" || m.Suffix != "":
		return nil, unsupported("continuing_subword_prefix or end_of_word_suffix")
	}
	s := &tokenizerSpec{
		vocab: make(map[string]int32, len(m.Vocab)), unk: m.Unk, fuse: m.FuseUnk, whole: m.IgnoreMerges, fallback: m.ByteFallback,
	}
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
	for _, n := range j.Normalizer.list() {
		step, err := n.normal()
		if err != nil {
			return nil, err
		}
		s.normal = append(s.normal, step)
	}
	if d := j.Decoder.list(); len(d) == 1 && d[0].Type == "ByteLevel" {
		return s, j.byteSteps(s)
	}
	return s, j.charSteps(s)
}

// normal is the step of a normalizer.
func (p *stepJSON) normal() (normalStep, error) {
	switch from := p.Pattern.String; {
	case p.Type == "NFC":
		return normalStep{nfc: true}, nil
	case p.Type == "Prepend":
		return normalStep{to: p.Prepend}, nil
	case p.Type == "Replace" && from != nil && *from != "":
		return normalStep{from: *from, to: p.Content}, nil
	case p.Type == "Replace" && from == nil:
		return normalStep{}, unsupported("normalizer Replace of the expression %s", p.Pattern.Regex)
	}
	return normalStep{}, unsupported("normalizer %q (NFC, Prepend and Replace are supported)", p.Type)
}

// byteSteps reads the pre-tokenizer of byte-level BPE.
func (j *tokenizerJSON) byteSteps(s *tokenizerSpec) error {
	if s.fallback {
		return unsupported("byte_fallback in byte-level BPE")
	}
	if j.PreTokenizer == nil {
		return unsupported("a decoder ByteLevel without pre-tokenizer ByteLevel")
	}
	list := j.PreTokenizer.list()
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
	return nil
}

// charSteps reads the pre-tokenizer and the decoder of a tokenizer of SentencePiece's kind.
func (j *tokenizerJSON) charSteps(s *tokenizerSpec) error {
	s.chars = true
	for _, d := range j.Decoder.list() {
		switch d.Type {
		case "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace":
		default:
			return unsupported("decoder %q (want ByteLevel, or SentencePiece's Replace, ByteFallback, Fuse, Strip)", d.Type)
		}
	}
	for i, p := range j.PreTokenizer.list() {
		switch {
		case p.Type == "ByteLevel":
			return unsupported("a decoder that is not ByteLevel after pre-tokenizer ByteLevel")
		case p.Type == "Metaspace" && i == 0:
			if err := p.metaspace(s); err != nil {
				return err
			}
		case p.Type == "Metaspace":
			return unsupported("pre-tokenizer Metaspace after another")
		default:
			st, err := p.stage()
			if err != nil {
				return err
			}
			s.stages = append(s.stages, st)
		}
	}
	return nil
}

// metaspace reads the pre-tokenizer Metaspace. In its older form it has add_prefix_space instead of
// a scheme.
func (p *stepJSON) metaspace(s *tokenizerSpec) error {
	if utf8.RuneCountInString(p.Replacement) != 1 {
		return malformed("pre-tokenizer Metaspace with the replacement %q, want one character", p.Replacement)
	}
	s.meta = &metaspace{space: p.Replacement}
	switch scheme := p.Scheme; {
	case scheme == "" && or(p.Space, true), scheme == "always":
		s.meta.always = true
	case scheme == "first":
		s.meta.first = true
	case scheme != "" && scheme != "never":
		return unsupported("pre-tokenizer Metaspace with prepend_scheme %q", scheme)
	}
	if or(p.Split, true) {
		s.stages = append(s.stages, stage{name: "Metaspace", next: nextMeta(p.Replacement)})
	}
	return nil
}

// stage is the step of a pre-tokenizer.
func (p *stepJSON) stage() (stage, error) {
	switch p.Type {
	case "ByteLevel":
		st := stage{space: or(p.Space, true)}
		if or(p.UseRegex, true) {
			st.name, st.next = patternGPT2, nextGPT2
		}
		return st, nil
	case "Digits":
		if p.Individual {
			return stage{name: digitsSingle, next: nextDigit}, nil
		}
		return stage{name: digitsRuns, next: nextDigits}, nil
	case "Split":
		scanner, ok := scanners[p.Pattern.Regex]
		if !ok || p.Pattern.Regex == digitsSingle || p.Pattern.Regex == digitsRuns {
			if p.Pattern.String != nil {
				return stage{}, unsupported("pre-tokenizer Split at the string %q", *p.Pattern.String)
			}
			return stage{}, unsupported("pre-tokenizer Split with the expression %s", p.Pattern.Regex)
		}
		if p.Behavior != "Isolated" && !(p.Behavior == "Removed" && p.Invert && scanner.whole) {
			return stage{}, unsupported("pre-tokenizer Split with behavior %q", p.Behavior)
		}
		return stage{name: p.Pattern.Regex, next: scanner.next}, nil
	}
	return stage{}, unsupported("pre-tokenizer %q (ByteLevel, Digits, Metaspace and Split are supported)", p.Type)
}
