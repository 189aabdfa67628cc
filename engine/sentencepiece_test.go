package engine

import (
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

// protoField appends a field of a protocol buffer.
func protoField(b []byte, field int, value any) []byte {
	tag := func(wire int) { b = binary.AppendUvarint(b, uint64(field<<3|wire)) }
	switch v := value.(type) {
	case int:
		tag(0)
		return binary.AppendUvarint(b, uint64(v))
	case float32:
		tag(5)
		return binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	case []byte:
		tag(2)
		return append(binary.AppendUvarint(b, uint64(len(v))), v...)
	}
	panic(value)
}

// tinyPieces is a tokenizer.model with the pieces <unk>, a, b and ab.
func tinyPieces() []byte {
	var b []byte
	for i, p := range []string{"<unk>", "a", "b", "ab"} {
		piece := protoField(protoField(nil, 1, []byte(p)), 2, float32(-i))
		if i == 0 {
			piece = protoField(piece, 3, int(TokenUnknown))
		}
		b = protoField(b, 1, piece)
	}
	b = protoField(b, 2, protoField(protoField(nil, 3, spmKindBPE), 43, -1))
	return protoField(b, 3, protoField(nil, 4, 0))
}

func TestSentencePiece(t *testing.T) {
	m, err := parseSentencePiece(tinyPieces())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.pieces) != 4 || m.pieces[0] != (VocabularyToken{"<unk>", TokenUnknown, 0}) || m.pieces[3] != (VocabularyToken{"ab", TokenNormal, -3}) ||
		m.bos != 1 || m.eos != 2 || m.unk != 0 || m.pad != -1 || !m.prefix {
		t.Errorf("got %+v", *m)
	}
	real, err := parseSentencePiece(readFile(t, filepath.Join(tokenizerFolder, "spm.model")))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[TokenType]int{}
	for _, p := range real.pieces {
		counts[p.Type]++
	}
	if counts[TokenByte] != 256 || counts[TokenControl] != 2 || counts[TokenUnknown] != 1 || counts[TokenUserDefined] != 3 {
		t.Errorf("pieces by type: %v", counts)
	}
}

// TestSentencePieceBad has models that must be refused.
func TestSentencePieceBad(t *testing.T) {
	tiny := tinyPieces()
	with := func(field int, value any) []byte { return protoField(append([]byte{}, tiny...), field, value) }
	for _, test := range []struct {
		name, want string
		data       []byte
		kind       error
	}{
		{"nothing", "no pieces", nil, ErrMalformed},
		{"tiktoken's file", "not a SentencePiece model", []byte("IQ== 0\nIg== 1\nIw== 2\n"), ErrMalformed},
		{"field 0", "no tag", []byte{0, 1}, ErrMalformed},
		{"groups", "wire type 3", []byte{1<<3 | 3}, ErrMalformed},
		{"a length beyond the end", "does not end", []byte{1<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f}, ErrMalformed},
		{"a number without end", "does not end", []byte{2 << 3, 0xff, 0xff}, ErrMalformed},
		{"an empty piece", "piece 4", with(1, protoField(nil, 2, float32(1))), ErrMalformed},
		{"a piece of broken text", "is no text", with(1, protoField(nil, 1, []byte{0xff})), ErrMalformed},
		{"unigram", "of kind 1", with(2, protoField(nil, 3, 1)), ErrUnsupported},
		{"suffixes", "treat_whitespace_as_suffix", with(2, protoField(nil, 24, 1)), ErrUnsupported},
		{"NFKC", "maps characters", with(3, protoField(nil, 2, []byte{1})), ErrUnsupported},
		{"squeezed spaces", "remove_extra_whitespaces", with(3, protoField(nil, 4, 1)), ErrUnsupported},
		{"spaces as they are", "escape_whitespaces", with(3, protoField(nil, 5, 0)), ErrUnsupported},
	} {
		if _, err := parseSentencePiece(test.data); err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.kind) {
			t.Errorf("%s: %v, want an error with %q of kind %v", test.name, err, test.want, test.kind)
		}
	}
	for n := range tiny {
		_, err := parseSentencePiece(tiny[:n])
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%d of %d bytes: %v", n, len(tiny), err)
		}
	}
}

// FuzzSentencePiece holds that no file does more than be refused, and that a tokenizer gives
// tokens of its vocabulary.
func FuzzSentencePiece(f *testing.F) {
	f.Add(tinyPieces(), []byte("ab a\xff"))
	f.Add(readFile(f, filepath.Join(tokenizerFolder, "spm.model")), []byte("the level 數 <s>"))
	f.Fuzz(func(t *testing.T, data, text []byte) {
		m, err := parseSentencePiece(data)
		if err != nil {
			return
		}
		v, err := (&folderTokenizer{config: Config{Vocab: len(m.pieces) + 1}, files: map[string][]byte{"added_tokens.json": nil}}).piecesVocabulary(m, nil)
		if err != nil {
			return
		}
		tok, err := v.tokenizer()
		if err != nil {
			return
		}
		for _, id := range tok.Encode(text) {
			if id < 0 || int(id) >= tok.Vocab() {
				t.Errorf("token %d of %d", id, tok.Vocab())
			}
		}
		tok.Decode([]int32{0, 1, 2})
	})
}
