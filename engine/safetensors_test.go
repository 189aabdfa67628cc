package engine

import (
	"encoding/binary"
	"errors"
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

// TestSafetensorsMalformed holds that what is refused is a malformed model.
func TestSafetensorsMalformed(t *testing.T) {
	_, err := parseSafetensors(safetensorsFile(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, make([]byte, 8)))
	if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "tensor a of type F32 and shape [3] has 8 bytes") {
		t.Errorf("got %v, want a malformed file, and what is wrong with it", err)
	}
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
