package engine

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// spmModel is what a tokenizer.model says: SentencePiece's own file, a protocol buffer.
//
// https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
type spmModel struct {
	pieces             []VocabularyToken
	kind               uint64 // of the training: 1 unigram, 2 BPE, 3 words, 4 characters
	suffix             bool   // spaces go to the end of words
	bos, eos, unk, pad int
	charsMap           bool // characters are mapped to others first
	prefix             bool // a space is put before the text
	squeeze            bool // several spaces become one
	escape             bool // a space is written as ▁
}

// spmKindBPE is the value of spmModel.kind that this package encodes with.
const spmKindBPE = 2

// parseSentencePiece reads a tokenizer.model.
func parseSentencePiece(data []byte) (*spmModel, error) {
	// The values that fields have that are not there.
	m := &spmModel{kind: 1, unk: 0, bos: 1, eos: 2, pad: -1, prefix: true, squeeze: true, escape: true}
	err := protoFields(data, func(field int, v protoValue) error {
		switch field {
		case 1:
			return m.addPiece(v.bytes)
		case 2:
			return protoFields(v.bytes, m.trainer)
		case 3:
			return protoFields(v.bytes, m.normalizer)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	switch {
	case len(m.pieces) == 0:
		return nil, malformed("not a SentencePiece model: it has no pieces")
	case m.kind != spmKindBPE:
		return nil, unsupported("a SentencePiece model of kind %d (want 2, BPE)", m.kind)
	case m.suffix:
		return nil, unsupported("a SentencePiece model with treat_whitespace_as_suffix")
	case m.charsMap:
		return nil, unsupported("a SentencePiece model whose normalizer maps characters")
	case m.squeeze:
		return nil, unsupported("a SentencePiece model with remove_extra_whitespaces")
	case !m.escape:
		return nil, unsupported("a SentencePiece model without escape_whitespaces")
	}
	return m, nil
}

// addPiece reads a piece of the vocabulary.
func (m *spmModel) addPiece(data []byte) error {
	t := VocabularyToken{Type: TokenNormal}
	err := protoFields(data, func(field int, v protoValue) error {
		switch field {
		case 1:
			t.Text = string(v.bytes)
		case 2:
			t.Score = math.Float32frombits(uint32(v.number))
		case 3:
			t.Type = TokenType(int32(v.number))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if t.Text == "" || !utf8.ValidString(t.Text) {
		return malformed("piece %d, %q, is no text", len(m.pieces), t.Text)
	}
	m.pieces = append(m.pieces, t)
	return nil
}

// trainer reads a field of how the model was trained.
func (m *spmModel) trainer(field int, v protoValue) error {
	switch field {
	case 3:
		m.kind = v.number
	case 24:
		m.suffix = v.number != 0
	case 40:
		m.unk = int(int32(v.number))
	case 41:
		m.bos = int(int32(v.number))
	case 42:
		m.eos = int(int32(v.number))
	case 43:
		m.pad = int(int32(v.number))
	}
	return nil
}

// normalizer reads a field of what is done to text first.
func (m *spmModel) normalizer(field int, v protoValue) error {
	switch field {
	case 2:
		m.charsMap = len(v.bytes) > 0
	case 3:
		m.prefix = v.number != 0
	case 4:
		m.squeeze = v.number != 0
	case 5:
		m.escape = v.number != 0
	}
	return nil
}

// protoValue is the value of a field: a number or bytes, the other is empty.
type protoValue struct {
	number uint64
	bytes  []byte
}

// protoFields calls f for each field of a message of a protocol buffer, in order.
//
// https://protobuf.dev/programming-guides/encoding/
func protoFields(data []byte, f func(field int, v protoValue) error) error {
	varint := func() (uint64, bool) {
		x, n := binary.Uvarint(data)
		if n <= 0 {
			return 0, false
		}
		data = data[n:]
		return x, true
	}
	take := func(n uint64) ([]byte, bool) {
		if n > uint64(len(data)) {
			return nil, false
		}
		b := data[:n]
		data = data[n:]
		return b, true
	}
	for len(data) > 0 {
		tag, ok := varint()
		if !ok || tag>>3 == 0 || tag>>3 > math.MaxInt32 {
			return malformed("not a SentencePiece model: no tag of a field where one should be")
		}
		var v protoValue
		switch tag & 7 {
		case 0:
			v.number, ok = varint()
		case 1:
			var b []byte
			if b, ok = take(8); ok {
				v.number = binary.LittleEndian.Uint64(b)
			}
		case 2:
			var n uint64
			if n, ok = varint(); ok {
				v.bytes, ok = take(n)
			}
		case 5:
			var b []byte
			if b, ok = take(4); ok {
				v.number = uint64(binary.LittleEndian.Uint32(b))
			}
		default:
			return malformed("not a SentencePiece model: a field of wire type %d", tag&7)
		}
		if !ok {
			return malformed("not a SentencePiece model: field %d does not end (truncated?)", tag>>3)
		}
		if err := f(int(tag>>3), v); err != nil {
			return err
		}
	}
	return nil
}
