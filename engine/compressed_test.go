package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
)

// compressedCases reads what bench/peers/golden_compressed_tensors.py wrote, as the tensors of a checkpoint.
func compressedCases(t *testing.T) map[string]Tensor {
	t.Helper()
	data, err := os.ReadFile("testdata/compressed/cases.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	list, err := parseSafetensors(data)
	if err != nil {
		t.Fatal(err)
	}
	tensors := map[string]Tensor{}
	for _, x := range list {
		tensors[x.Name] = x
	}
	return tensors
}

const quantizationOf48 = `{"quantization_config":{"quant_method":"compressed-tensors","quantization_status":"compressed","config_groups":{
	"a":{"weights":{"num_bits":4,"type":"int","strategy":"group"}},"b":{"weights":{"num_bits":8,"type":"int","strategy":"channel"}},
	"c":{"weights":{"num_bits":8,"type":"float","strategy":"channel"}}}}}`

// TestCompressedTensors: every form decodes to what the compressed-tensors package unpacks, bit for bit.
func TestCompressedTensors(t *testing.T) {
	c := &Checkpoint{tensors: compressedCases(t)}
	if err := c.decompress([]byte(quantizationOf48)); err != nil {
		t.Fatal(err)
	}
	cases := 0
	for name, want := range c.tensors {
		unit, ok := strings.CutSuffix(name, ".dense")
		if !ok {
			continue
		}
		cases++
		got, ok := c.tensors[unit+".weight"]
		if !ok {
			t.Errorf("%s has no weight", unit)
			continue
		}
		rows, cols := want.Rows(), want.Cols()
		if got.Rows() != rows || got.Cols() != cols {
			t.Errorf("%s is %v, want %v", unit, got.Shape, want.Shape)
			continue
		}
		if err := got.Check(); err != nil {
			t.Error(err)
		}
		a, b := make([]float32, rows*cols), make([]float32, rows*cols)
		want.DecodeRows(0, rows, a)
		for i := range rows { // one by one: each finds its own scales
			got.DecodeRows(i, 1, b[i*cols:])
		}
		for i := range a {
			if math.Float32bits(a[i]) != math.Float32bits(b[i]) && a[i] != b[i] {
				t.Errorf("%s: weight in row %d, column %d is %v, want %v", unit, i/cols, i%cols, b[i], a[i])
				break
			}
		}
	}
	if cases != 11 {
		t.Errorf("%d cases, want 11", cases)
	}
	for name := range c.tensors {
		if strings.Contains(name, ".weight_") {
			t.Errorf("%s is left", name)
		}
	}
}

func TestCompressedTensorsRefuses(t *testing.T) {
	word := func(n int) []byte { return make([]byte, 4*n) }
	shape := func(a, b uint64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, a), b)
	}
	packed := func(change func(m map[string]Tensor)) map[string]Tensor {
		m := map[string]Tensor{
			"x.weight_packed":     {Type: "I32", Shape: []int{8, 2}, data: word(16)},
			"x.weight_scale":      {Type: "F16", Shape: []int{8, 1}, data: make([]byte, 16), format: formatF16},
			"x.weight_shape":      {Type: "I64", Shape: []int{2}, data: shape(8, 16)},
			"x.weight_zero_point": {Type: "I32", Shape: []int{1, 1}, data: word(1)},
		}
		change(m)
		for name, t := range m {
			t.Name = name
			m[name] = t
		}
		return m
	}
	set := func(name string, x Tensor) func(map[string]Tensor) {
		return func(m map[string]Tensor) { m[name] = x }
	}
	for name, c := range map[string]struct {
		tensors map[string]Tensor
		kind    error
		want    string
	}{
		"no shape":     {packed(func(m map[string]Tensor) { delete(m, "x.weight_shape") }), ErrMalformed, "x.weight_shape"},
		"huge shape":   {packed(set("x.weight_shape", Tensor{Type: "I64", Shape: []int{2}, data: shape(8, 1<<62)})), ErrMalformed, "x.weight_shape"},
		"other rows":   {packed(set("x.weight_shape", Tensor{Type: "I64", Shape: []int{2}, data: shape(9, 16)})), ErrMalformed, "8 rows"},
		"other words":  {packed(set("x.weight_shape", Tensor{Type: "I64", Shape: []int{2}, data: shape(8, 24)})), ErrMalformed, "words a row"},
		"no scale":     {packed(func(m map[string]Tensor) { delete(m, "x.weight_scale") }), ErrMalformed, "x.weight_scale"},
		"uneven":       {packed(set("x.weight_scale", Tensor{Type: "F16", Shape: []int{8, 3}, data: make([]byte, 48), format: formatF16})), ErrMalformed, "[8 3]"},
		"short scales": {packed(set("x.weight_scale", Tensor{Type: "F16", Shape: []int{4, 1}, data: make([]byte, 8), format: formatF16})), ErrMalformed, "[4 1]"},
		"zeros":        {packed(set("x.weight_zero_point", Tensor{Type: "I32", Shape: []int{2, 1}, data: word(2)})), ErrMalformed, "want I32 and [1 1]"},
		"order":        {packed(set("x.weight_g_idx", Tensor{Type: "I32", Shape: []int{16}, data: word(16)})), ErrUnsupported, "x.weight_g_idx"},
		"both":         {packed(set("x.weight", Tensor{Type: "F16", Shape: []int{1}, data: word(1), format: formatF16})), ErrMalformed, "both there"},
		"int8 zeros": {map[string]Tensor{
			"x.weight":            {Name: "x.weight", Type: "I8", Shape: []int{2, 2}, data: word(1)},
			"x.weight_zero_point": {Name: "x.weight_zero_point", Type: "I8", Shape: []int{2, 1}},
		}, ErrUnsupported, "zero_point"},
	} {
		err := (&Checkpoint{tensors: c.tensors}).decompress([]byte(quantizationOf48))
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one of kind %v with %q", name, err, c.kind, c.want)
		}
	}
	c := &Checkpoint{tensors: packed(func(map[string]Tensor) {})}
	if err := c.decompress([]byte(quantizationOf48)); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

func TestQuantizationConfig(t *testing.T) {
	for config, want := range map[string]string{
		`{"quant_method":"gptq"}`: `method "gptq"`,
		`{"quant_method":"compressed-tensors","quantization_status":"frozen"}`:                                                                                        `"frozen"`,
		`{"quant_method":"compressed-tensors","quantization_status":"compressed","kv_cache_scheme":{"num_bits":8}}`:                                                   "kv_cache_scheme",
		`{"quant_method":"compressed-tensors","quantization_status":"compressed","sparsity_config":{"format":"sparse-bitmask"}}`:                                      "sparse-bitmask",
		`{"quant_method":"compressed-tensors","quantization_status":"compressed","transform_config":{"config_groups":{}}}`:                                            "transform_config",
		`{"quant_method":"compressed-tensors","quantization_status":"compressed","config_groups":{"g":{}}}`:                                                           "group g without weights",
		`{"quant_method":"compressed-tensors","quantization_status":"compressed","config_groups":{"g":{"weights":{"num_bits":3,"type":"int"}}}}`:                      "3 bits",
		`{"quant_method":"compressed-tensors","quantization_status":"compressed","config_groups":{"g":{"weights":{"num_bits":8,"type":"float","strategy":"block"}}}}`: `"block"`,
	} {
		if _, err := parseQuantization(json.RawMessage(config)); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want one with %s", config, err, want)
		}
	}
	if q, err := parseQuantization(json.RawMessage("null")); q != nil || err != nil {
		t.Errorf("null: %v, %v", q, err)
	}
}

func TestCompanion(t *testing.T) {
	ck, err := Open(Builtin)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	if data, err := ck.Companion("config.json"); err != nil || !strings.Contains(string(data), "LlamaForCausalLM") {
		t.Errorf("config.json: %q, %v", data, err)
	}
	if _, err := ck.Companion("generation_config.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	for _, name := range []string{"../config.json", "a/b", ".hidden", `a\b`} {
		if _, err := ck.Companion(name); err == nil || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

// FuzzCompressed: whatever a folder says of compressed weights, they are refused or can be decoded.
func FuzzCompressed(f *testing.F) {
	data, err := os.ReadFile("testdata/compressed/cases.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, []byte(quantizationOf48))
	f.Fuzz(func(t *testing.T, data, config []byte) {
		list, err := parseSafetensors(data)
		if err != nil {
			return
		}
		c := &Checkpoint{tensors: map[string]Tensor{}}
		for _, x := range list {
			c.tensors[x.Name] = x
		}
		if c.decompress(config) != nil {
			return
		}
		for _, x := range c.tensors {
			if n := int64(x.Rows()) * int64(x.Cols()); x.compressed != nil && n < 1<<20 {
				x.DecodeRows(0, x.Rows(), make([]float32, n))
				_ = x.Check()
			}
		}
	})
}
