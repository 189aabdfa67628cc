package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// spmFolder is the folder of golden files of tokenizers of SentencePiece's kind.
func spmFolder() string {
	if f := os.Getenv("PARETOPRESS_TOKENS"); f != "" {
		if _, err := os.Stat(filepath.Join(f, "spm.model")); err == nil {
			return f
		}
	}
	return tokenizerFolder
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// spmVariants are the tokenizer.json of the golden model and its variants, by name.
func spmVariants(tb testing.TB) map[string][]byte {
	tb.Helper()
	base := readFile(tb, filepath.Join(spmFolder(), "spm.json"))
	var changes map[string]map[string]json.RawMessage
	if err := json.Unmarshal(readFile(tb, filepath.Join(spmFolder(), "spm_variants.json")), &changes); err != nil {
		tb.Fatal(err)
	}
	out := map[string][]byte{"spm": base}
	for name, change := range changes {
		var doc map[string]json.RawMessage
		if err := json.Unmarshal(base, &doc); err != nil {
			tb.Fatal(err)
		}
		for key, value := range change {
			if key == "model" {
				var model map[string]json.RawMessage
				if err := json.Unmarshal(doc[key], &model); err != nil {
					tb.Fatal(err)
				}
				var members map[string]json.RawMessage
				if err := json.Unmarshal(value, &members); err != nil {
					tb.Fatal(err)
				}
				for k, v := range members {
					model[k] = v
				}
				merged, err := json.Marshal(model)
				if err != nil {
					tb.Fatal(err)
				}
				value = merged
			}
			doc[key] = value
		}
		data, err := json.Marshal(doc)
		if err != nil {
			tb.Fatal(err)
		}
		out[name] = data
	}
	return out
}

// TestSPMTokens compares with the reference tokenizer, for every form in which tokenizer.json has a
// tokenizer of SentencePiece's kind.
func TestSPMTokens(t *testing.T) {
	tokenizers := map[string]*Tokenizer{}
	for name, data := range spmVariants(t) {
		tok, err := parseTokenizer(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		tokenizers[name] = tok
	}
	compareTokens(t, filepath.Join(spmFolder(), "spm_cases.json"), tokenizers)
}

// spmModelFolder is a model folder with these files and as many rows in its embedding.
func spmModelFolder(tb testing.TB, rows int, files map[string][]byte) string {
	tb.Helper()
	m := small()
	m.vocab = rows
	m.fill()
	dir := tb.TempDir()
	m.write(tb, dir)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func openModel(tb testing.TB, ref string) *Checkpoint {
	tb.Helper()
	ck, err := Open(ref)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ck.Close() })
	return ck
}

// TestSPMModel compares a folder that has tokenizer.model alone with SentencePiece itself.
func TestSPMModel(t *testing.T) {
	ck := openModel(t, spmModelFolder(t, 800, map[string][]byte{"tokenizer.model": readFile(t, filepath.Join(spmFolder(), "spm.model"))}))
	tok, err := ck.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	compareTokens(t, filepath.Join(spmFolder(), "spm_pieces.json"), map[string]*Tokenizer{"sentencepiece": tok})
	if got := string(tok.Decode(tok.Encode([]byte("naïve 😀 <|im_end|>\n")))); got != " naïve 😀 <|im_end|> \n" {
		t.Errorf("it comes back as %q", got)
	}
}

// TestSPMForms holds that the forms of one model give the same tokens: tokenizer.json,
// tokenizer.model, GGUF, and the tokenizer.json made from GGUF.
func TestSPMForms(t *testing.T) {
	model, tokenizerJSON := readFile(t, filepath.Join(spmFolder(), "spm.model")), readFile(t, filepath.Join(spmFolder(), "spm.json"))
	const config = `{"add_bos_token":true,"bos_token":"<s>","eos_token":{"content":"</s>"},"unk_token":"<unk>","added_tokens_decoder":{
		"0":{"content":"<unk>","special":true},"1":{"content":"<s>","special":true},"2":{"content":"</s>","special":true}}}`
	forms := map[string]map[string][]byte{
		"model":      {"tokenizer.model": model},
		"json":       {"tokenizer.json": tokenizerJSON},
		"both":       {"tokenizer.json": tokenizerJSON, "tokenizer.model": model, "tokenizer_config.json": []byte(config)},
		"of another": {"tokenizer.json": tokenizerJSON, "tokenizer.model": []byte("\x0a\x03\x0a\x01x\x12\x02\x18\x02\x1a\x02\x20\x00")},
	}
	var cases []tokenCase
	if err := json.Unmarshal(readFile(t, filepath.Join(spmFolder(), "spm_cases.json")), &cases); err != nil {
		t.Fatal(err)
	}
	same := func(name string, tok *Tokenizer) {
		t.Helper()
		wrong := 0
		for _, c := range cases {
			text := c.bytes(t)
			if got := tok.Encode(text); !slices.Equal(got, c.IDs["spm"]) {
				if wrong++; wrong <= 5 {
					t.Errorf("%s: %.100q gives %v, want %v", name, text, got, c.IDs["spm"])
				}
			}
		}
		if len(cases) == 0 || wrong > 0 {
			t.Errorf("%s: %d of %d cases differ", name, wrong, len(cases))
		}
	}
	var scores []float32
	for _, name := range []string{"model", "both", "json", "of another"} {
		ck := openModel(t, spmModelFolder(t, 805, forms[name]))
		tok, err := ck.Tokenizer()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(name, tok)
		v, err := ck.Vocabulary()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(v.Tokens) != 805 || v.Kind != VocabularySPM || v.Pre != "default" || v.BOS != 1 || v.EOS != 2 || v.Unknown != 0 || v.Pad != -1 ||
			!v.AddBOS || v.AddEOS || !v.AddSpacePrefix || len(v.Merges) != 0 {
			t.Errorf("%s: vocabulary %.2000s", name, asJSON(t, v))
		}
		if want := (VocabularyToken{"[PAD804]", TokenUnused, -10000}); v.Tokens[804] != want {
			t.Errorf("%s: the last token is %+v, want %+v", name, v.Tokens[804], want)
		}
		// SentencePiece's own scores, also where only merges tell them.
		var now []float32
		for _, token := range v.Tokens {
			if token.Type == TokenNormal {
				now = append(now, token.Score)
			}
		}
		if scores == nil {
			scores = now
		} else if !slices.Equal(now, scores) {
			t.Errorf("%s: scores %v, want %v", name, now[:10], scores[:10])
		}
		g := ggufOf(small())
		setVocabulary(g, v)
		fromGGUF, err := openGGUF(&file{name: "spm.gguf", data: g.bytes()})
		if err != nil {
			t.Fatal(err)
		}
		if tok, err = fromGGUF.Tokenizer(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(name+" as GGUF", tok)
		made, err := v.TokenizerJSON()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if tok, err = parseTokenizer(made); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(name+" as tokenizer.json", tok)
	}
}

// TestSPMRefused has tokenizers that no vocabulary of GGUF stands for.
func TestSPMRefused(t *testing.T) {
	variants := spmVariants(t)
	base := string(variants["spm"])
	bytes := ""
	for b := range 256 {
		bytes += fmt.Sprintf(`,"<0x%02X>":%d`, b, b+9)
	}
	tiny := func(pre, merges string) []byte {
		return []byte(`{"pre_tokenizer":{"type":"Metaspace","replacement":"▁",` + pre + `},"model":{"unk_token":"<unk>","byte_fallback":true,"vocab":{
			"<unk>":0,"▁":1,"a":2,"b":3,"aa":4,"aaa":5,"bb":6,"a▁":7,"▁a":8` + bytes + `},"merges":[` + merges + `]}}`)
	}
	const merges = `"a a","aa a","a aa","b b","a ▁","▁ a"`
	if _, err := openModel(t, spmModelFolder(t, 265, map[string][]byte{"tokenizer.json": tiny(`"split":false`, merges)})).Vocabulary(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		data       []byte
	}{
		{"without byte_fallback", "without byte_fallback", variants["unknown"]},
		{"bytes that are missing", "without the token <0xC3>", variants["some"]},
		{"Metaspace that splits", "inside token 7", tiny(`"split":true`, merges)},
		{"merges of another order", "order that no scores stand for", tiny(`"split":false`, `"a a","aa a","b b","a aa","a ▁","▁ a"`)},
		{"merges that are missing", "does not merge", []byte(strings.Replace(base, `"merges":["▁ b",`, `"merges":[`, 1))},
		{"NFC", "a normalizer of SentencePiece's kind", []byte(strings.Replace(base, `{"type":"Prepend","prepend":"▁"}`, `{"type":"NFC"}`, 1))},
		{"spaces that stay", "does not write spaces", []byte(strings.Replace(base, `,{"type":"Replace","pattern":{"String":" "},"content":"▁"}]`, `]`, 1))},
		{"Digits", "a pre-tokenizer of SentencePiece's kind", []byte(strings.Replace(base, `"pre_tokenizer":null`, `"pre_tokenizer":{"type":"Digits"}`, 1))},
		{"more tokens than rows", "800 tokens and the embedding 700 rows", nil},
	} {
		rows := 800
		if test.data == nil {
			test.data, rows = []byte(base), 700
		}
		ck := openModel(t, spmModelFolder(t, rows, map[string][]byte{"tokenizer.json": test.data}))
		if _, err := ck.Vocabulary(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", test.name, err, test.want)
		}
	}
}

// TestSPMMerges holds merging by scores against its definition: again and again, of the pairs whose
// texts together are a token the one with the highest score, the leftmost of equal ones.
func TestSPMMerges(t *testing.T) {
	v := newVocabulary(VocabularySPM)
	v.Unknown = 0
	add := func(text string, kind TokenType, score float32) {
		v.Tokens = append(v.Tokens, VocabularyToken{text, kind, score})
	}
	add("<unk>", TokenUnknown, 0)
	for _, s := range []string{"▁", "a", "b", "c"} {
		add(s, TokenNormal, -100)
	}
	for i, s := range []string{"aa", "ab", "▁a", "aab", "aaa", "ba", "aaaa", "bab", "▁▁", "ca", "▁▁▁", "abab", "cab"} {
		add(s, TokenNormal, -float32(i/2)) // some are equal
	}
	tok, err := v.tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	scores := map[string]float32{}
	ids := map[string]int32{}
	for id, token := range v.Tokens {
		scores[token.Text], ids[token.Text] = token.Score, int32(id)
	}
	alphabet := []string{"▁", "a", "b", "c"}
	for n := range 1 << 14 { // every text of seven characters
		var parts []string
		for range 7 {
			parts = append(parts, alphabet[n%4])
			n /= 4
		}
		text := strings.Join(parts, "")
		for {
			best := -1
			for i := range len(parts) - 1 {
				score, ok := scores[parts[i]+parts[i+1]]
				if ok && (best < 0 || score > scores[parts[best]+parts[best+1]]) {
					best = i
				}
			}
			if best < 0 {
				break
			}
			parts = slices.Replace(parts, best, best+2, parts[best]+parts[best+1])
		}
		var want []int32
		for _, p := range parts {
			want = append(want, ids[p])
		}
		if got := tok.Encode([]byte(text)); !slices.Equal(got, want) {
			t.Fatalf("%s gives %v, want %q %v", text, got, parts, want)
		}
	}
	if _, err := v.TokenizerJSON(); err == nil || !strings.Contains(err.Error(), "have one score") {
		t.Errorf("equal scores: %v", err)
	}
}
