package engine

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// tokenCase is a text and its tokens under several tokenizers, made by
// bench/peers/golden_tokens.py.
type tokenCase struct {
	Text string             `json:"text"`
	Hex  string             `json:"hex"` // instead of Text where that is not UTF-8
	IDs  map[string][]int32 `json:"ids"`
}

func (c tokenCase) bytes(t *testing.T) []byte {
	t.Helper()
	if c.Hex == "" {
		return []byte(c.Text)
	}
	b, err := hex.DecodeString(c.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// compareTokens compares every case of a file with the tokenizers of these names.
func compareTokens(t *testing.T, path string, tokenizers map[string]*Tokenizer) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	compared, wrong := 0, 0
	for d.More() {
		var c tokenCase
		if err := d.Decode(&c); err != nil {
			t.Fatal(err)
		}
		text := c.bytes(t)
		if len(c.IDs) != len(tokenizers) {
			t.Fatalf("%q has tokens of %d tokenizers, want %d", text, len(c.IDs), len(tokenizers))
		}
		for name, want := range c.IDs {
			compared++
			if got := tokenizers[name].Encode(text); !slices.Equal(got, want) {
				if wrong++; wrong <= 20 {
					t.Errorf("%s: %.200q\n got %v %q\nwant %v %q", name, text,
						got, tokenizers[name].Decode(got), want, tokenizers[name].Decode(want))
				}
			}
		}
	}
	t.Logf("%d encodings compared, %d differ", compared, wrong)
	if compared == 0 {
		t.Error("no cases")
	}
}

func readTokenizer(t testing.TB, path string) *Tokenizer {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := parseTokenizer(data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return tok
}

const tokenizerFolder = "testdata/tokenizers"

var tokenizerKinds = []string{
	"gpt2", "llama3", "qwen2", "smollm", "default", "flags", "tekken", "gpt4o", "deepseek-llm", "deepseek-coder",
}

// TestTokens compares with the reference tokenizer, one small tokenizer for each kind of
// pre-tokenizer. PARETOPRESS_TOKENS names another folder of cases (testdata/README.md).
func TestTokens(t *testing.T) {
	folder := tokenizerFolder
	if f := os.Getenv("PARETOPRESS_TOKENS"); f != "" {
		folder = f
	}
	tokenizers := map[string]*Tokenizer{}
	for _, kind := range tokenizerKinds {
		tokenizers[kind] = readTokenizer(t, filepath.Join(folder, kind+".json"))
	}
	compareTokens(t, filepath.Join(folder, "cases.json"), tokenizers)
}

// TestTokensSmolLM2 compares with the reference on a real vocabulary.
func TestTokensSmolLM2(t *testing.T) {
	path := os.Getenv("PARETOPRESS_SMOLLM2")
	if path == "" {
		t.Skip("PARETOPRESS_SMOLLM2 does not name the GGUF file of SmolLM2-135M-Instruct")
	}
	ck, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	tok, err := ck.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	folder := tokenizerFolder
	if f := os.Getenv("PARETOPRESS_TOKENS"); f != "" {
		folder = f
	}
	compareTokens(t, filepath.Join(folder, "smollm2.json"), map[string]*Tokenizer{"smollm2": tok})
}

// TestDecodeInverts holds that encoding loses nothing where every byte has a token and the text is
// UTF-8 in form NFC.
func TestDecodeInverts(t *testing.T) {
	texts := []string{"", "a", "don't  stop\n", "naïve 数据 😀 \x00", "<|im_start|>x", strings.Repeat("ab ", 1000)}
	for _, kind := range []string{"gpt2", "llama3", "qwen2", "default"} {
		tok := readTokenizer(t, filepath.Join(tokenizerFolder, kind+".json"))
		for _, text := range texts {
			if got := tok.Decode(tok.Encode([]byte(text))); string(got) != text {
				t.Errorf("%s: %.80q comes back as %.80q", kind, text, got)
			}
		}
	}
}

// TestDecodeUnknown holds that numbers outside the vocabulary give nothing.
func TestDecodeUnknown(t *testing.T) {
	tok := readTokenizer(t, filepath.Join(tokenizerFolder, "gpt2.json"))
	if got := tok.Decode([]int32{-1, int32(tok.Vocab()), 1 << 30}); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

// TestReplaceInvalid has the examples of Unicode 3.9, tables 3-8 to 3-11.
func TestReplaceInvalid(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82A", "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdA"},
		{"\xed\xa0\x80\xed\xbf\xbf\xed\xafA", "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdA"},
		{"\xf4\x91\x92\x93\xffA\x80\xbfB", "\ufffd\ufffd\ufffd\ufffd\ufffdA\ufffd\ufffdB"},
		{"\xe1\x80\xe2\xf0\x91\x92\xf1\xbfA", "\ufffd\ufffd\ufffd\ufffdA"},
		{"ok \ufffd é", "ok \ufffd é"},
		{"\xf4\x8f\xbf", "\ufffd"},
	} {
		if got := replaceInvalid(test.in); got != test.want {
			t.Errorf("%q: got %q, want %q", test.in, got, test.want)
		}
	}
}

// TestLongWord holds that a word without end does not take quadratic time.
func TestLongWord(t *testing.T) {
	if testing.Short() {
		t.Skip("half a second of merging")
	}
	tok := readTokenizer(t, filepath.Join(tokenizerFolder, "gpt2.json"))
	elapsed := func(n int) time.Duration {
		text := bytes.Repeat([]byte("the"), n)
		start := time.Now()
		tok.Encode(text)
		return time.Since(start)
	}
	elapsed(1000)
	small, large := elapsed(10_000), elapsed(320_000)
	if large > 32*10*small { // 32 times the work and what log n and the memory cost; 1024 times if quadratic
		t.Errorf("%v for 30 kB, %v for 960 kB", small, large)
	}
}

// TestMerges holds a word against merging by definition: again and again, the pair of lowest rank
// that stands leftmost.
func TestMerges(t *testing.T) {
	for _, kind := range tokenizerKinds {
		tok := readTokenizer(t, filepath.Join(tokenizerFolder, kind+".json"))
		b := tok.bpe
		b.whole = false
		for _, word := range []string{"thethethe", " function", " candidates", "aaaaaaaaaaa", "数据模型", "naïvenaïve", "levellevelsx"} {
			var want []int32
			for i := range len(word) {
				if id := b.bytes[word[i]]; id >= 0 {
					want = append(want, id)
				}
			}
			for {
				best, at := merge{rank: 1 << 30}, -1
				for i := range len(want) - 1 {
					if m, ok := b.merges[[2]int32{want[i], want[i+1]}]; ok && m.rank < best.rank {
						best, at = m, i
					}
				}
				if at < 0 {
					break
				}
				want = slices.Replace(want, at, at+2, best.id)
			}
			if got := b.encode(nil, word, new(merger)); !slices.Equal(got, want) {
				t.Errorf("%s: %q: got %v, want %v", kind, word, got, want)
			}
		}
	}
}

// FuzzTokenizer holds that any text is encoded into tokens of the vocabulary and that they decode
// to the text where that is UTF-8 and nothing normalises it.
func FuzzTokenizer(f *testing.F) {
	for _, s := range []string{"", "it's 1234 \n\n x", "<|im_start|>a <both> word", "é\xff\xe2\x82", "数据 😀\u0301"} {
		f.Add([]byte(s))
	}
	tokenizers := map[string]*Tokenizer{}
	for _, kind := range tokenizerKinds {
		tokenizers[kind] = readTokenizer(f, filepath.Join(tokenizerFolder, kind+".json"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for kind, tok := range tokenizers {
			ids := tok.Encode(text)
			for _, id := range ids {
				if id < 0 || int(id) >= tok.Vocab() {
					t.Fatalf("%s: token %d of %d", kind, id, tok.Vocab())
				}
			}
			got := tok.Decode(ids)
			if (kind == "gpt2" || kind == "llama3") && utf8.Valid(text) && !bytes.Equal(got, text) {
				t.Fatalf("%s: %q comes back as %q", kind, text, got)
			}
		}
	})
}

// TestNFC holds the composition of this package against that of package norm where that is not
// held to stream-safe text, and against texts in which it is.
func TestNFC(t *testing.T) {
	for r := rune(0x80); r <= utf8.MaxRune; r++ {
		if p := norm.NFD.PropertiesString(string(r)); p.CCC() == 0 && p.Decomposition() == nil && r%64 != 0 {
			continue // a character like any other: now and then will do
		}
		s := "e" + string(r) + "\u0327\u0301" + string(r) + "a"
		if utf8.ValidRune(r) {
			if got, want := string(compose(decompose(s))), norm.NFC.String(s); got != want {
				t.Errorf("%U: got %+q, want %+q", r, got, want)
			}
		}
	}
	marks := strings.Repeat("\u0301", 100)
	for _, test := range []struct{ in, want string }{
		{"e" + marks, "é" + marks[2:]},
		{marks, marks},
		{"e" + marks + "\u0323", "ẹ" + marks}, // the dot below comes first, and blocks nothing
		{"\u1100\u1161\u11a8" + marks, "각" + marks},
	} {
		if got := nfc(test.in); got != test.want {
			t.Errorf("%+q: got %+q, want %+q", test.in, got, test.want)
		}
	}
}
