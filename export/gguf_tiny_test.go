package export

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/safetensors"
)

// Shape of the tiny models: rows of the attention are blocks of 32 weights, those of down_proj also of 256.
const (
	tinyLayers, tinyHidden, tinyHeads, tinyKV, tinyDim, tinyFFN, tinyVocab = 4, 64, 4, 2, 16, 256, 264
)

// family is a config.json of a tiny model without what all have in common.
type family map[string]any

func families() map[string]family {
	return map[string]family{
		"llama":   {"model_type": "llama"},
		"tied":    {"model_type": "llama", "tie_word_embeddings": true},
		"linear":  {"model_type": "llama", "rope_scaling": map[string]any{"rope_type": "linear", "factor": 4.0}},
		"llama3":  {"model_type": "llama", "rope_scaling": map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}},
		"mistral": {"model_type": "mistral", "sliding_window": 9},
		"qwen2":   {"model_type": "qwen2", "tie_word_embeddings": true},
		"qwen3":   {"model_type": "qwen3"},
	}
}

// ggufTiny opens a random model of a family whose tokens are the bytes.
func ggufTiny(t testing.TB, f family) *engine.Checkpoint {
	t.Helper()
	return ggufOpen(t, ggufFolder(t, f, byteTokenizer(t)))
}

// ggufFolder writes a random model of a family in bfloat16.
func ggufFolder(t testing.TB, f family, tokenizer []byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{
		"num_hidden_layers": tinyLayers, "hidden_size": tinyHidden, "intermediate_size": tinyFFN, "vocab_size": tinyVocab,
		"num_attention_heads": tinyHeads, "num_key_value_heads": tinyKV, "head_dim": tinyDim, "rms_norm_eps": 1e-5,
		"rope_theta": 10000.0, "max_position_embeddings": 128, "hidden_act": "silu",
	}
	for k, v := range f {
		config[k] = v
	}
	vocab := config["vocab_size"].(int)
	shapes := map[string][]int{"model.embed_tokens.weight": {vocab, tinyHidden}, "model.norm.weight": {tinyHidden}}
	if config["tie_word_embeddings"] != true {
		shapes["lm_head.weight"] = []int{vocab, tinyHidden}
	}
	q, kv := tinyHeads*tinyDim, tinyKV*tinyDim
	for l := range tinyLayers {
		p := fmt.Sprintf("model.layers.%d.", l)
		for name, shape := range map[string][]int{
			"input_layernorm": {tinyHidden}, "post_attention_layernorm": {tinyHidden},
			"self_attn.q_proj": {q, tinyHidden}, "self_attn.k_proj": {kv, tinyHidden},
			"self_attn.v_proj": {kv, tinyHidden}, "self_attn.o_proj": {tinyHidden, q},
			"mlp.gate_proj": {tinyFFN, tinyHidden}, "mlp.up_proj": {tinyFFN, tinyHidden}, "mlp.down_proj": {tinyHidden, tinyFFN},
		} {
			shapes[p+name+".weight"] = shape
		}
		switch f["model_type"] {
		case "qwen2":
			shapes[p+"self_attn.q_proj.bias"], shapes[p+"self_attn.k_proj.bias"], shapes[p+"self_attn.v_proj.bias"] = []int{q}, []int{kv}, []int{kv}
		case "qwen3":
			shapes[p+"self_attn.q_norm.weight"], shapes[p+"self_attn.k_norm.weight"] = []int{tinyDim}, []int{tinyDim}
		}
	}
	names := make([]string, 0, len(shapes))
	for name := range shapes {
		names = append(names, name)
	}
	slices.Sort(names)
	rng := rand.New(rand.NewPCG(3, 4))
	var entries []safetensors.Entry
	var data []byte
	for _, name := range names {
		n := 1
		for _, d := range shapes[name] {
			n *= d
		}
		for range n {
			x := rng.NormFloat64() / math.Sqrt(tinyHidden) * 2
			if strings.Contains(name, "norm") {
				x = 1 + x/4
			}
			data = binary.LittleEndian.AppendUint16(data, kernel.EncodeBF16(float32(x)))
		}
		entries = append(entries, safetensors.Entry{Name: name, Type: "BF16", Shape: shapes[name]})
	}
	weights := append(safetensors.Header(nil, entries, 0, 8), data...)
	for name, content := range map[string][]byte{
		"model.safetensors": weights, "config.json": marshal(t, config), "tokenizer.json": tokenizer,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// byteTokenizer is a tokenizer.json whose tokens are the bytes.
func byteTokenizer(t testing.TB) []byte {
	vocab := map[string]int{}
	other := rune(256)
	for b := range 256 { // GPT-2's printable stand-ins for bytes
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) {
			r = other
			other++
		}
		vocab[string(r)] = b
	}
	return marshal(t, map[string]any{
		"version": "1.0", "added_tokens": []any{},
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
		"decoder":       map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model":         map[string]any{"type": "BPE", "vocab": vocab, "merges": []any{}},
	})
}

func ggufOpen(t testing.TB, path string) *engine.Checkpoint {
	t.Helper()
	ck, err := engine.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ck.Close() })
	return ck
}

// scales are the offsets of the binary16 numbers in a block of each type.
var scales = map[kernel.GGMLType][]int{
	kernel.Q4_0: {0}, kernel.Q4_1: {0, 2}, kernel.Q5_0: {0}, kernel.Q5_1: {0, 2}, kernel.Q8_0: {0}, kernel.Q2K: {80, 82},
	kernel.Q3K: {108}, kernel.Q4K: {0, 2}, kernel.Q5K: {0, 2}, kernel.Q6K: {208}, kernel.IQ4NL: {0}, kernel.MXFP4: nil,
}

// ggufBlocks are random weights of a type.
func ggufBlocks(t testing.TB, rng *rand.Rand, kind kernel.GGMLType, rows, cols int) *kernel.GGML {
	t.Helper()
	data := make([]byte, kind.Bytes(rows, cols))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for at := 0; at < len(data); at += kind.BlockBytes() {
		for _, s := range scales[kind] {
			binary.LittleEndian.PutUint16(data[at+s:], kernel.EncodeF16(float32(0.001+0.002*rng.Float64())))
		}
		if kind == kernel.MXFP4 {
			data[at] = 120
		}
	}
	g, err := kernel.NewGGML(kind, rows, cols, data)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// ggufMixture gives some of the linear modules a random type each.
func ggufMixture(t testing.TB, rng *rand.Rand, c engine.Config) engine.Candidate {
	cand := engine.Candidate{}
	types := kernel.GGMLTypes()
	for _, m := range c.Modules() {
		kind := types[rng.IntN(len(types))]
		if rng.IntN(5) == 0 || m.Cols%kind.Block() != 0 {
			continue
		}
		cand[m.Name] = engine.Level{Name: kind.String(), Weights: ggufBlocks(t, rng, kind, m.Rows, m.Cols)}
	}
	return cand
}

// ggufWindows are some windows of tokens.
func ggufWindows() [][]int32 {
	rng := rand.New(rand.NewPCG(8, 8))
	windows := make([][]int32, 8) // many short ones: what is wrong shows in each, while rounding evens out
	for i := range windows {
		for range 12 {
			windows[i] = append(windows[i], int32(rng.IntN(tinyVocab)))
		}
	}
	return windows
}

// ggufKept is a folder in which files are kept for other programs to read, see bench/peers/check_gguf.py; empty: they are not.
var ggufKept = os.Getenv("PARETOPRESS_GGUF_OUT")

// ggufPath is where a file of a test is written. The last part of its name tells files of a test apart.
func ggufPath(t testing.TB) string {
	if ggufKept == "" {
		return filepath.Join(t.TempDir(), "out.gguf")
	}
	name := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	for i := 0; ; i++ {
		path := filepath.Join(ggufKept, fmt.Sprintf("%s-%d.gguf", name, i))
		if _, err := os.Stat(path); err != nil {
			return path
		}
	}
}

// ggufKeep says beside a file what it scores, for who keeps it: not where llama.cpp computes without the window.
func ggufKeep(t testing.TB, source *engine.Checkpoint, path string, cand engine.Candidate) {
	if ggufKept == "" || source.Config().SlidingWindow > 0 {
		return
	}
	content := marshal(t, map[string]any{"windows": ggufWindows(), "nll": ggufScores(t, source, cand)})
	if err := os.WriteFile(path+".json", content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// ggufNLL is the sum over some windows.
func ggufNLL(t testing.TB, ck *engine.Checkpoint, cand engine.Candidate) float64 {
	t.Helper()
	var sum float64
	for _, x := range ggufScores(t, ck, cand) {
		sum += x
	}
	return sum
}

// ggufScores are the NLLs of some windows.
func ggufScores(t testing.TB, ck *engine.Checkpoint, cand engine.Candidate) []float64 {
	t.Helper()
	m, err := engine.Load(ck, engine.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	outcomes, err := m.Score(context.Background(), ggufWindows(), nil, []engine.Candidate{cand}, nil)
	if err == nil {
		err = outcomes[0].Err
	}
	if err != nil {
		t.Fatal(err)
	}
	var scores []float64
	for _, w := range outcomes[0].Windows {
		scores = append(scores, w.NLL)
	}
	return scores
}

// ggufDecoded are all weights of a tensor.
func ggufDecoded(w engine.Weights) []float32 {
	rows, cols := w.Shape()
	x := make([]float32, rows*cols)
	w.DecodeRows(0, rows, x)
	return x
}

// ggufWrite exports a candidate into a fresh folder and returns the path.
func ggufWrite(t testing.TB, ck *engine.Checkpoint, cand engine.Candidate, o GGUFOptions) (string, GGUFResult) {
	t.Helper()
	path := ggufPath(t)
	res, err := GGUF(path, ck, cand, o)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != res.Bytes {
		t.Fatalf("a file of %v, %v, said to have %d bytes", info, err, res.Bytes)
	}
	return path, res
}
