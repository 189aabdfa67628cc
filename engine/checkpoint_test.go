package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/paretopress/paretopress/internal/safetensors"
)

// folderOf writes a small model as a Hugging Face folder, with a tokenizer.
func folderOf(t *testing.T, m *tiny) string {
	t.Helper()
	dir := t.TempDir()
	m.write(t, dir)
	data, err := os.ReadFile(filepath.Join(tokenizerFolder, "smollm.json"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "tokenizer.json", data)
	return dir
}

func writeFile(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// shard splits the model.safetensors of a folder into two files and an index, and returns the
// index.
func shard(t *testing.T, dir string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	_, tensors, err := safetensors.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	index := map[string]string{}
	for i, name := range []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"} {
		var entries []safetensors.Entry
		var body []byte
		for k, tensor := range tensors {
			if k%2 != i {
				continue
			}
			entries = append(entries, tensor.Entry)
			body = append(body, tensor.Data...)
			index[tensor.Name] = name
		}
		writeFile(t, dir, name, append(safetensors.Header(nil, entries, 0, 8), body...))
	}
	if err := os.Remove(filepath.Join(dir, "model.safetensors")); err != nil {
		t.Fatal(err)
	}
	writeIndex(t, dir, index)
	return index
}

func writeIndex(t *testing.T, dir string, index map[string]string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": index})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "model.safetensors.index.json", text)
}

// TestSharded holds that a model in two files is the model in one.
func TestSharded(t *testing.T) {
	one, two := folderOf(t, small()), folderOf(t, small())
	shard(t, two)
	a, err := Open(one)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := Open(two)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if !slices.Equal(a.Names(), b.Names()) {
		t.Errorf("tensors %v, want %v", b.Names(), a.Names())
	}
	for _, name := range a.Names() {
		x, _ := a.Tensor(name)
		y, _ := b.Tensor(name)
		if !slices.Equal(x.data, y.data) {
			t.Errorf("%s differs", name)
		}
	}
	if b.FileBytes() <= a.FileBytes() { // one more header
		t.Errorf("%d bytes in two files, %d in one", b.FileBytes(), a.FileBytes())
	}
}

// TestDigest holds Digest to its definition, in one process and for a changed file.
func TestDigest(t *testing.T) {
	dir := folderOf(t, small())
	writeFile(t, dir, "README.md", []byte("not part of the model"))
	lines := ""
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		lines += fmt.Sprintf("%x  %s\n", sha256.Sum256(data), name)
	}
	sum := sha256.Sum256([]byte(lines))
	digest := func(ref string) string {
		t.Helper()
		ck, err := Open(ref)
		if err != nil {
			t.Fatal(err)
		}
		defer ck.Close()
		d, err := ck.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if got, want := digest(dir), hex.EncodeToString(sum[:]); got != want {
		t.Errorf("folder: %s, want %s", got, want)
	}
	before := digest(dir)
	writeFile(t, dir, "tokenizer.json", []byte(`{"model":{}}`))
	if digest(dir) == before {
		t.Error("a changed tokenizer has the old digest")
	}

	data := ggufOf(small()).bytes()
	path := filepath.Join(t.TempDir(), "small.gguf")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := digest(path), fmt.Sprintf("%x", sha256.Sum256(data)); got != want {
		t.Errorf("GGUF: %s, want %s", got, want)
	}
}

// TestOpenErrors holds that each fault gives one line that names the file and what is wrong.
func TestOpenErrors(t *testing.T) {
	change := func(f func(dir string)) string {
		dir := folderOf(t, small())
		f(dir)
		return dir
	}
	remove := func(name string) string {
		return change(func(dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		})
	}
	model := func(f func(*tiny)) string {
		return change(func(dir string) {
			m := small()
			f(m)
			m.write(t, dir)
		})
	}
	sharded := func(f func(dir string, index map[string]string)) string {
		return change(func(dir string) {
			index := shard(t, dir)
			f(dir, index)
			writeIndex(t, dir, index)
		})
	}
	loose := filepath.Join(t.TempDir(), "loose.safetensors")
	if err := os.WriteFile(loose, safetensorsFile("{}", nil), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, ref string
		want      []string
		kind      error
	}{
		{"missing", "no/such/model", []string{"model no/such/model", "give a Hugging Face folder"}, fs.ErrNotExist},
		{"no config", remove("config.json"), []string{"no config.json"}, ErrMalformed},
		{"no weights", remove("model.safetensors"), []string{"neither model.safetensors nor"}, ErrMalformed},
		{"not a model", loose, []string{"loose.safetensors: not a model file"}, ErrMalformed},
		{"empty file", change(func(dir string) { writeFile(t, dir, "model.safetensors", nil) }), []string{"model.safetensors: the file is empty"}, ErrMalformed},
		{"config of nonsense", change(func(dir string) { writeFile(t, dir, "config.json", []byte("x")) }), []string{"config.json: "}, ErrMalformed},
		{"truncated", change(func(dir string) {
			if err := os.Truncate(filepath.Join(dir, "model.safetensors"), 900); err != nil {
				t.Fatal(err)
			}
		}), []string{"model.safetensors: ", "truncated?"}, ErrMalformed},
		{"missing tensor", model(func(m *tiny) {
			delete(m.weights, "model.norm.weight")
			delete(m.shapes, "model.norm.weight")
		}), []string{"tensor model.norm.weight is missing"}, ErrMalformed},
		{"wrong shape", model(func(m *tiny) { m.shapes["model.layers.0.mlp.up_proj.weight"] = []int{4, 3} }),
			[]string{"tensor model.layers.0.mlp.up_proj.weight has shape [4 3], want [3 4]"}, ErrMalformed},
		{"untied without head", model(func(m *tiny) { m.tied = false }), []string{"tensor lm_head.weight is missing"}, ErrMalformed},
		{"index of nothing", sharded(func(_ string, index map[string]string) { clear(index) }), []string{"index.json: it lists no weights"}, ErrMalformed},
		{"index outside", sharded(func(_ string, index map[string]string) { index["model.norm.weight"] = "../config.json" }), []string{"index.json", `"../config.json" is no name`}, ErrMalformed},
		{"index of a missing file", sharded(func(_ string, index map[string]string) { index["model.norm.weight"] = "x.safetensors" }), []string{"index.json lists a file", "x.safetensors"}, fs.ErrNotExist},
		{"index of a missing tensor", sharded(func(_ string, index map[string]string) { index["a.b"] = index["model.norm.weight"] }), []string{"index.json: tensor a.b is not in model-0000"}, ErrMalformed},
		{"tensor twice", sharded(func(dir string, index map[string]string) {
			data, err := os.ReadFile(filepath.Join(dir, index["model.norm.weight"]))
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, dir, "model-00003.safetensors", data)
			index["a.b"] = "model-00003.safetensors"
		}), []string{"is in another file of the model too"}, ErrMalformed},
	} {
		ck, err := Open(test.ref)
		if err == nil {
			ck.Close()
			t.Errorf("%s: no error", test.name)
			continue
		}
		if !errors.Is(err, test.kind) || !strings.HasPrefix(err.Error(), "engine: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line of kind %v", test.name, err, test.kind)
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", test.name, err, want)
			}
		}
	}
}

func TestCheckpointCheck(t *testing.T) {
	m := small()
	dir := folderOf(t, m)
	ck, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	if err := ck.Check(); err != nil {
		t.Error(err)
	}
	m.weights["model.layers.0.mlp.up_proj.weight"][6] = float32(math.Inf(-1))
	m.write(t, dir)
	bad, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	if err := bad.Check(); !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "tensor model.layers.0.mlp.up_proj.weight: NaN or infinite weight in row 1, column 2") {
		t.Errorf("got %v", err)
	}
}

// TestOpenBuiltin opens the embedded model and its tokenizer.
func TestOpenBuiltin(t *testing.T) {
	ck, err := Open(Builtin)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	if err := ck.Check(); err != nil {
		t.Error(err)
	}
	tok, err := ck.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if c := ck.Config(); tok.Vocab() > c.Vocab || c.Layers < 6 {
		t.Errorf("%d tokens, configuration %+v", tok.Vocab(), c)
	}
	if d, err := ck.Digest(); err != nil || len(d) != 64 {
		t.Errorf("digest %q, %v", d, err)
	}
}

// TestConcurrent reads a checkpoint from many goroutines; the race detector judges.
func TestConcurrent(t *testing.T) {
	ck, err := Open(folderOf(t, small()))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for _, name := range ck.Names() {
				tensor, err := ck.Tensor(name)
				if err != nil {
					t.Error(err)
				}
				readAll(tensor)
			}
			tok, err := ck.Tokenizer()
			if err != nil {
				t.Error(err)
				return
			}
			tok.Encode([]byte("some words 12"))
			if _, err := ck.Digest(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// TestDecodeRowsPanics holds that rows outside a tensor are the caller's fault.
func TestDecodeRowsPanics(t *testing.T) {
	tensor := Tensor{Name: "t", Shape: []int{2, 1}, Type: "F32", format: formatF32, data: make([]byte, 8)}
	for _, rows := range [][2]int{{-1, 1}, {0, 3}, {2, 1}, {1, math.MaxInt}, {0, -1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("rows %v: no panic", rows)
				}
			}()
			tensor.DecodeRows(rows[0], rows[1], make([]float32, 8))
		}()
	}
}

// TestTensorUnknown asks for a tensor that is not there.
func TestTensorUnknown(t *testing.T) {
	ck, err := Open(folderOf(t, small()))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	if _, err := ck.Tensor("a.b"); err == nil || !strings.Contains(err.Error(), "no tensor a.b") {
		t.Errorf("got %v", err)
	}
	for name := range maps.Keys(small().weights) {
		if tensor, err := ck.Tensor(name); err != nil || tensor.Bytes() != int64(4*len(small().weights[name])) {
			t.Errorf("%s: %d bytes, %v", name, tensor.Bytes(), err)
		}
	}
}

// TestClosed holds that a closed checkpoint gives errors, and what was read before.
func TestClosed(t *testing.T) {
	dir := folderOf(t, small())
	used, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := used.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	unused, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, ck := range []*Checkpoint{used, unused} {
		for range 2 { // a second time does nothing
			if err := ck.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := ck.Tensor("model.norm.weight"); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("Tensor: %v", err)
		}
		if err := ck.Check(); err == nil {
			t.Error("Check gives no error")
		}
		if _, err := ck.Digest(); err == nil {
			t.Error("Digest gives no error")
		}
	}
	if _, err := unused.Tokenizer(); err == nil {
		t.Error("Tokenizer gives no error")
	}
	if again, err := used.Tokenizer(); err != nil || again != tok || len(tok.Encode([]byte("some words"))) == 0 {
		t.Errorf("the tokenizer read before is gone: %v", err)
	}
}
