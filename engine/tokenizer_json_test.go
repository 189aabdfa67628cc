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

// tinyTokenizer is a tokenizer.json of a few tokens, without the outer braces' last members.
const tinyTokenizer = `{"version":"1.0","truncation":null,"added_tokens":[{"id":4,"content":"<x>","special":true,"normalized":false,"lstrip":true}],
"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]},"post_processor":null,"decoder":{"type":"ByteLevel"},
"model":{"type":"BPE","dropout":null,"unk_token":"u","fuse_unk":true,"byte_fallback":false,"ignore_merges":false,
"vocab":{"a":0,"b":1,"ab":2,"u":3},"merges":["a b"]}}`

func TestUnknownBytes(t *testing.T) {
	for _, test := range []struct {
		from, to string
		want     string
	}{
		{"", "", "ab|u|b|<x>|a"},
		{`"fuse_unk":true`, `"fuse_unk":false`, "ab|u|u|b|<x>|a"},
		{`"unk_token":"u"`, `"unk_token":null`, "ab|b|<x>|a"},
	} {
		tok, err := parseTokenizer([]byte(strings.Replace(tinyTokenizer, test.from, test.to, 1)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, id := range tok.Encode([]byte("abzzb  <x>a")) {
			got = append(got, string(tok.Decode([]int32{id})))
		}
		if s := strings.Join(got, "|"); s != test.want {
			t.Errorf("%s: got %s, want %s", test.to, s, test.want)
		}
	}
}

// badTokenizers change the tiny tokenizer so that it must be refused; want is a part of what is
// said about it.
var badTokenizers = []struct {
	from, to, want string
	kind           error
}{
	{`{"version"`, `["version"`, "invalid character", ErrMalformed},
	{`"type":"BPE"`, `"type":"Unigram"`, `tokenizer model "Unigram"`, ErrUnsupported},
	{`"dropout":null`, `"dropout":0.1`, "dropout", ErrUnsupported},
	{`"byte_fallback":false`, `"byte_fallback":true`, "byte_fallback", ErrUnsupported},
	{`"unk_token":"u"`, `"end_of_word_suffix":"</w>"`, "end_of_word_suffix", ErrUnsupported},
	{`"unk_token":"u"`, `"unk_token":"v"`, `the unknown token "v"`, ErrMalformed},
	{`{"a":0,"b":1,"ab":2,"u":3}`, `{}`, "no vocabulary", ErrMalformed},
	{`"u":3`, `"u":2`, "have the same number 2", ErrMalformed},
	{`"u":3`, `"u":-3`, "has number -3", ErrMalformed},
	{`"u":3`, `"u":2000000000`, "has number 2000000000", ErrMalformed},
	{`"u":3`, `"<x>":3`, `added token "<x>" has number 4 and in the vocabulary 3`, ErrMalformed},
	{`"id":4`, `"id":3`, `have the same number 3`, ErrMalformed},
	{`["a b"]`, `["a u"]`, `merge 0, of "a" and "u"`, ErrMalformed},
	{`["a b"]`, `["a  b"]`, `not two tokens`, ErrMalformed},
	{`["a b"]`, `["ab"]`, `not two tokens`, ErrMalformed},
	{`["a b"]`, `[["a"]]`, `a merge of 1 tokens`, ErrMalformed},
	{`["a b"]`, `[3]`, `json`, ErrMalformed},
	{`"type":"NFC"`, `"type":"NFKC"`, `normalizer "NFKC"`, ErrUnsupported},
	{`"type":"Digits"`, `"type":"Metaspace"`, `pre-tokenizer "Metaspace"`, ErrUnsupported},
	{`{"type":"Digits","individual_digits":true}`, `{"type":"Split","pattern":{"Regex":"\\w+"},"behavior":"Isolated"}`, `expression \w+`, ErrUnsupported},
	{`{"type":"Digits","individual_digits":true}`, `{"type":"Split","pattern":{"String":" "},"behavior":"Isolated"}`, `at the string " "`, ErrUnsupported},
	{`"type":"Digits"`, `"type":"ByteLevel"`, "only ByteLevel", ErrUnsupported},
	{`{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`, `{"type":"Digits"}`, "only ByteLevel", ErrUnsupported},
	{`"decoder":{"type":"ByteLevel"}`, `"decoder":{"type":"Metaspace"}`, "decoder", ErrUnsupported},
	{`"pre_tokenizer":`, `"pre_tokenizer":null,"other":`, "without pre-tokenizer", ErrUnsupported},
}

func TestParseTokenizerBad(t *testing.T) {
	for _, test := range badTokenizers {
		data := strings.Replace(tinyTokenizer, test.from, test.to, 1)
		if data == tinyTokenizer {
			t.Fatalf("%s is not in the tokenizer", test.from)
		}
		if _, err := parseTokenizer([]byte(data)); err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.kind) {
			t.Errorf("%s: %v, want an error with %q of kind %v", test.to, err, test.want, test.kind)
		}
	}
}

// TestSplitBehavior refuses a Split that drops text.
func TestSplitBehavior(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(tokenizerFolder, "qwen2.json"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if _, err := parseTokenizer([]byte(strings.Replace(text, `"Isolated"`, `"Removed"`, 1))); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Removed: %v", err)
	}
	kept := strings.Replace(strings.Replace(text, `"Isolated"`, `"Removed"`, 1), `"invert":false`, `"invert":true`, 1)
	if _, err := parseTokenizer([]byte(kept)); err != nil {
		t.Errorf("Removed, inverted: %v", err)
	}
}

// tinySPM is a tokenizer.json of SentencePiece's kind in its older form.
const tinySPM = `{"added_tokens":[{"id":1,"content":"<s>","special":true,"normalized":true}],"normalizer":{"type":"Sequence","normalizers":[
{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},"decoder":{"type":"Sequence","decoders":[
{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}]},
"model":{"unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"<s>":1,"<0x0A>":2,"▁":3,"a":4,"▁a":5,"é":6},"merges":["▁ a"]}}`

// badSPM change it so that it must be refused.
var badSPM = []struct {
	from, to, want string
	kind           error
}{
	{`{"type":"Prepend","prepend":"▁"}`, `{"type":"Lowercase"}`, `normalizer "Lowercase"`, ErrUnsupported},
	{`{"String":" "}`, `{"Regex":"\\s"}`, `Replace of the expression \s`, ErrUnsupported},
	{`{"String":" "}`, `{"String":""}`, `normalizer "Replace"`, ErrUnsupported},
	{`{"type":"Fuse"}`, `{"type":"WordPiece"}`, `decoder "WordPiece"`, ErrUnsupported},
	{`"decoder"`, `"pre_tokenizer":{"type":"ByteLevel"},"decoder"`, "decoder that is not ByteLevel", ErrUnsupported},
	{`"decoder"`, `"pre_tokenizer":{"type":"Whitespace"},"decoder"`, `pre-tokenizer "Whitespace"`, ErrUnsupported},
	{`"decoder"`, `"pre_tokenizer":{"type":"Metaspace","replacement":"▁▁"},"decoder"`, `the replacement "▁▁"`, ErrMalformed},
	{`"decoder"`, `"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"last"},"decoder"`, `prepend_scheme "last"`, ErrUnsupported},
	{`"decoder"`, `"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"Metaspace","replacement":"▁"}]},"decoder"`, "Metaspace after another", ErrUnsupported},
	{`"unk_token":"<unk>"`, `"unk_token":"<u>"`, `the unknown token "<u>"`, ErrMalformed},
	{`["▁ a"]`, `["a é"]`, `merge 0, of "a" and "é"`, ErrMalformed},
}

func TestParseTokenizerBadSPM(t *testing.T) {
	if _, err := parseTokenizer([]byte(tinySPM)); err != nil {
		t.Fatal(err)
	}
	for _, test := range badSPM {
		data := strings.Replace(tinySPM, test.from, test.to, 1)
		if data == tinySPM {
			t.Fatalf("%s is not in the tokenizer", test.from)
		}
		if _, err := parseTokenizer([]byte(data)); err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.kind) {
			t.Errorf("%s: %v, want an error with %q of kind %v", test.to, err, test.want, test.kind)
		}
	}
}

// FuzzTokenizerJSON holds that no file does more than be refused, that a tokenizer gives tokens of
// its vocabulary, and that the vocabulary in neutral form gives the tokens that the tokenizer.json
// made of it gives.
func FuzzTokenizerJSON(f *testing.F) {
	f.Add([]byte(tinyTokenizer), []byte("ab <x> zz12é"))
	for _, test := range badTokenizers {
		f.Add([]byte(strings.Replace(tinyTokenizer, test.from, test.to, 1)), []byte("ab"))
	}
	for _, pattern := range slices.Sorted(maps.Keys(scanners)) {
		quoted, err := json.Marshal(pattern)
		if err != nil {
			f.Fatal(err)
		}
		split := `{"type":"Split","pattern":{"Regex":` + string(quoted) + `},"behavior":"Isolated"}`
		f.Add([]byte(strings.Replace(tinyTokenizer, `{"type":"Digits","individual_digits":true}`, split, 1)), []byte("it's \n 1234 xAb\u0301 数\u3000。"))
	}
	f.Add([]byte(tinySPM), []byte("<s> a\n é\xff"))
	for _, test := range badSPM {
		f.Add([]byte(strings.Replace(tinySPM, test.from, test.to, 1)), []byte("a  a"))
	}
	f.Add(spmVariants(f)["first"], []byte("<s> the level\n"))
	f.Fuzz(func(t *testing.T, data, text []byte) {
		tok, err := parseTokenizer(data)
		if err != nil {
			return
		}
		encode := func(tok *Tokenizer) []int32 {
			ids := tok.Encode(text)
			for _, id := range ids {
				if id < 0 || int(id) >= tok.Vocab() {
					t.Errorf("token %d of %d", id, tok.Vocab())
				}
			}
			return ids
		}
		encode(tok)
		files := map[string][]byte{"tokenizer.json": data}
		for _, name := range []string{"tokenizer.model", "added_tokens.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json"} {
			files[name] = nil
		}
		v, err := (&folderTokenizer{config: Config{Vocab: tok.Vocab()}, model: []byte("{}"), files: files}).vocabulary()
		if err != nil {
			return
		}
		if tok, err = v.tokenizer(); err != nil {
			return
		}
		want := encode(tok)
		made, err := v.TokenizerJSON()
		if err != nil {
			return
		}
		if tok, err = parseTokenizer(made); err != nil {
			t.Fatal(err)
		}
		if got := encode(tok); v.Kind == VocabularyBPE && !slices.Equal(got, want) {
			t.Errorf("%q gives %v, want %v", text, got, want)
		}
		if _, err := v.TokenizerConfigJSON(); err != nil {
			t.Fatal(err)
		}
	})
}
