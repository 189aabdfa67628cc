package export

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
)

// TestHeader holds every byte of a header.
func TestHeader(t *testing.T) {
	f := &file{}
	f.meta.set("a", uint32Value(7))
	f.meta.set("b", stringValue("xy"))
	f.meta.set("c", int32sValue([]int{1, -1}))
	f.meta.set("d", stringsValue([]string{"q", ""}))
	f.meta.set("e", float32Value(1.5))
	f.meta.set("f", boolValue(true))
	f.meta.set("a", uint32Value(8)) // in its place
	f.tensors = []*tensor{
		{name: "m", shape: []int{3, 32}, kind: kernel.Q4_0},
		{name: "v", shape: []int{5}, kind: F32},
	}
	want := strings.Join([]string{
		"GGUF", "\x03\x00\x00\x00", "\x02\x00\x00\x00\x00\x00\x00\x00", "\x06\x00\x00\x00\x00\x00\x00\x00",
		"\x01\x00\x00\x00\x00\x00\x00\x00a", "\x04\x00\x00\x00", "\x08\x00\x00\x00",
		"\x01\x00\x00\x00\x00\x00\x00\x00b", "\x08\x00\x00\x00", "\x02\x00\x00\x00\x00\x00\x00\x00xy",
		"\x01\x00\x00\x00\x00\x00\x00\x00c", "\x09\x00\x00\x00", "\x05\x00\x00\x00", "\x02\x00\x00\x00\x00\x00\x00\x00", "\x01\x00\x00\x00", "\xff\xff\xff\xff",
		"\x01\x00\x00\x00\x00\x00\x00\x00d", "\x09\x00\x00\x00", "\x08\x00\x00\x00", "\x02\x00\x00\x00\x00\x00\x00\x00", "\x01\x00\x00\x00\x00\x00\x00\x00q", "\x00\x00\x00\x00\x00\x00\x00\x00",
		"\x01\x00\x00\x00\x00\x00\x00\x00e", "\x06\x00\x00\x00", "\x00\x00\xc0\x3f",
		"\x01\x00\x00\x00\x00\x00\x00\x00f", "\x07\x00\x00\x00", "\x01",
		"\x01\x00\x00\x00\x00\x00\x00\x00m", "\x02\x00\x00\x00", "\x20\x00\x00\x00\x00\x00\x00\x00", "\x03\x00\x00\x00\x00\x00\x00\x00", "\x02\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00",
		"\x01\x00\x00\x00\x00\x00\x00\x00v", "\x01\x00\x00\x00", "\x05\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00", "\x40\x00\x00\x00\x00\x00\x00\x00", // 3 blocks of 18 bytes, padded
	}, "")
	got := f.header()
	if len(got)%alignment != 0 || len(got)-len(want) >= alignment {
		t.Errorf("header of %d bytes for %d", len(got), len(want))
	}
	if !bytes.Equal(bytes.TrimRight(got, "\x00"), bytes.TrimRight([]byte(want), "\x00")) {
		t.Errorf("header\n%x\nwant\n%x", got, want)
	}
}

// TestPick takes elements out of the numbers of each layer.
func TestPick(t *testing.T) {
	v := int32sValue([]int{4, 5, 6})
	if got, ok := pick(v, 3, []int{0, 2}); !ok || !bytes.Equal(got, int32sValue([]int{4, 6})) {
		t.Errorf("%x, %v", got, ok)
	}
	for name, v := range map[string][]byte{
		"another number": v, "strings": stringsValue([]string{"a", "b"}), "a number": uint32Value(2), "cut": int32sValue([]int{1, 2})[:20], "nothing": nil,
	} {
		if got, ok := pick(v, 2, []int{0}); ok {
			t.Errorf("%s: %x", name, got)
		}
	}
	if s, ok := stringOf(stringValue("x")); s != "x" || !ok {
		t.Errorf("%q, %v", s, ok)
	}
	for _, v := range [][]byte{nil, uint32Value(1), stringValue("abc")[:13]} {
		if s, ok := stringOf(v); ok {
			t.Errorf("%x gives %q", v, s)
		}
	}
}

// TestTypes holds what the tables of types say.
func TestTypes(t *testing.T) {
	for _, k := range append([]kernel.GGMLType{F32, F16, BF16}, kernel.GGMLTypes()...) {
		if _, ok := fileTypes[k]; !ok {
			t.Errorf("%s has no file type", typeName(k))
		}
	}
	for _, c := range []struct {
		cols int
		bits float64
		want kernel.GGMLType
	}{{1536, 3.25, kernel.Q3K}, {1536, 2.5, kernel.Q2K}, {1536, 4.2, kernel.Q4K}, {576, 3.25, kernel.Q4_0}, {576, 9, kernel.Q8_0}, {576, 15, F16}, {7, 4, F16}} {
		if got := nearestType(c.cols, c.bits); got != c.want {
			t.Errorf("%v bits in rows of %d: %s, want %s", c.bits, c.cols, typeName(got), typeName(c.want))
		}
	}
	list := string(TensorTypes([]Tensor{{Name: "blk.0.attn_q.weight", Unit: "q", Type: "q4_K"}, {Name: "blk.0.attn_norm.weight", Type: "f32"}}))
	if want := "^blk\\.0\\.attn_q\\.weight$=q4_K\n"; list != want {
		t.Errorf("%q, want %q", list, want)
	}
	order := rotaryPairs(4)
	var rows []int
	for r := range 8 {
		rows = append(rows, order(r))
	}
	if !slices.Equal(rows, []int{0, 2, 1, 3, 4, 6, 5, 7}) {
		t.Errorf("rotary pairs %v", rows)
	}
}
