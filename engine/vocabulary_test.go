package engine

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// setVocabulary gives a GGUF file a tokenizer, as a writer does, and its embedding the rows.
func setVocabulary(g *ggufFile, v *Vocabulary) {
	tokens, kinds, scores := make([]string, len(v.Tokens)), make([]int32, len(v.Tokens)), make([]float32, len(v.Tokens))
	for id, t := range v.Tokens {
		tokens[id], kinds[id], scores[id] = t.Text, int32(t.Type), t.Score
	}
	g.set("tokenizer.ggml.tokens", tokens)
	g.set("tokenizer.ggml.token_type", kinds)
	g.set("tokenizer.ggml.pre", v.Pre)
	if v.Kind == VocabularySPM {
		g.set("tokenizer.ggml.model", "llama")
		g.set("tokenizer.ggml.scores", scores)
		g.set("tokenizer.ggml.add_space_prefix", v.AddSpacePrefix)
	} else {
		g.set("tokenizer.ggml.model", "gpt2")
		g.set("tokenizer.ggml.merges", v.Merges)
	}
	for key, id := range map[string]int{"bos": v.BOS, "eos": v.EOS, "unknown": v.Unknown, "padding": v.Pad} {
		if id >= 0 {
			g.set("tokenizer.ggml."+key+"_token_id", uint32(id))
		}
	}
	g.set("tokenizer.ggml.add_bos_token", v.AddBOS)
	g.set("tokenizer.ggml.add_eos_token", v.AddEOS)
	if v.ChatTemplate != "" {
		g.set("tokenizer.chat_template", v.ChatTemplate)
	}
	if len(v.ChatTemplates) > 0 {
		g.set("tokenizer.chat_templates", slices.Sorted(maps.Keys(v.ChatTemplates)))
		for name, text := range v.ChatTemplates {
			g.set("tokenizer.chat_template."+name, text)
		}
	}
	m := small()
	m.vocab = len(v.Tokens)
	m.fill()
	embedding := g.tensor("token_embd.weight")
	*embedding = *ggufOf(m).tensor("token_embd.weight")
}

// TestVocabularyRoundTrip takes tokenizers from tokenizer.json to GGUF and back: the vocabulary
// and the tokens stay the same.
func TestVocabularyRoundTrip(t *testing.T) {
	pre := map[string]string{
		"gpt2": "gpt-2", "llama3": "llama-bpe", "qwen2": "qwen2", "smollm": "smollm", "default": "default", "tekken": "tekken",
		"gpt4o": "gpt-4o", "deepseek-llm": "deepseek-llm", "deepseek-coder": "deepseek-coder",
	}
	tokenizers := map[string]*Tokenizer{}
	for kind, name := range pre {
		ck := openModel(t, spmModelFolder(t, 720, map[string][]byte{
			"tokenizer.json":        readFile(t, filepath.Join(tokenizerFolder, kind+".json")),
			"tokenizer_config.json": []byte(`{"bos_token":"<|im_start|>","eos_token":"<|im_end|>","add_bos_token":true,"chat_template":"{{ x }}"}`),
		}))
		v, err := ck.Vocabulary()
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if v.Kind != VocabularyBPE || v.Pre != name || len(v.Tokens) != 720 || !v.AddBOS || v.AddEOS || v.ChatTemplate != "{{ x }}" ||
			v.BOS != 1 || v.EOS != 2 || v.Unknown != -1 || v.Pad != -1 {
			t.Errorf("%s: %.1000s", kind, asJSON(t, v))
		}
		g := ggufOf(small())
		setVocabulary(g, v)
		back, err := openGGUF(&file{name: kind + ".gguf", data: g.bytes()})
		if err != nil {
			t.Fatal(err)
		}
		w, err := back.Vocabulary()
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if a, b := asJSON(t, v), asJSON(t, w); a != b {
			t.Errorf("%s: from GGUF comes\n%.500s, want\n%.500s", kind, b, a)
		}
		made, err := w.TokenizerJSON()
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if tokenizers[kind], err = parseTokenizer(made); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
	}
	var cases []tokenCase
	if err := json.Unmarshal(readFile(t, filepath.Join(tokenizerFolder, "cases.json")), &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		for kind, tok := range tokenizers {
			if got := tok.Encode(c.bytes(t)); !slices.Equal(got, c.IDs[kind]) {
				t.Errorf("%s: %.80q gives %v, want %v", kind, c.bytes(t), got, c.IDs[kind])
			}
		}
	}
}

// TestVocabularyWhole holds that ignore_merges is no hindrance where it changes nothing.
func TestVocabularyWhole(t *testing.T) {
	whole := strings.Replace(tinyTokenizer, `"ignore_merges":false`, `"ignore_merges":true`, 1)
	v, err := openModel(t, spmModelFolder(t, 8, map[string][]byte{"tokenizer.json": []byte(whole)})).Vocabulary()
	if err != nil || v.Pre != "smollm" {
		t.Errorf("%v, %v", v, err)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestVocabularySpecial holds which tokens are special and what is added to texts, as llama.cpp's
// converter reads it from a folder.
func TestVocabularySpecial(t *testing.T) {
	const base = `{"added_tokens":[{"id":3,"content":"<s>","special":true},{"id":4,"content":"</s>","special":true},
		{"id":5,"content":"<|x|>"},{"id":7,"content":"two▁words"},{"id":6,"content":"<pad>"}],
		"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"},POST
		"model":{"vocab":{"a":0,"b":1,"ab":2,"<s>":3},"merges":["a b"]}}`
	template := func(parts string) string {
		return `"post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing","single":[` + parts + `]}]},`
	}
	const bos, text, eos = `{"SpecialToken":{"id":"<s>","type_id":0}}`, `{"Sequence":{"id":"A","type_id":0}}`, `{"SpecialToken":{"id":"</s>","type_id":0}}`
	const config = `"model_type":"llama"`
	type want struct {
		bos, eos, unk, pad int
		addBOS, addEOS     bool
	}
	for _, test := range []struct {
		name, post, config, model string
		want                      want
	}{
		{"nothing", "", "", config, want{-1, -1, -1, -1, false, false}},
		{"config.json", "", "", config + `,"bos_token_id":3,"eos_token_id":[4,5],"pad_token_id":null`, want{3, -1, -1, -1, false, false}},
		{"tokenizer_config.json", "", `{"bos_token":{"content":"<s>"},"eos_token":"</s>","unk_token":null,"pad_token":"<pad>"}`, config + `,"bos_token_id":1`, want{3, 4, -1, 6, false, false}},
		{"flags", "", `{"bos_token":"<s>","eos_token":"</s>","add_bos_token":true,"add_eos_token":true}`, config, want{3, 4, -1, -1, true, true}},
		{"a flag for no token", "", `{"add_bos_token":true}`, config, want{-1, -1, -1, -1, false, false}},
		{"template without configuration", template(bos + "," + text), "", config, want{3, -1, -1, -1, true, false}},
		{"template", template(bos + "," + text + "," + eos), `{"bos_token":"<s>","eos_token":"<|x|>"}`, config, want{3, 4, -1, -1, true, true}},
		{"template of another token", template(eos + "," + text), `{"bos_token":"<s>"}`, config, want{3, -1, -1, -1, false, false}},
		{"template that a flag overrides", template(bos + "," + text), `{"bos_token":"<s>","add_bos_token":false}`, config, want{3, -1, -1, -1, false, false}},
		{"template of the text alone", template(text), `{"bos_token":"<s>","add_bos_token":null}`, config, want{3, -1, -1, -1, false, false}},
	} {
		files := map[string][]byte{"tokenizer.json": []byte(strings.Replace(base, "POST", test.post, 1))}
		if test.config != "" {
			files["tokenizer_config.json"] = []byte(test.config)
		}
		dir := spmModelFolder(t, 10, files)
		path := filepath.Join(dir, "config.json")
		data := strings.Replace(string(readFile(t, path)), `"model_type":"llama"`, test.model, 1)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := openModel(t, dir).Vocabulary()
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := (want{v.BOS, v.EOS, v.Unknown, v.Pad, v.AddBOS, v.AddEOS}); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
		tokens := []VocabularyToken{
			{"a", TokenNormal, 0}, {"b", TokenNormal, 0}, {"ab", TokenNormal, 0}, {"<s>", TokenControl, 0}, {"</s>", TokenControl, 0}, {"<|x|>", TokenControl, 0},
			{"<pad>", TokenControl, 0}, {"two words", TokenUserDefined, 0}, {"[PAD8]", TokenUnused, 0}, {"[PAD9]", TokenUnused, 0},
		}
		if !slices.Equal(v.Tokens, tokens) {
			t.Errorf("%s: tokens %+v, want %+v", test.name, v.Tokens, tokens)
		}
	}
}

// TestChatTemplates holds where the chat templates come from.
func TestChatTemplates(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
		named map[string]string
	}{
		{"none", nil, "", nil},
		{"a text", map[string]string{"tokenizer_config.json": `{"chat_template":"one"}`}, "one", nil},
		{"the configuration first", map[string]string{"tokenizer_config.json": `{"chat_template":"one"}`, "chat_template.jinja": "two"}, "one", nil},
		{"a file", map[string]string{"tokenizer_config.json": `{"chat_template":null}`, "chat_template.jinja": "two\n"}, "two\n", nil},
		{"a file alone", map[string]string{"chat_template.jinja": "two"}, "two", nil},
		{"an older file", map[string]string{"chat_template.json": `{"chat_template":"three"}`}, "three", nil},
		{"several", map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"default","template":"d"},{"name":"tool_use","template":"t"}]}`}, "d", map[string]string{"tool_use": "t"}},
	} {
		files := map[string][]byte{"tokenizer.json": []byte(tinyTokenizer)}
		for name, text := range test.files {
			files[name] = []byte(text)
		}
		v, err := openModel(t, spmModelFolder(t, 8, files)).Vocabulary()
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if v.ChatTemplate != test.want || !maps.Equal(v.ChatTemplates, test.named) {
			t.Errorf("%s: %q, %v", test.name, v.ChatTemplate, v.ChatTemplates)
		}
		g := ggufOf(small())
		setVocabulary(g, v)
		ck, err := openGGUF(&file{name: "x.gguf", data: g.bytes()})
		if err != nil {
			t.Fatal(err)
		}
		w, err := ck.Vocabulary()
		if err != nil || w.ChatTemplate != test.want || !maps.Equal(w.ChatTemplates, test.named) {
			t.Errorf("%s, from GGUF: %v, %q, %v", test.name, err, w.ChatTemplate, w.ChatTemplates)
		}
		made, err := v.TokenizerConfigJSON()
		if err != nil {
			t.Fatal(err)
		}
		u := newVocabulary(VocabularyBPE)
		var cfg settings
		if err := json.Unmarshal(made, &cfg); err != nil {
			t.Fatal(err)
		}
		none := &folderTokenizer{files: map[string][]byte{"chat_template.jinja": nil, "chat_template.json": nil}}
		if err := none.chatTemplates(u, cfg); err != nil || u.ChatTemplate != test.want || !maps.Equal(u.ChatTemplates, test.named) {
			t.Errorf("%s, from tokenizer_config.json: %v, %q, %v", test.name, err, u.ChatTemplate, u.ChatTemplates)
		}
	}
}

// TestVocabularyBad has vocabularies that must be refused.
func TestVocabularyBad(t *testing.T) {
	text := func(from, to string) map[string][]byte {
		s := strings.Replace(tinyTokenizer, from, to, 1)
		if s == tinyTokenizer {
			t.Fatalf("%s is not in the tokenizer", from)
		}
		return map[string][]byte{"tokenizer.json": []byte(s)}
	}
	beside := func(name, content string) map[string][]byte {
		return map[string][]byte{"tokenizer.json": []byte(tinyTokenizer), name: []byte(content)}
	}
	for _, test := range []struct {
		want  string
		files map[string][]byte
		kind  error
	}{
		{"neither tokenizer.json nor tokenizer.model", nil, nil},
		{"tokenizer.json: unexpected end", map[string][]byte{"tokenizer.json": []byte("{")}, ErrMalformed},
		{"tokenizer.model: not a SentencePiece model", map[string][]byte{"tokenizer.model": []byte("IQ== 0\n")}, ErrMalformed},
		{"tokenizer_config.json: ", beside("tokenizer_config.json", "["), ErrMalformed},
		{"chat_template is neither", beside("tokenizer_config.json", `{"chat_template":3}`), ErrMalformed},
		{"add_prefix_space", text(`"add_prefix_space":false`, `"add_prefix_space":true`), ErrUnsupported},
		{"ignore_merges true", map[string][]byte{"tokenizer.json": []byte(strings.NewReplacer(`"ignore_merges":false`, `"ignore_merges":true`, `["a b"]`, `[]`).Replace(tinyTokenizer))}, ErrUnsupported},
		{"Prepend", text(`{"type":"NFC"}`, `{"type":"Prepend","prepend":"a"}`), ErrUnsupported},
		{"post_processor", text(`"post_processor":null`, `"post_processor":3`), ErrMalformed},
		{"tokens 5 and 7 are both", text(`"u":3`, `"u":3,"[PAD7]":5`), ErrMalformed},
	} {
		if test.want == "Prepend" {
			test.want = "a normalizer of byte-level BPE"
		}
		dir := spmModelFolder(t, 8, test.files)
		if test.files["tokenizer.json"] == nil {
			os.Remove(filepath.Join(dir, "tokenizer.json"))
		}
		_, err := openModel(t, dir).Vocabulary()
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "engine: "+dir+": ") ||
			test.kind != nil && !errors.Is(err, test.kind) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want one line with %q of kind %v", err, test.want, test.kind)
		}
	}
}
