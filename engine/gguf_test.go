package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// ggufFile is a GGUF file to be written.
type ggufFile struct {
	version uint32
	align   int // of the tensors, not written as a key
	keys    []ggufKey
	tensors []ggufTensor
}

type ggufKey struct {
	name  string
	value any
}

type ggufTensor struct {
	name   string
	dims   []uint64 // innermost first
	kind   uint32
	data   []byte
	offset int64 // -1: after the one before
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends a value and its type.
func appendValue(b []byte, value any) []byte {
	le := binary.LittleEndian
	kind := func(k uint32) []byte { return le.AppendUint32(b, k) }
	list := func(k uint32, n int) []byte { return le.AppendUint64(le.AppendUint32(kind(ggufArray), k), uint64(n)) }
	switch v := value.(type) {
	case uint8:
		return append(kind(ggufUint8), v)
	case int8:
		return append(kind(ggufInt8), byte(v))
	case uint16:
		return le.AppendUint16(kind(ggufUint16), v)
	case int16:
		return le.AppendUint16(kind(ggufInt16), uint16(v))
	case uint32:
		return le.AppendUint32(kind(ggufUint32), v)
	case int32:
		return le.AppendUint32(kind(ggufInt32), uint32(v))
	case uint64:
		return le.AppendUint64(kind(ggufUint64), v)
	case int64:
		return le.AppendUint64(kind(ggufInt64), uint64(v))
	case float32:
		return le.AppendUint32(kind(ggufFloat32), math.Float32bits(v))
	case float64:
		return le.AppendUint64(kind(ggufFloat64), math.Float64bits(v))
	case bool:
		if v {
			return append(kind(ggufBool), 1)
		}
		return append(kind(ggufBool), 0)
	case string:
		return appendString(kind(ggufString), v)
	case []string:
		b = list(ggufString, len(v))
		for _, s := range v {
			b = appendString(b, s)
		}
		return b
	case []int32:
		b = list(ggufInt32, len(v))
		for _, n := range v {
			b = le.AppendUint32(b, uint32(n))
		}
		return b
	case []float32:
		b = list(ggufFloat32, len(v))
		for _, x := range v {
			b = le.AppendUint32(b, math.Float32bits(x))
		}
		return b
	case []byte: // as it is, its type included
		return append(b, v...)
	}
	panic(fmt.Sprintf("no type of GGUF for %T", value))
}

func (g *ggufFile) bytes() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("GGUF"), g.version)
	b = le.AppendUint64(b, uint64(len(g.tensors)))
	b = le.AppendUint64(b, uint64(len(g.keys)))
	for _, k := range g.keys {
		b = appendValue(appendString(b, k.name), k.value)
	}
	var body []byte
	for _, t := range g.tensors {
		b = le.AppendUint32(appendString(b, t.name), uint32(len(t.dims)))
		for _, d := range t.dims {
			b = le.AppendUint64(b, d)
		}
		for len(body)%g.align != 0 {
			body = append(body, 0)
		}
		offset := uint64(len(body))
		if t.offset >= 0 {
			offset = uint64(t.offset)
		}
		b = le.AppendUint64(le.AppendUint32(b, t.kind), offset)
		body = append(body, t.data...)
	}
	for len(b)%g.align != 0 {
		b = append(b, 0)
	}
	return append(b, body...)
}

// set changes a key, adds it, or with a nil value takes it away.
func (g *ggufFile) set(name string, value any) {
	g.keys = slices.DeleteFunc(g.keys, func(k ggufKey) bool { return k.name == name })
	if value != nil {
		g.keys = append(g.keys, ggufKey{name, value})
	}
}

// tensor finds a tensor.
func (g *ggufFile) tensor(name string) *ggufTensor {
	for i := range g.tensors {
		if g.tensors[i].name == name {
			return &g.tensors[i]
		}
	}
	panic("no tensor " + name)
}

// ggufOf is the GGUF file of a tiny model, as a converter writes it: names and order of dimensions
// of ggml, and for llama the rows of q and k in rotary pairs.
func ggufOf(m *tiny) *ggufFile {
	arch := m.arch
	if arch == "mistral" {
		arch = "llama"
	}
	g := &ggufFile{version: 3, align: 32}
	for _, k := range []ggufKey{
		{"general.architecture", arch},
		{"general.quantization_version", uint32(2)},
		{arch + ".block_count", uint32(m.layers)},
		{arch + ".context_length", uint64(4096)},
		{arch + ".embedding_length", uint32(m.hidden)},
		{arch + ".feed_forward_length", uint32(m.ffn)},
		{arch + ".attention.head_count", uint32(m.heads)},
		{arch + ".attention.head_count_kv", uint32(m.kvHeads)},
		{arch + ".attention.key_length", uint32(m.dim)},
		{arch + ".attention.value_length", uint32(m.dim)},
		{arch + ".rope.dimension_count", int32(m.dim)},
		{arch + ".rope.freq_base", float32(m.theta)},
		{arch + ".attention.layer_norm_rms_epsilon", float32(m.eps)},
	} {
		g.keys = append(g.keys, k)
	}
	if m.window > 0 {
		g.set(arch+".attention.sliding_window", uint32(m.window))
	}
	names := map[string]string{}
	for from, to := range ggufNames {
		names[to] = from
	}
	var f32 []string
	for name := range m.weights {
		f32 = append(f32, name)
	}
	slices.Sort(f32)
	for _, name := range f32 {
		w, shape := m.weights[name], m.shapes[name]
		rest, prefix := name, ""
		if after, ok := strings.CutPrefix(name, "model.layers."); ok {
			number, part, _ := strings.Cut(after, ".")
			prefix, rest = "blk."+number+".", part
		}
		dot := strings.LastIndexByte(rest, '.')
		cols := shape[len(shape)-1]
		if len(shape) == 1 {
			cols = 1
		}
		if arch == "llama" && (strings.Contains(name, "q_proj") || strings.Contains(name, "k_proj")) {
			w = slices.Clone(w)
			for r := range len(w) / cols { // row 2i+j of a head is row i+j·d/2 of the original
				i := r % m.dim
				from := r - i + i/2 + i%2*m.dim/2
				copy(w[r*cols:][:cols], m.weights[name][from*cols:])
			}
		}
		t := ggufTensor{name: prefix + names[rest[:dot]] + rest[dot:], offset: -1}
		for _, d := range slices.Backward(shape) {
			t.dims = append(t.dims, uint64(d))
		}
		for _, x := range w {
			t.data = binary.LittleEndian.AppendUint32(t.data, math.Float32bits(x))
		}
		g.tensors = append(g.tensors, t)
	}
	return g
}

// TestGGUF holds that a model is the same from GGUF as from a Hugging Face folder.
func TestGGUF(t *testing.T) {
	for name, m := range tinyModels() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m.write(t, dir)
			want, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer want.Close()
			wantConfig := want.Config()

			g := ggufOf(m)
			g.version = 2 + uint32(len(name)%2) // both versions are read alike
			switch s := wantConfig.RopeScaling; {
			case s == nil:
			case s.Type == "linear":
				g.set("llama.rope.scaling.type", "linear")
				g.set("llama.rope.scaling.factor", float32(s.Factor))
			case s.Type == "llama3": // converters store the quotient
				scaled := wantConfig
				scaled.RopeScaling = nil
				plain := scaled.InvFreq()
				freqs := ggufTensor{name: "rope_freqs.weight", dims: []uint64{uint64(m.dim / 2)}, offset: -1}
				wantConfig.RopeScaling = &RopeScaling{Type: "factors"}
				for i, f := range want.Config().InvFreq() {
					wantConfig.RopeScaling.Factors = append(wantConfig.RopeScaling.Factors, plain[i]/f)
					freqs.data = binary.LittleEndian.AppendUint32(freqs.data, math.Float32bits(plain[i]/f))
				}
				g.tensors = append(g.tensors, freqs)
			}
			path := filepath.Join(t.TempDir(), "tiny.gguf")
			if err := os.WriteFile(path, g.bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if wantConfig.Arch == "mistral" {
				wantConfig.Arch = "llama"
			}
			wantConfig.MaxPositions = 4096
			wantConfig.NormEps, wantConfig.RopeTheta = float64(float32(m.eps)), float64(float32(m.theta))
			if !reflect.DeepEqual(got.Config(), wantConfig) {
				t.Errorf("configuration %+v\nwant %+v", got.Config(), wantConfig)
			}
			if !slices.Equal(got.Names(), want.Names()) {
				t.Errorf("tensors %v\nwant %v", got.Names(), want.Names())
			}
			for _, name := range want.Names() {
				a, errA := got.Tensor(name)
				b, errB := want.Tensor(name)
				if errA != nil || errB != nil {
					t.Fatal(errA, errB)
				}
				if !slices.Equal(a.Shape, b.Shape) {
					t.Errorf("%s has shape %v, want %v", name, a.Shape, b.Shape)
					continue
				}
				x, y := make([]float32, a.Rows()*a.Cols()), make([]float32, a.Rows()*a.Cols())
				half := a.Rows() / 2
				a.DecodeRows(0, half, x) // in two parts: rows are where they should be, not only in order
				a.DecodeRows(half, a.Rows()-half, x[half*a.Cols():])
				b.DecodeRows(0, b.Rows(), y)
				if !slices.Equal(x, y) {
					t.Errorf("%s differs", name)
				}
			}
		})
	}
}

// TestGGUFMetadata reads a number of every type.
func TestGGUFMetadata(t *testing.T) {
	g := &ggufFile{version: 3, align: 32}
	nested := binary.LittleEndian.AppendUint32(nil, ggufArray)
	nested = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nested, ggufArray), 2)
	for range 2 {
		nested = append(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nested, ggufUint8), 3), 1, 2, 3)
	}
	g.set("nested", nested)
	numbers := map[string]any{
		"u8": uint8(7), "i8": int8(7), "u16": uint16(7), "i16": int16(7), "u32": uint32(7), "i32": int32(7),
		"u64": uint64(7), "i64": int64(7), "f32": float32(7), "f64": float64(7), "same": []int32{7, 7, 7},
	}
	for k, v := range numbers {
		g.set(k, v)
	}
	g.set("yes", true)
	g.set("words", []string{"a", "", "cd"})
	g.set("minus", int8(-1))
	g.set("big", uint64(1<<63))
	g.set("differ", []int32{7, 8})
	parsed, err := parseGGUF(g.bytes())
	if err != nil {
		t.Fatal(err)
	}
	for k := range numbers {
		if x, err := parsed.float(k, 0); k != "same" && (x != 7 || err != nil) {
			t.Errorf("%s as float: %v, %v", k, x, err)
		}
		if n, err := parsed.uint(k, 0); k[0] != 'f' && (n != 7 || err != nil) {
			t.Errorf("%s as integer: %v, %v", k, n, err)
		}
	}
	if n, err := parsed.uint("yes", 0); n != 1 || err != nil {
		t.Errorf("yes: %d, %v", n, err)
	}
	if w, err := parsed.texts("words"); err != nil || !slices.Equal(w, []string{"a", "", "cd"}) {
		t.Errorf("words: %q, %v", w, err)
	}
	if n, err := parsed.uint("absent", 5); n != 5 || err != nil {
		t.Errorf("absent: %d, %v", n, err)
	}
	for _, k := range []string{"minus", "big", "differ", "words", "f32"} {
		if n, err := parsed.uint(k, 0); err == nil {
			t.Errorf("%s as integer gives %d", k, n)
		}
	}
	if _, err := parsed.text("u8", ""); err == nil {
		t.Error("u8 is taken for a string")
	}
	if _, err := parsed.texts("same"); err == nil {
		t.Error("numbers are taken for strings")
	}
	if _, err := parsed.integers("words"); err == nil {
		t.Error("strings are taken for numbers")
	}
}

// small is a model of a few hundred bytes.
func small() *tiny {
	m := &tiny{arch: "llama", layers: 1, hidden: 4, heads: 2, kvHeads: 1, dim: 2, ffn: 3, vocab: 5, eps: 1e-5, theta: 10000, tied: true}
	m.fill()
	return m
}

// setTokenizer gives a GGUF file the tokenizer of a tokenizer.json.
func setTokenizer(tb testing.TB, g *ggufFile, path, pre string) {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var j tokenizerJSON
	if err := json.Unmarshal(data, &j); err != nil {
		tb.Fatal(err)
	}
	tokens := make([]string, len(j.Model.Vocab)+1)
	kinds := make([]int32, len(tokens))
	for token, id := range j.Model.Vocab {
		tokens[id], kinds[id] = token, 1
	}
	for _, a := range j.Added {
		tokens[a.ID], kinds[a.ID] = a.Content, int32(TokenControl)
	}
	var merges []string
	for _, m := range j.Model.Merges {
		merges = append(merges, m[0]+" "+m[1])
	}
	g.set("tokenizer.ggml.model", "gpt2")
	g.set("tokenizer.ggml.pre", pre)
	g.set("tokenizer.ggml.tokens", tokens)
	g.set("tokenizer.ggml.token_type", kinds)
	g.set("tokenizer.ggml.merges", merges)
}

// TestGGUFTokenizer holds that a tokenizer is the same from GGUF as from tokenizer.json.
func TestGGUFTokenizer(t *testing.T) {
	tokenizers := map[string]*Tokenizer{}
	for kind, pre := range map[string]string{
		"gpt2": "gpt-2", "llama3": "llama-bpe", "qwen2": "qwen2", "smollm": "smollm", "default": "default", "tekken": "tekken",
		"gpt4o": "gpt-4o", "deepseek-llm": "deepseek-llm", "deepseek-coder": "deepseek-coder",
	} {
		g := ggufOf(small())
		setTokenizer(t, g, filepath.Join(tokenizerFolder, kind+".json"), pre)
		ck, err := openGGUF(&file{name: "small.gguf", data: g.bytes()})
		if err != nil {
			t.Fatal(err)
		}
		if tokenizers[kind], err = ck.Tokenizer(); err != nil {
			t.Fatal(err)
		}
		want := readTokenizer(t, filepath.Join(tokenizerFolder, kind+".json"))
		for _, text := range []string{"it's 1234  words\n\n", "naïve Å 😀 数据模型 candidate", "<|im_start|>user<｜begin of text｜>", "\xff\xe2\x82"} {
			if a, b := tokenizers[kind].Encode([]byte(text)), want.Encode([]byte(text)); !slices.Equal(a, b) {
				t.Errorf("%s: %q gives %v, want %v", kind, text, a, b)
			}
		}
	}
}

// hostileGGUF are files that must be refused, and a part of what is said about each.
func hostileGGUF() map[string][]byte {
	change := func(f func(*ggufFile)) []byte {
		g := ggufOf(small())
		f(g)
		return g.bytes()
	}
	set := func(key string, value any) []byte { return change(func(g *ggufFile) { g.set(key, value) }) }
	at := func(offset int, n uint64) []byte {
		b := ggufOf(small()).bytes()
		binary.LittleEndian.PutUint64(b[offset:], n)
		return b
	}
	array := func(elem uint32, n uint64) []byte {
		b := binary.LittleEndian.AppendUint32(nil, ggufArray)
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(b, elem), n)
	}
	deep := binary.LittleEndian.AppendUint32(nil, ggufArray)
	for range 9 {
		deep = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(deep, ggufArray), 1)
	}
	q := "blk.0.attn_q.weight"
	return map[string][]byte{
		"does not start with GGUF":       []byte("{}"),
		"version of 4 bytes at 4":        []byte("GGUF"),
		"GGUF version 9":                 change(func(g *ggufFile) { g.version = 9 }),
		"big-endian":                     change(func(g *ggufFile) { g.version = 3 << 24 }),
		"18446744073709551615 tensors":   at(8, math.MaxUint64),
		"1152921504606846976 metadata":   at(16, 1<<60),
		"metadata key of 9223372036":     at(24, 9223372036),
		"is there twice":                 change(func(g *ggufFile) { g.keys = append(g.keys, g.keys[0]) }),
		"a.b is of unknown type 13":      set("a.b", binary.LittleEndian.AppendUint32(nil, 13)),
		"array of unknown type 99":       set("a.b", array(99, 1)),
		"array of 1152921504606846976":   set("a.b", array(ggufUint64, 1<<60)),
		"nests more than 4 arrays":       set("a.b", deep),
		"a.b of ":                        set("a.b", append(binary.LittleEndian.AppendUint32(nil, ggufString), 255, 255, 255, 255, 255, 255, 255, 255)),
		"general.alignment is 48":        set("general.alignment", uint32(48)),
		"general.alignment is not":       set("general.alignment", "x"),
		"no general.architecture":        set("general.architecture", nil),
		"architecture \"mamba\"":         set("general.architecture", "mamba"),
		"llama.block_count is missing":   set("llama.block_count", nil),
		"layer_norm_rms_epsilon is miss": set("llama.attention.layer_norm_rms_epsilon", nil),
		"number of layers is 400000000":  set("llama.block_count", uint32(400000000)),
		"tensor model.layers.1.input":    set("llama.block_count", uint32(2)),
		"mixture of experts":             set("llama.expert_count", uint32(8)),
		"value heads of 4":               set("llama.attention.value_length", uint32(4)),
		"positions in 1 of the 2":        set("llama.rope.dimension_count", uint32(1)),
		"rope scaling of type \"yarn\"":  set("llama.rope.scaling.type", "yarn"),
		"differs from layer to layer":    set("llama.feed_forward_length", []int32{3, 4}),
		"tensor token_embd.weight is missing": change(func(g *ggufFile) {
			g.tensor("token_embd.weight").name = "else"
		}),
		"tensor model.norm.weight is missing": change(func(g *ggufFile) { g.tensor("output_norm.weight").name = "else" }),
		"has shape [8 2], want [8 4]": change(func(g *ggufFile) {
			g.set("llama.attention.key_length", uint32(4))
			g.set("llama.attention.value_length", uint32(4))
			g.set("llama.rope.dimension_count", uint32(4))
			g.tensor("blk.0.attn_k.weight").dims = []uint64{2, 4}
			g.tensor(q).dims = []uint64{2, 8}
		}),
		"and the model heads of 2":            change(func(g *ggufFile) { g.tensor(q).dims = []uint64{16, 1} }),
		"tensor blk.0.attn_q.weight is there": change(func(g *ggufFile) { g.tensor("output_norm.weight").name = q }),
		"has 5 dimensions":                    change(func(g *ggufFile) { g.tensor(q).dims = []uint64{4, 4, 1, 1, 1} }),
		"shape [4294967296 4294967296]":       change(func(g *ggufFile) { g.tensor(q).dims = []uint64{1 << 32, 1 << 32} }),
		"is of unknown type 77":               change(func(g *ggufFile) { g.tensor(q).kind = 77 }),
		"is of type IQ4_XS":                   change(func(g *ggufFile) { g.tensor(q).kind = 23 }),
		"rows of 4, no multiple of 32":        change(func(g *ggufFile) { g.tensor(q).kind = 2 }),
		"lies at 5, no multiple":              change(func(g *ggufFile) { g.tensor(q).offset = 5 }),
		"lies at 9223372036854775776":         change(func(g *ggufFile) { g.tensor(q).offset = math.MaxInt64 - 31 }),
		"lies at bytes 1048576 to 1048640":    change(func(g *ggufFile) { g.tensor(q).offset = 1 << 20 }),
		"overlaps the one before":             change(func(g *ggufFile) { g.tensor(q).offset = 0 }),
		"3 rope factors for 1": change(func(g *ggufFile) {
			g.tensors = append(g.tensors, ggufTensor{"rope_freqs.weight", []uint64{3}, 0, make([]byte, 12), -1})
		}),
		"rope factor 0 is 0": change(func(g *ggufFile) {
			g.tensors = append(g.tensors, ggufTensor{"rope_freqs.weight", []uint64{1}, 0, make([]byte, 4), -1})
		}),
	}
}

func TestGGUFHostile(t *testing.T) {
	for want, data := range hostileGGUF() {
		_, err := openGGUF(&file{name: "small.gguf", data: data})
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%v, want an error of the file with %q", err, want)
		}
	}
}

// TestGGUFTruncated cuts a file short at every byte.
func TestGGUFTruncated(t *testing.T) {
	g := ggufOf(small())
	setTokenizer(t, g, filepath.Join(tokenizerFolder, "smollm.json"), "smollm")
	g.set("tokenizer.ggml.merges", []string{})
	data := g.bytes()
	if _, err := openGGUF(&file{data: data}); err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, err := openGGUF(&file{data: data[:n]}); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
	}
}

// TestGGUFTokenizerBad has tokenizers that must be refused.
func TestGGUFTokenizerBad(t *testing.T) {
	for want, set := range map[string]ggufKey{
		"tokenizer.ggml.scores is not":  {"tokenizer.ggml.model", "llama"},
		"no tokenizer":                  {"tokenizer.ggml.model", nil},
		"token scores":                  {"tokenizer.ggml.scores", []float32{1}},
		"tokenizer model \"bert\"":      {"tokenizer.ggml.model", "bert"},
		"pre-tokenizer \"jais-2\"":      {"tokenizer.ggml.pre", "jais-2"},
		"tokenizer.ggml.tokens is not":  {"tokenizer.ggml.tokens", uint32(1)},
		"tokenizer.ggml.merges is not":  {"tokenizer.ggml.merges", nil},
		"is not two tokens":             {"tokenizer.ggml.merges", []string{"abc"}},
		"that the vocabulary does not":  {"tokenizer.ggml.merges", []string{"a \u4e00"}},
		"2 token types":                 {"tokenizer.ggml.token_type", []int32{1, 1}},
		"token_type is not an array of": {"tokenizer.ggml.token_type", "x"},
	} {
		g := ggufOf(small())
		setTokenizer(t, g, filepath.Join(tokenizerFolder, "smollm.json"), "smollm")
		g.set(set.name, set.value)
		ck, err := openGGUF(&file{name: "small.gguf", data: g.bytes()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ck.Tokenizer(); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "engine: small.gguf: ") {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

// FuzzGGUF holds that no file does more than be refused.
func FuzzGGUF(f *testing.F) {
	g := ggufOf(small())
	g.set("tokenizer.ggml.model", "gpt2")
	g.set("tokenizer.ggml.tokens", []string{"a", "b", "ab", "<x>"})
	g.set("tokenizer.ggml.token_type", []int32{1, 1, 1, 3})
	g.set("tokenizer.ggml.merges", []string{"a b"})
	f.Add(g.bytes())
	g.set("tokenizer.ggml.model", "llama")
	g.set("tokenizer.ggml.scores", []float32{-1, -2, 0, 0})
	g.set("tokenizer.ggml.token_type", []int32{1, 1, 1, 2})
	g.set("tokenizer.ggml.unknown_token_id", uint32(3))
	f.Add(g.bytes())
	for _, data := range hostileGGUF() {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ck, err := openGGUF(&file{name: "fuzz.gguf", data: data})
		if err != nil {
			return
		}
		for _, name := range ck.Names() {
			tensor, err := ck.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			readAll(tensor)
		}
		if tok, err := ck.Tokenizer(); err == nil {
			tok.Decode(tok.Encode([]byte("ab <x> ab\n")))
		}
		if v, err := ck.Vocabulary(); err == nil {
			if made, err := v.TokenizerJSON(); err == nil && !json.Valid(made) {
				t.Errorf("tokenizer.json is %q", made)
			}
			if _, err := v.TokenizerConfigJSON(); err != nil {
				t.Error(err)
			}
		}
	})
}
