package evalworker

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

	"gopkg.in/yaml.v3"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/workflows"
)

// tiny writes a random model of 2 blocks, hidden size 32 and a vocabulary of the 256 bytes into a Hugging
// Face folder, and returns the folder.
func tiny(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	const layers, hidden, heads, kv, dim, ffn, vocab = 2, 32, 4, 2, 8, 64, 256
	writeFile(t, filepath.Join(dir, "config.json"), encodeJSON(map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "num_hidden_layers": layers, "hidden_size": hidden,
		"intermediate_size": ffn, "vocab_size": vocab, "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": dim,
		"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 64, "tie_word_embeddings": true,
		"hidden_act": "silu", "torch_dtype": "float32",
	}))
	writeFile(t, filepath.Join(dir, "tokenizer.json"), byteTokenizer())
	shapes := map[string][]int{"model.embed_tokens.weight": {vocab, hidden}, "model.norm.weight": {hidden}}
	for l := range layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		for name, shape := range map[string][]int{
			"input_layernorm": {hidden}, "post_attention_layernorm": {hidden},
			"self_attn.q_proj": {heads * dim, hidden}, "self_attn.k_proj": {kv * dim, hidden},
			"self_attn.v_proj": {kv * dim, hidden}, "self_attn.o_proj": {hidden, heads * dim},
			"mlp.gate_proj": {ffn, hidden}, "mlp.up_proj": {ffn, hidden}, "mlp.down_proj": {hidden, ffn},
		} {
			shapes[p+name+".weight"] = shape
		}
	}
	names := make([]string, 0, len(shapes))
	for name := range shapes {
		names = append(names, name)
	}
	slices.Sort(names)
	rng := rand.New(rand.NewPCG(5, 9))
	header := map[string]any{}
	var data []byte
	for _, name := range names {
		begin, n := len(data), 1
		for _, d := range shapes[name] {
			n *= d
		}
		for range n {
			v := rng.NormFloat64() / math.Sqrt(hidden) * 2
			if strings.Contains(name, "norm") {
				v = 1 + v/10
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(v)))
		}
		header[name] = map[string]any{"dtype": "F32", "shape": shapes[name], "data_offsets": []int{begin, len(data)}}
	}
	head := encodeJSON(header)
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(head)))
	writeFile(t, filepath.Join(dir, "model.safetensors"), append(append(file, head...), data...))
	return dir
}

// byteTokenizer is a tokenizer.json whose tokens are the bytes.
func byteTokenizer() []byte {
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
	return encodeJSON(map[string]any{
		"version": "1.0", "added_tokens": []any{},
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
		"decoder":       map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model":         map[string]any{"type": "BPE", "vocab": vocab, "merges": []any{}},
	})
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// prose is n bytes of text.
func prose(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("light is refracted by the second prism and the colours of its rays are not changed at all")
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[rng.IntN(len(words))] + " ")
	}
	return []byte(b.String()[:n])
}

// newFolder makes a run folder for a job on the tiny model, which change may adapt.
func newFolder(t testing.TB, model string, change func(*workflows.Job)) string {
	t.Helper()
	folder := t.TempDir()
	text := filepath.Join(folder, "text.txt")
	writeFile(t, text, prose(40*16))
	job := workflows.Job{Model: model, Text: text, SeqLen: 16, CalibrationTokens: 128, Space: workflows.SpaceQuant,
		QuantMethod: "rtn", Group: 16, Target: "bpw=5", Budget: 2500, Seed: 3}
	if change != nil {
		change(&job)
	}
	job.SetDefaults()
	data, err := yaml.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, jobFile), data)
	return folder
}

// quiet is a Reporter that is not interested.
func quiet(workflows.Progress) {}

// runLocal runs a folder to its end.
func runLocal(t testing.TB, folder string, o Options) workflows.ReportResult {
	t.Helper()
	res, err := RunLocal(context.Background(), folder, 0, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// derived is what a run must come out with, byte for byte: every file but those that say when.
func derived(t testing.TB, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{spaceFile, preparedFile, frontFile, evaluationsFile, finalFile, logDir + "/*", configsDir + "/*", tokensDir + "/*"} {
		names, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			rel, err := filepath.Rel(folder, name)
			if err != nil {
				t.Fatal(err)
			}
			files[rel] = string(readFile(t, name))
		}
	}
	return files
}

// same reports the files in which two runs differ.
func same(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %s differs:\n%.300s\nwant\n%.300s", what, name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: there is a %s too many", what, name)
		}
	}
}

// tinyConfig is the configuration of the tiny model.
func tinyConfig(t testing.TB, model string) engine.Config {
	t.Helper()
	ck, err := engine.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	return ck.Config()
}

// decodeFront reads front.json as any program would.
func decodeFront(t testing.TB, folder string) Front {
	t.Helper()
	var f Front
	if err := json.Unmarshal(readFile(t, filepath.Join(folder, frontFile)), &f); err != nil {
		t.Fatal(err)
	}
	return f
}
