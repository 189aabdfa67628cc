package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// folderTokenizer is the tokenizer of a model folder: tokenizer.json or, where there is none,
// tokenizer.model, and what other files say of it.
type folderTokenizer struct {
	open   source
	config Config
	model  []byte            // config.json
	files  map[string][]byte // those that decide what a text is encoded to, by name
}

// tokenizerNames are the files that decide what a text is encoded to where the first is there,
// else where the second is.
var tokenizerNames = [2][]string{
	{"tokenizer.json"},
	{"tokenizer.model", "added_tokens.json", "tokenizer_config.json"},
}

// openTokenizer takes the files that decide what a text is encoded to. There may be none.
func openTokenizer(take, open source) (*folderTokenizer, error) {
	t := &folderTokenizer{open: open, files: map[string][]byte{}}
	for _, names := range tokenizerNames {
		for i, name := range names {
			f, err := take(name)
			if errors.Is(err, fs.ErrNotExist) && i == 0 {
				break
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("engine: %w", err)
			}
			t.files[name] = f.data
		}
		if len(t.files) > 0 {
			break
		}
	}
	return t, nil
}

// read gives the content of a file beside, nil where there is none.
func (t *folderTokenizer) read(name string) ([]byte, error) {
	if data, ok := t.files[name]; ok {
		return data, nil
	}
	f, err := t.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := slices.Clone(f.data)
	return data, f.release()
}

// tokenizer reads the tokenizer.
func (t *folderTokenizer) tokenizer() (*Tokenizer, error) {
	if data, ok := t.files["tokenizer.json"]; ok {
		tok, err := parseTokenizer(data)
		if err != nil {
			return nil, fmt.Errorf("tokenizer.json: %w", err)
		}
		return tok, nil
	}
	v, err := t.vocabulary()
	if err != nil {
		return nil, err
	}
	return v.tokenizer()
}

// vocabulary reads the tokenizer in neutral form.
func (t *folderTokenizer) vocabulary() (*Vocabulary, error) {
	var j *tokenizerJSON
	if data, ok := t.files["tokenizer.json"]; ok {
		j = new(tokenizerJSON)
		if err := json.Unmarshal(data, j); err != nil {
			return nil, fmt.Errorf("tokenizer.json: %w", malformed("%v", err))
		}
	} else if len(t.files) == 0 {
		return nil, errors.New("the folder has neither tokenizer.json nor tokenizer.model")
	}
	cfg, err := t.settings("tokenizer_config.json")
	if err != nil {
		return nil, err
	}
	v, err := t.tokens(j, cfg)
	if err != nil {
		return nil, err
	}
	if err := t.specials(v, j, cfg); err != nil {
		return nil, err
	}
	if err := t.chatTemplates(v, cfg); err != nil {
		return nil, err
	}
	return v, v.complete(t.config.Vocab)
}

// tokens reads the tokens and how they merge.
func (t *folderTokenizer) tokens(j *tokenizerJSON, cfg settings) (*Vocabulary, error) {
	var s *tokenizerSpec
	if j != nil {
		var err error
		if s, err = j.spec(); err != nil {
			return nil, fmt.Errorf("tokenizer.json: %w", err)
		}
		if !s.chars {
			v, err := j.bytesVocabulary(s)
			if err != nil {
				return nil, fmt.Errorf("tokenizer.json: %w", err)
			}
			return v, nil
		}
	}
	data, err := t.read("tokenizer.model")
	if err != nil {
		return nil, err
	}
	var m *spmModel
	if data != nil {
		m, err = parseSentencePiece(data)
		switch {
		case err != nil && s == nil:
			return nil, fmt.Errorf("tokenizer.model: %w", err)
		case err != nil || s != nil && !m.agrees(s):
			m = nil // of another tokenizer than tokenizer.json
		}
	}
	var v *Vocabulary
	if m != nil {
		v, err = t.piecesVocabulary(m, cfg)
	} else {
		v, err = j.charsVocabulary(s)
	}
	if err != nil {
		return nil, err
	}
	if s != nil {
		v.AddSpacePrefix, err = s.spacePrefix()
		if err != nil {
			return nil, fmt.Errorf("tokenizer.json: %w", err)
		}
		j.addTokens(v, t.config.Vocab)
	}
	return v, nil
}

// agrees reports whether the pieces are the tokens of a tokenizer.json but for added ones.
func (m *spmModel) agrees(s *tokenizerSpec) bool {
	added := map[int32]bool{}
	for _, a := range s.added {
		added[a.id] = true
	}
	for id := range max(len(m.pieces), len(s.tokens)) {
		switch {
		case added[int32(id)]:
		case id >= len(m.pieces) || id >= len(s.tokens) || s.tokens[id] != m.pieces[id].Text:
			return false
		}
	}
	return true
}

// piecesVocabulary is the vocabulary of a tokenizer.model with the tokens that added_tokens.json
// and added_tokens_decoder in tokenizer_config.json put into it or give other types.
func (t *folderTokenizer) piecesVocabulary(m *spmModel, cfg settings) (*Vocabulary, error) {
	rows := t.config.Vocab
	if len(m.pieces) > rows {
		return nil, malformed("tokenizer.model has %d pieces and the embedding %d rows", len(m.pieces), rows)
	}
	v := newVocabulary(VocabularySPM)
	v.BOS, v.EOS, v.Unknown, v.Pad, v.AddBOS, v.AddSpacePrefix = m.bos, m.eos, m.unk, m.pad, true, m.prefix
	v.Tokens = slices.Clone(m.pieces)
	for id := range v.Tokens {
		if t := &v.Tokens[id]; t.Type == TokenUserDefined {
			t.Text = strings.ReplaceAll(t.Text, spmSpace, " ")
		}
	}
	for id := len(v.Tokens); id < rows; id++ {
		v.Tokens = append(v.Tokens, padToken(id))
	}
	data, err := t.read("added_tokens.json")
	if err != nil {
		return nil, err
	}
	var added map[string]int
	if data != nil {
		if err := json.Unmarshal(data, &added); err != nil {
			return nil, fmt.Errorf("added_tokens.json: %w", malformed("%v", err))
		}
	}
	for _, text := range slices.Sorted(maps.Keys(added)) {
		if id := added[text]; id >= 0 && id < rows { // others have no embedding
			v.Tokens[id] = VocabularyToken{Text: text, Type: TokenUserDefined, Score: addedScore}
		}
	}
	var decoder map[string]struct {
		Content string `json:"content"`
		Special bool   `json:"special"`
	}
	if raw, ok := cfg["added_tokens_decoder"]; ok {
		if err := json.Unmarshal(raw, &decoder); err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: %w", malformed("added_tokens_decoder: %v", err))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(decoder)) {
		if id, err := strconv.Atoi(key); err == nil && id >= 0 && id < rows {
			v.Tokens[id] = addedVocabularyToken(decoder[key].Content, decoder[key].Special)
		}
	}
	if raw, ok := cfg["add_prefix_space"]; ok {
		_ = json.Unmarshal(raw, &v.AddSpacePrefix) // null leaves it
	}
	return v, nil
}
