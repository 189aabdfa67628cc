// Command largemodel writes a Hugging Face folder with a Llama model of random weights, by default of the shape of a 7B model
// (13.5 GB in bfloat16). It shows that models larger than comfortable are mapped and not loaded; see `make large`.
//
//	go run ./bench/largemodel -out /tmp/7b [-layers 32] [-hidden 4096] [-ffn 11008] [-heads 32] [-kv-heads 32] [-vocab 32000]
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// model is the shape of a model; the width of a head is hidden/heads.
type model struct{ layers, hidden, ffn, heads, kvHeads, vocab int }

// tensor is a matrix or, with cols 0, a vector of ones.
type tensor struct {
	name       string
	rows, cols int
}

func main() {
	log.SetFlags(0)
	var m model
	out := flag.String("out", "", "folder to make")
	flag.IntVar(&m.layers, "layers", 32, "")
	flag.IntVar(&m.hidden, "hidden", 4096, "")
	flag.IntVar(&m.ffn, "ffn", 11008, "")
	flag.IntVar(&m.heads, "heads", 32, "")
	flag.IntVar(&m.kvHeads, "kv-heads", 32, "")
	flag.IntVar(&m.vocab, "vocab", 32000, "at least 256")
	flag.Parse()
	if *out == "" {
		log.Fatal("largemodel: -out names no folder")
	}
	if err := m.write(*out); err != nil {
		log.Fatalf("largemodel: %v", err)
	}
}

// write makes the folder: a shard for each layer, one for what is outside the layers, and the files beside them.
func (m model) write(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	files := map[string]any{"config.json": m.config(), "tokenizer.json": byteTokenizer()}
	index := map[string]string{}
	var bytes int64
	for l := range m.layers + 1 {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", l+1, m.layers+1)
		tensors := m.layer(l)
		if l == m.layers {
			tensors = []tensor{{"lm_head.weight", m.vocab, m.hidden}, {"model.embed_tokens.weight", m.vocab, m.hidden}, {"model.norm.weight", m.hidden, 0}}
		}
		for _, t := range tensors {
			index[t.name] = name
			bytes += t.bytes()
		}
		if err := writeShard(filepath.Join(dir, name), tensors, uint64(l)); err != nil {
			return err
		}
	}
	files["model.safetensors.index.json"] = map[string]any{"metadata": map[string]any{"total_size": bytes}, "weight_map": index}
	for name, content := range files {
		data, err := json.Marshal(content)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (m model) config() map[string]any {
	return map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "num_hidden_layers": m.layers, "hidden_size": m.hidden,
		"intermediate_size": m.ffn, "vocab_size": m.vocab, "num_attention_heads": m.heads, "num_key_value_heads": m.kvHeads,
		"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 4096, "tie_word_embeddings": false,
		"hidden_act": "silu", "torch_dtype": "bfloat16",
	}
}

func (m model) layer(l int) []tensor {
	p := fmt.Sprintf("model.layers.%d.", l)
	kv := m.hidden / m.heads * m.kvHeads
	return []tensor{
		{p + "input_layernorm.weight", m.hidden, 0}, {p + "post_attention_layernorm.weight", m.hidden, 0},
		{p + "self_attn.q_proj.weight", m.hidden, m.hidden}, {p + "self_attn.k_proj.weight", kv, m.hidden},
		{p + "self_attn.v_proj.weight", kv, m.hidden}, {p + "self_attn.o_proj.weight", m.hidden, m.hidden},
		{p + "mlp.gate_proj.weight", m.ffn, m.hidden}, {p + "mlp.up_proj.weight", m.ffn, m.hidden}, {p + "mlp.down_proj.weight", m.hidden, m.ffn},
	}
}

func (t tensor) bytes() int64 { return 2 * int64(t.rows) * int64(max(t.cols, 1)) }

func (t tensor) shape() []int {
	if t.cols == 0 {
		return []int{t.rows}
	}
	return []int{t.rows, t.cols}
}

// writeShard writes a safetensors file. Weights have a standard deviation of 1/√cols.
func writeShard(path string, tensors []tensor, seed uint64) error {
	header := map[string]any{}
	var at int64
	for _, t := range tensors {
		header[t.name] = map[string]any{"dtype": "BF16", "shape": t.shape(), "data_offsets": []int64{at, at + t.bytes()}}
		at += t.bytes()
	}
	head, err := json.Marshal(header)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(head)))) // errors stay with w until Flush
	w.Write(head)
	rng := rand.New(rand.NewPCG(seed, 7))
	for _, t := range tensors {
		deviation := 1 / math.Sqrt(float64(max(t.cols, 1)))
		row := make([]byte, 2*max(t.cols, 1))
		for range t.rows {
			for j := 0; j < len(row); j += 2 {
				x := float32(1)
				if t.cols > 0 {
					// The sum of four uniform numbers is near enough to normal, and quick.
					u := rng.Uint64()
					s := float64(u&0xffff) + float64(u>>16&0xffff) + float64(u>>32&0xffff) + float64(u>>48)
					x = float32((s/0xffff - 2) * math.Sqrt(3) * deviation)
				}
				binary.LittleEndian.PutUint16(row[j:], uint16(math.Float32bits(x)>>16))
			}
			w.Write(row)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// byteTokenizer is a tokenizer.json whose tokens are the 256 bytes.
func byteTokenizer() map[string]any {
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
	return map[string]any{
		"version": "1.0", "added_tokens": []any{},
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
		"decoder":       map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model":         map[string]any{"type": "BPE", "vocab": vocab, "merges": []any{}},
	}
}
