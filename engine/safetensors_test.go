package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// safetensorsFile is a file of a header and the bytes after it.
func safetensorsFile(header string, body []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), body...)
}

func TestSafetensors(t *testing.T) {
	body := binary.LittleEndian.AppendUint32(nil, math.Float32bits(1.5))
	body = binary.LittleEndian.AppendUint32(body, math.Float32bits(-2))
	body = append(body, 0x00, 0x3c, 0x80, 0x3f, 7, 8)
	header := `{"__metadata__":{"format":"pt"},"half":{"dtype":"F16","shape":[1],"data_offsets":[8,10]},` +
		`"brain":{"dtype":"BF16","shape":[1,1],"data_offsets":[10,12]},"none":{"dtype":"F32","shape":[0,3],"data_offsets":[8,8]},` +
		`"int":{"dtype":"I8","shape":[2],"data_offsets":[12,14]},"single":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}   `
	tensors, err := parseSafetensors(safetensorsFile(header, body))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]float32{"half": {1}, "brain": {1}, "single": {1.5, -2}, "none": {}, "int": nil}
	if len(tensors) != len(want) {
		t.Fatalf("%d tensors, want %d", len(tensors), len(want))
	}
	for _, tensor := range tensors {
		if tensor.format == nil {
			if tensor.Type != "I8" {
				t.Errorf("%s of type %s has no format", tensor.Name, tensor.Type)
			}
			continue
		}
		got := make([]float32, len(want[tensor.Name]))
		tensor.DecodeRows(0, tensor.Rows(), got)
		if !slices.Equal(got, want[tensor.Name]) {
			t.Errorf("%s: got %v, want %v", tensor.Name, got, want[tensor.Name])
		}
	}
}

// hostileSafetensors are files that must be refused, and a part of what is said about each.
func hostileSafetensors() map[string][]byte {
	one := func(format string, args ...any) []byte {
		return safetensorsFile(fmt.Sprintf(format, args...), make([]byte, 8))
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

func TestSafetensorsHostile(t *testing.T) {
	for want, data := range hostileSafetensors() {
		_, err := parseSafetensors(data)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrMalformed) {
			t.Errorf("%q gives %v, want a malformed file with %q", data, err, want)
		}
	}
}

// FuzzSafetensors holds that no file does more than be refused, and that the tensors of one that
// is not are whole.
func FuzzSafetensors(f *testing.F) {
	for _, data := range hostileSafetensors() {
		f.Add(data)
	}
	f.Add(safetensorsFile(`{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`, make([]byte, 8)))
	f.Add(safetensorsFile(`{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]},"b":{"dtype":"BF16","shape":[],"data_offsets":[2,4]}}`, make([]byte, 4)))
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, err := parseSafetensors(data)
		if err != nil {
			return
		}
		total := 0
		for _, tensor := range tensors {
			total += len(tensor.data)
			readAll(tensor)
		}
		if header := 8 + int(binary.LittleEndian.Uint64(data)); header+total != len(data) {
			t.Errorf("%d bytes of tensors after %d of header in a file of %d", total, header, len(data))
		}
	})
}

// readAll decodes every row of a tensor.
func readAll(tensor Tensor) {
	if tensor.format == nil || len(tensor.data) == 0 {
		return
	}
	buf := make([]float32, tensor.Cols())
	for r := range tensor.Rows() {
		tensor.DecodeRows(r, 1, buf)
	}
	tensor.Check()
}
