package engine

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDequant compares every format with the values that the gguf package for Python gives for
// random blocks, bit for bit (internal/kernel/testdata/README.md).
func TestDequant(t *testing.T) {
	for _, f := range ggmlFormats {
		t.Run(f.name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("..", "internal", "kernel", "testdata", "ggml", f.name+".bin"))
			if err != nil {
				t.Fatal(err)
			}
			blocks := len(data) / (f.bytes + 4*f.block)
			if blocks == 0 || len(data)%(f.bytes+4*f.block) != 0 {
				t.Fatalf("%d bytes are not whole blocks", len(data))
			}
			src, want := data[:blocks*f.bytes], data[blocks*f.bytes:]
			got := make([]float32, blocks*f.block)
			f.decode(src, got)
			for i, g := range got {
				if w := binary.LittleEndian.Uint32(want[4*i:]); math.Float32bits(g) != w {
					t.Fatalf("weight %d: %v, want %v", i, g, math.Float32frombits(w))
				}
			}
			tensor := Tensor{Name: "t", Shape: []int{blocks, f.block}, Type: f.name, format: f, data: src}
			if err := tensor.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCheckFindsNaN puts a NaN and an infinity into every floating-point number of every format.
func TestCheckFindsNaN(t *testing.T) {
	offsets := map[string][]int{
		"F32": {0}, "F16": {0}, "BF16": {0}, "Q4_0": {0}, "Q4_1": {0, 2}, "Q5_0": {0}, "Q5_1": {0, 2}, "Q8_0": {0},
		"Q2_K": {80, 82}, "Q3_K": {108}, "Q4_K": {0, 2}, "Q5_K": {0, 2}, "Q6_K": {208},
		"IQ4_NL": {0}, "MXFP4": {0},
	}
	for _, f := range ggmlFormats {
		tensor := Tensor{Name: "model.norm.weight", Shape: []int{3, f.block}, Type: f.name, format: f, data: make([]byte, 3*f.bytes)}
		if err := tensor.Check(); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
		for _, at := range offsets[f.name] {
			for _, bits := range []uint16{0x7c00, 0xfc00, 0x7e01} {
				b := slices.Clone(tensor.data)
				block := b[f.bytes:]
				switch f.name {
				case "MXFP4": // an exponent so large that most weights are infinite
					for i := range block[:f.bytes] {
						block[i] = 0x77
					}
					block[at] = 254
				case "F32":
					binary.LittleEndian.PutUint32(block, 0x7f800000|uint32(bits&0x83ff))
				case "BF16":
					binary.LittleEndian.PutUint16(block, 0x7f80|bits&0x807f)
				default:
					binary.LittleEndian.PutUint16(block[at:], bits)
				}
				bad := tensor
				bad.data = b
				decoded := make([]float32, f.block)
				bad.DecodeRows(1, 1, decoded)
				if !slices.ContainsFunc(decoded, func(x float32) bool { return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) }) {
					t.Errorf("%s: %04x at %d decodes to finite weights", f.name, bits, at)
				}
				if err := bad.Check(); err == nil || !strings.Contains(err.Error(), "tensor model.norm.weight: NaN or infinite weight in row 1") {
					t.Errorf("%s: %04x at %d: error %v", f.name, bits, at, err)
				}
			}
		}
	}
}
