package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// file is a file of a header and the bytes after it.
func file(header string, body []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), body...)
}

func TestParse(t *testing.T) {
	header := `{"half":{"dtype":"F16","shape":[1],"data_offsets":[8,10]},"__metadata__":{"format":"pt","a":"b"},` +
		`"scalar":{"dtype":"BF16","shape":[],"data_offsets":[10,12]},"none":{"dtype":"F32","shape":[0,3],"data_offsets":[8,8]},` +
		`"nibbles":{"dtype":"F4","shape":[2,2],"data_offsets":[12,14]},"single":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}   `
	metadata, tensors, err := Parse(file(header, []byte("0123456789abcd")))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"format": "pt", "a": "b"}; !reflect.DeepEqual(metadata, want) {
		t.Errorf("metadata %v, want %v", metadata, want)
	}
	want := []Tensor{
		{Entry{"single", "F32", []int{2, 1}}, []byte("01234567")},
		{Entry{"none", "F32", []int{0, 3}}, []byte{}},
		{Entry{"half", "F16", []int{1}}, []byte("89")},
		{Entry{"scalar", "BF16", []int{}}, []byte("ab")},
		{Entry{"nibbles", "F4", []int{2, 2}}, []byte("cd")},
	}
	if !reflect.DeepEqual(tensors, want) {
		t.Errorf("got %v, want %v", tensors, want)
	}
	for _, x := range tensors {
		if x.Bytes() != int64(len(x.Data)) || cap(x.Data) != len(x.Data) {
			t.Errorf("%s of %d bytes has data of %d, capacity %d", x.Name, x.Bytes(), len(x.Data), cap(x.Data))
		}
	}
}

// TestHeader holds the bytes that are written, since digests of files hang on them.
func TestHeader(t *testing.T) {
	entries := []Entry{{"a", "F32", []int{2, 3}}, {`q"<é`, "BF16", []int{}}, {"none", "U8", []int{0}}}
	text := `{"__metadata__":{"x":"1","y":"\u003c"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},` +
		`"q\"\u003cé":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},"none":{"dtype":"U8","shape":[0],"data_offsets":[26,26]}}`
	for _, tt := range []struct{ room, align, want int }{{0, 1, len(text)}, {0, 8, 224}, {0, 64, 248}, {232, 8, 232}, {233, 8, 240}, {400, 64, 440}} {
		header := Header(map[string]string{"y": "<", "x": "1"}, entries, tt.room, tt.align)
		want := file(text+strings.Repeat(" ", tt.want-len(text)), nil)
		if !bytes.Equal(header, want) {
			t.Errorf("room %d, alignment %d:\n%q, want\n%q", tt.room, tt.align, header, want)
		}
		metadata, tensors, err := Parse(append(header, make([]byte, 26)...))
		if err != nil || len(metadata) != 2 || len(tensors) != 3 || !reflect.DeepEqual(tensors[1].Entry, entries[1]) {
			t.Errorf("what was written is read as %v, %v, %v", metadata, tensors, err)
		}
	}
}

// TestRoom holds that an entry takes its room or less wherever it is, and that this is no more than it must be.
func TestRoom(t *testing.T) {
	for digits := range 9 {
		e := Entry{strings.Repeat("n", digits), "F16", []int{1}}
		full := len(e.text(largestOffset-2, largestOffset))
		if r := e.Room(); r%8 != 0 || r < full || r >= full+8 {
			t.Errorf("room of %d bytes for %d", r, full)
		}
	}
}

// hostile are files that must be refused, and a part of what is said about each.
func hostile() map[string][]byte {
	one := func(format string, args ...any) []byte {
		return file(fmt.Sprintf(format, args...), make([]byte, 8))
	}
	huge := binary.LittleEndian.AppendUint64(nil, 1<<63)
	return map[string][]byte{
		"too few":                         []byte("short"),
		"header of 9223372036854775808":   append(huge, "{}"...),
		"header of 99 bytes":              append(binary.LittleEndian.AppendUint64(nil, 99), "{}"...),
		"no JSON object":                  one(`[1]`),
		"goes on after its object":        one(`{} {}`),
		"tensor a: EOF":                   one(`{"a"`),
		"header: ":                        one(`{"a\x":1}`),
		"tensor a is listed twice":        one(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`),
		"__metadata__":                    one(`{"__metadata__":{"a":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`),
		"no shape":                        one(`{"a":{"dtype":"F32","data_offsets":[0,8]}}`),
		"not two data_offsets":            one(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}`),
		"tensor a: json":                  one(`{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`),
		"unknown type \"F31\"":            one(`{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}`),
		"shape [3] has 8 bytes":           one(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`),
		"shape [4294967296 4294967296 4]": one(`{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}}`),
		"shape [9223372036854775809]":     one(`{"a":{"dtype":"F16","shape":[9223372036854775809],"data_offsets":[0,2]},"b":{"dtype":"F16","shape":[3],"data_offsets":[2,8]}}`),
		"lies at bytes 0 to 16 of 8":      one(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`),
		"lies at bytes 8 to 4":            one(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}`),
		"tensor b overlaps":               one(`{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,6]},"b":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}}`),
		"tensor c overlaps":               one(`{"a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]},"c":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}`),
		"4 unused bytes before tensor a":  one(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`),
		"4 unused bytes after the last":   one(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`),
	}
}

func TestHostile(t *testing.T) {
	for want, data := range hostile() {
		_, _, err := Parse(data)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, want an error with %q", data, err, want)
		}
	}
}

// FuzzParse holds that no file does more than be refused, and that the tensors of one that is not are whole.
func FuzzParse(f *testing.F) {
	for _, data := range hostile() {
		f.Add(data)
	}
	f.Add(file(`{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`, make([]byte, 8)))
	f.Add(file(`{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]},"b":{"dtype":"BF16","shape":[],"data_offsets":[2,4]}}`, make([]byte, 4)))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, tensors, err := Parse(data)
		if err != nil {
			return
		}
		total := 0
		for _, x := range tensors {
			total += len(x.Data)
			if x.Bytes() != int64(len(x.Data)) {
				t.Errorf("%v has %d bytes", x.Entry, len(x.Data))
			}
		}
		if header := 8 + int(binary.LittleEndian.Uint64(data)); header+total != len(data) {
			t.Errorf("%d bytes of tensors after %d of header in a file of %d", total, header, len(data))
		}
	})
}
