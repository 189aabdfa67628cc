package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/builtin"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/prune"
	"github.com/paretopress/paretopress/quant"
)

// openModel opens a model for as long as the test runs.
func openModel(t *testing.T, ref string) *engine.Checkpoint {
	t.Helper()
	ck, err := engine.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ck.Close() })
	return ck
}

// level makes a level of a unit that needs no calibration.
func level(t *testing.T, ck *engine.Checkpoint, unit, name string) engine.Level {
	t.Helper()
	if name == "drop" {
		return engine.Level{Name: name}
	}
	dense, err := engine.Dense(ck, unit)
	if err != nil {
		t.Fatal(err)
	}
	rows, cols := dense.Shape()
	w := make([]float32, rows*cols)
	dense.DecodeRows(0, rows, w)
	var packed kernel.Packed
	if s, e := quant.Parse(name); e == nil {
		packed, err = s.Build(w, rows, cols, nil)
	} else {
		var s prune.Spec
		if s, err = prune.Parse(name); err == nil {
			packed, err = s.Build(w, rows, cols, nil)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return engine.Level{Name: name, Weights: packed}
}

// candidate makes the levels of units; a unit that ends in * stands for all that begin alike.
func candidate(t *testing.T, ck *engine.Checkpoint, levels map[string]string) engine.Candidate {
	t.Helper()
	c := engine.Candidate{}
	for unit, name := range levels {
		if prefix, all := strings.CutSuffix(unit, "*"); all {
			for _, m := range ck.Config().Modules() {
				if strings.HasSuffix(m.Name, prefix) {
					c[m.Name] = level(t, ck, m.Name, name)
				}
			}
			continue
		}
		c[unit] = level(t, ck, unit, name)
	}
	return c
}

// nll is the mean negative log-likelihood of a window.
func nll(t *testing.T, ck *engine.Checkpoint, c engine.Candidate) float64 {
	t.Helper()
	m, err := engine.Load(ck, engine.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tok, err := ck.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	window := tok.Encode(builtin.Text(7, 2<<10))[:128]
	out, err := m.Score(context.Background(), [][]int32{window}, nil, []engine.Candidate{c}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if out[0].Err != nil {
		t.Fatal(out[0].Err)
	}
	return out[0].Windows[0].NLL / float64(len(window)-1)
}

// values decodes a tensor.
func values(t *testing.T, ck *engine.Checkpoint, name string) []float32 {
	t.Helper()
	x, err := ck.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float32, x.Rows()*x.Cols())
	x.DecodeRows(0, x.Rows(), out)
	return out
}

// write exports into a new folder and opens it.
func write(t *testing.T, ck *engine.Checkpoint, c engine.Candidate, o HFOptions) (HFResult, *engine.Checkpoint) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	r, err := HuggingFace(dir, ck, c, o)
	if err != nil {
		t.Fatal(err)
	}
	return r, openModel(t, dir)
}

// configOf is the config.json of a folder.
func configOf(t *testing.T, ck *engine.Checkpoint) map[string]any {
	t.Helper()
	data, err := ck.Companion("config.json")
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHuggingFaceIsTheModel: a dense export of the model is the model, byte for byte where it can be.
func TestHuggingFaceIsTheModel(t *testing.T) {
	ck := openModel(t, engine.Builtin)
	r, got := write(t, ck, nil, HFOptions{Files: map[string][]byte{"README.md": []byte("card\n")}})
	if r.Format != FormatDense || r.Dtype != "BF16" || len(r.Rounded) != 0 || r.Layers != 8 || len(r.Notes) != 0 {
		t.Errorf("%+v", r)
	}
	if want := []string{"README.md", "config.json", "model.safetensors", "tokenizer.json"}; !slices.Equal(r.Files, want) {
		t.Errorf("files %v, want %v", r.Files, want)
	}
	if !slices.Equal(got.Names(), ck.Names()) {
		t.Errorf("tensors %v, want %v", got.Names(), ck.Names())
	}
	for _, name := range ck.Names() {
		if !slices.Equal(values(t, got, name), values(t, ck, name)) {
			t.Errorf("%s differs", name)
		}
	}
	for _, name := range []string{"tokenizer.json"} {
		a, _ := ck.Companion(name)
		b, _ := got.Companion(name)
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs", name)
		}
	}
	a, _ := ck.Companion("config.json")
	b, _ := got.Companion("config.json")
	if squeeze(a) != squeeze(b) {
		t.Errorf("config.json became %s", b)
	}
	if x, y := nll(t, got, nil), nll(t, ck, nil); x != y {
		t.Errorf("NLL %v, want %v", x, y)
	}
}

// squeeze takes the white space out of JSON.
func squeeze(data []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return ""
	}
	return b.String()
}

// TestHuggingFaceDense: zeros are real, 16 bits hold what they can, and F32 holds all.
func TestHuggingFaceDense(t *testing.T) {
	ck := openModel(t, engine.Builtin)
	c := candidate(t, ck, map[string]string{
		"mlp.down_proj*": "magnitude-0.50", "self_attn.q_proj*": "rtn-3b-g64", "self_attn.v_proj*": "rtn-4b-g32",
		"model.layers.2.mlp.up_proj": "fp8", "model.layers.3.self_attn.k_proj": "drop",
	})
	want := nll(t, ck, c)
	for dtype, tolerance := range map[string]float64{"F32": 0, "F16": 1e-4, "": 3e-2} {
		r, got := write(t, ck, c, HFOptions{Dtype: dtype})
		if x := nll(t, got, nil); math.Abs(x-want) > tolerance*want {
			t.Errorf("%s: NLL %v, want %v", dtype, x, want)
		}
		if (r.Changed == 0) != (dtype == "F32") || dtype == "" && r.MaxRelative > 0x1p-8 || r.MaxError > 0x1p-8 {
			t.Errorf("%s: %+v", dtype, r)
		}
		zeros := 0
		for _, v := range values(t, got, "model.layers.0.mlp.down_proj.weight") {
			if v == 0 {
				zeros++
			}
		}
		if zeros < 128*384/2 {
			t.Errorf("%s: %d zeros", dtype, zeros)
		}
		if torch := configOf(t, got)["torch_dtype"]; torch != map[string]string{"F32": "float32", "F16": "float16", "": "bfloat16"}[dtype] {
			t.Errorf("%s: torch_dtype %v", dtype, torch)
		}
		if _, ok := configOf(t, got)["quantization_config"]; ok {
			t.Errorf("%s: a quantization_config", dtype)
		}
	}
}

// TestHuggingFaceCompressed: what is read back is what was evaluated, to the last bit.
func TestHuggingFaceCompressed(t *testing.T) {
	ck := openModel(t, engine.Builtin)
	for name, test := range map[string]struct {
		levels  map[string]string
		options HFOptions
		format  string
		groups  int
	}{
		"4 bits":   {map[string]string{"_proj*": "rtn-4b-g32"}, HFOptions{Runtime: RuntimeVLLM}, "pack-quantized", 1},
		"8 bits":   {map[string]string{"mlp.up_proj*": "rtn-8b-g64-sym", "mlp.gate_proj*": "rtn-8b-g64-sym"}, HFOptions{Runtime: RuntimeVLLM}, "pack-quantized", 1},
		"8 zeros":  {map[string]string{"mlp.up_proj*": "rtn-8b-g64"}, HFOptions{}, "pack-quantized", 1},
		"int8":     {map[string]string{"_proj*": "int8"}, HFOptions{Runtime: RuntimeVLLM}, "pack-quantized", 1},
		"w8a8":     {map[string]string{"_proj*": "int8"}, HFOptions{Activations: true}, "int-quantized", 1},
		"fp8":      {map[string]string{"_proj*": "fp8"}, HFOptions{Runtime: RuntimeVLLM}, "float-quantized", 1},
		"mixed":    {map[string]string{"self_attn.q_proj*": "rtn-4b-g32-sym", "self_attn.k_proj*": "rtn-4b-gall", "mlp.down_proj*": "fp8", "mlp.up_proj*": "rtn-3b-g64", "model.layers.1.self_attn.o_proj": "int8"}, HFOptions{}, "mixed-precision", 4},
		"dropping": {map[string]string{"_proj*": "rtn-4b-g128-sym", "model.layers.0.self_attn": "drop", "model.layers.0.mlp": "drop", "model.layers.5.mlp": "drop"}, HFOptions{Runtime: RuntimeVLLM}, "pack-quantized", 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := candidate(t, ck, test.levels)
			test.options.Format, test.options.Dtype = FormatCompressed, "F32"
			r, got := write(t, ck, c, test.options)
			if r.Format != test.format || r.Changed != 0 {
				t.Errorf("%+v, want format %s", r, test.format)
			}
			q := configOf(t, got)["quantization_config"].(map[string]any)
			if n := len(q["config_groups"].(map[string]any)); n != test.groups || q["format"] != test.format {
				t.Errorf("%d groups of format %v", n, q["format"])
			}
			if x, y := nll(t, got, nil), nll(t, ck, c); x != y {
				t.Errorf("NLL %v, want %v", x, y)
			}
			if err := got.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHuggingFaceTargets: each module is in one group, or ignored, under its new number.
func TestHuggingFaceTargets(t *testing.T) {
	ck := openModel(t, engine.Builtin)
	c := candidate(t, ck, map[string]string{
		"self_attn.q_proj*": "rtn-4b-g32", "model.layers.2.mlp.down_proj": "fp8", "model.layers.7.mlp.down_proj": "fp8",
		"model.layers.1.self_attn": "drop", "model.layers.1.mlp": "drop", "model.layers.3.self_attn": "drop",
	})
	_, got := write(t, ck, c, HFOptions{Format: FormatCompressed})
	q := configOf(t, got)["quantization_config"].(map[string]any)
	var groups [][]string
	for _, g := range []string{"group_0", "group_1"} {
		var list []string
		for _, s := range q["config_groups"].(map[string]any)[g].(map[string]any)["targets"].([]any) {
			list = append(list, s.(string))
		}
		groups = append(groups, list)
	}
	want := [][]string{{`re:.*\.layers\.(0|1|3|4|5|6)\.self_attn\.(q_proj)$`}, {`re:.*\.layers\.(1|6)\.mlp\.(down_proj)$`}}
	if !slices.EqualFunc(groups, want, slices.Equal) {
		t.Errorf("targets %v, want %v", groups, want)
	}
	ignore := fmt.Sprint(q["ignore"])
	for _, part := range []string{`layers\.(2)\.self_attn\.(q_proj)$`, `layers\.\d+\.self_attn\.(k_proj|v_proj|o_proj)$`, `layers\.(0|2|3|4|5)\.mlp\.(down_proj)$`, "lm_head"} {
		if !strings.Contains(ignore, part) {
			t.Errorf("ignore %s, want %s", ignore, part)
		}
	}
}

// TestHuggingFaceDrops: layers go, sub-blocks are silenced, and what is left computes the same.
func TestHuggingFaceDrops(t *testing.T) {
	ck := openModel(t, engine.Builtin)
	for name, test := range map[string]struct {
		drop   []string
		layers int
		notes  int
	}{
		"attention": {[]string{"model.layers.0.self_attn"}, 8, 1},
		"last mlp":  {[]string{"model.layers.7.mlp"}, 8, 1},
		"layers":    {[]string{"model.layers.0.self_attn", "model.layers.0.mlp", "model.layers.7.mlp", "model.layers.7.self_attn", "model.layers.3.mlp"}, 6, 2},
		"modules":   {[]string{"model.layers.2.self_attn.v_proj", "model.layers.2.mlp.gate_proj", "model.layers.4.self_attn.q_proj"}, 7, 1},
	} {
		levels := map[string]string{}
		for _, unit := range test.drop {
			levels[unit] = "drop"
		}
		c := candidate(t, ck, levels)
		r, got := write(t, ck, c, HFOptions{})
		if r.Layers != test.layers || got.Config().Layers != test.layers || len(r.Notes) != test.notes {
			t.Errorf("%s: %d layers, config %d, notes %q", name, r.Layers, got.Config().Layers, r.Notes)
		}
		if x, y := nll(t, got, nil), nll(t, ck, c); x != y {
			t.Errorf("%s: NLL %v, want %v", name, x, y)
		}
	}
}

// TestHuggingFaceShards: small files, with an index that the loader reads.
func TestHuggingFaceShards(t *testing.T) {
	ck := openModel(t, engine.Builtin)
	var last, total int64
	r, got := write(t, ck, nil, HFOptions{ShardBytes: 1 << 20, Progress: func(done, of int64) error { last, total = done, of; return nil }})
	if len(r.Files) < 6 || !slices.Contains(r.Files, "model.safetensors.index.json") || !slices.Contains(r.Files, "model-00001-of-00004.safetensors") {
		t.Errorf("files %v", r.Files)
	}
	if last != total || total != r.WeightBytes {
		t.Errorf("progress %d of %d, weights %d", last, total, r.WeightBytes)
	}
	if x, y := nll(t, got, nil), nll(t, ck, nil); x != y {
		t.Errorf("NLL %v, want %v", x, y)
	}
	var modules int64
	for _, m := range r.Modules {
		modules += m.Bytes
	}
	if len(r.Modules) != 1+7*8 || modules != r.WeightBytes-17*128*2 {
		t.Errorf("%d modules of %d bytes; all weights are %d", len(r.Modules), modules, r.WeightBytes)
	}
	stop := errors.New("stop")
	parent := t.TempDir()
	_, err := HuggingFace(filepath.Join(parent, "x"), ck, nil, HFOptions{Progress: func(int64, int64) error { return stop }})
	if left, _ := os.ReadDir(parent); !errors.Is(err, stop) || len(left) > 0 {
		t.Errorf("stopped: %v, left %v", err, left)
	}
	data, err := got.Companion("model.safetensors.index.json")
	if err != nil || !strings.Contains(string(data), fmt.Sprintf(`"total_size": %d`, r.WeightBytes)) {
		t.Errorf("index: %v, %.200s", err, data)
	}
}

// narrow are weights cut to some rows.
type narrow struct {
	engine.Weights
	rows, cols int
}

func (n narrow) Shape() (rows, cols int) { return n.rows, n.cols }
func (n narrow) DecodeRows(first, count int, dst []float32) {
	_, cols := n.Weights.Shape()
	row := make([]float32, cols)
	for i := range count {
		n.Weights.DecodeRows(first+i, 1, row)
		copy(dst[i*n.cols:], row[:n.cols])
	}
}

func TestHuggingFaceWidths(t *testing.T) {
	ck := openModel(t, engine.Builtin)
	cut := func(layers ...int) engine.Candidate {
		c := engine.Candidate{}
		for _, l := range layers {
			for role, shape := range map[string][2]int{"mlp.gate_proj": {256, 128}, "mlp.up_proj": {256, 128}, "mlp.down_proj": {128, 256}} {
				w, err := engine.Dense(ck, hfUnit(l, role))
				if err != nil {
					t.Fatal(err)
				}
				c[hfUnit(l, role)] = engine.Level{Name: "width-256", Weights: narrow{w, shape[0], shape[1]}}
			}
		}
		return c
	}
	dir := filepath.Join(t.TempDir(), "model")
	_, err := HuggingFace(dir, ck, cut(2), HFOptions{})
	if err == nil || !strings.Contains(err.Error(), "384") || !strings.Contains(err.Error(), "gguf") || strings.Contains(err.Error(), "\n") {
		t.Errorf("one narrow layer: %v", err)
	}
	_, got := write(t, ck, cut(0, 1, 2, 3, 4, 5, 6, 7), HFOptions{})
	if got.Config().FFN != 256 {
		t.Errorf("width %d, want 256", got.Config().FFN)
	}
	nll(t, got, nil)
}

// TestHuggingFaceHead: a head with a level of its own is no longer the embedding.
func TestHuggingFaceHead(t *testing.T) {
	ck := openModel(t, engine.Builtin)
	embedding := values(t, ck, "model.embed_tokens.weight")
	s, err := quant.Parse("rtn-4b-g32")
	if err != nil {
		t.Fatal(err)
	}
	packed, err := s.Build(embedding, 1024, 128, nil)
	if err != nil {
		t.Fatal(err)
	}
	rounded := make([]float32, len(embedding))
	packed.DecodeRows(0, 1024, rounded)
	l := engine.Level{Name: "rtn-4b-g32", Weights: packed}
	for name, test := range map[string]struct {
		cand            engine.Candidate
		tied            bool
		embedding, head []float32
	}{
		"embedding": {engine.Candidate{unitEmbedding: l}, true, rounded, nil},
		"head":      {engine.Candidate{unitHead: l}, false, embedding, rounded},
		"both":      {engine.Candidate{unitEmbedding: l, unitHead: l}, true, rounded, nil},
	} {
		_, got := write(t, ck, test.cand, HFOptions{Dtype: "F32"})
		if got.Config().TieEmbeddings != test.tied {
			t.Errorf("%s: tied %v", name, got.Config().TieEmbeddings)
		}
		if !slices.Equal(values(t, got, "model.embed_tokens.weight"), test.embedding) {
			t.Errorf("%s: another embedding", name)
		}
		if !test.tied && !slices.Equal(values(t, got, "lm_head.weight"), test.head) {
			t.Errorf("%s: another head", name)
		}
	}
}

func TestHuggingFaceRefuses(t *testing.T) {
	ck := openModel(t, engine.Builtin)
	all := func(except int) map[string]string {
		m := map[string]string{}
		for i := range 8 {
			if i != except {
				m[hfUnit(i, "mlp")], m[hfUnit(i, "self_attn")] = "drop", "drop"
			}
		}
		return m
	}
	compressed := HFOptions{Format: FormatCompressed, Runtime: RuntimeVLLM}
	for name, test := range map[string]struct {
		levels  map[string]string
		options HFOptions
		want    []string
	}{
		"format":      {nil, HFOptions{Format: "gptq"}, []string{`"gptq"`, FormatCompressed}},
		"runtime":     {nil, HFOptions{Runtime: "ollama"}, []string{`"ollama"`}},
		"type":        {nil, HFOptions{Dtype: "F8"}, []string{`"F8"`}},
		"file":        {nil, HFOptions{Files: map[string][]byte{"../x": nil}}, []string{`"../x"`}},
		"config file": {nil, HFOptions{Files: map[string][]byte{"config.json": nil}}, []string{`"config.json"`}},
		"nothing":     {all(-1), HFOptions{}, []string{"every layer"}},
		"unit":        {map[string]string{"model.layers.8.mlp": "drop"}, HFOptions{}, []string{"model.layers.8.mlp"}},
		"fused qkv":   {map[string]string{"self_attn.q_proj*": "rtn-4b-g32-sym", "self_attn.k_proj*": "rtn-4b-g32", "self_attn.v_proj*": "rtn-4b-g32-sym"}, compressed, []string{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj", "4b-g32-sym"}},
		"fused up":    {map[string]string{"model.layers.5.mlp.up_proj": "rtn-4b-g32"}, compressed, []string{"model.layers.5.mlp.gate_proj", "model.layers.5.mlp.up_proj", "dense"}},
		"group":       {map[string]string{"_proj*": "rtn-4b-g16-sym"}, compressed, []string{"rtn-4b-g16-sym", "g32"}},
		"8 zeros":     {map[string]string{"_proj*": "rtn-8b-g32"}, compressed, []string{"rtn-8b-g32", "-sym"}},
	} {
		parent := t.TempDir()
		_, err := HuggingFace(filepath.Join(parent, "model"), ck, unitsOf(t, ck, test.levels), test.options)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line", name, err)
			continue
		}
		for _, part := range test.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want one with %s", name, err, part)
			}
		}
		if left, _ := os.ReadDir(parent); len(left) > 0 {
			t.Errorf("%s leaves %v", name, left)
		}
	}
	if r, got := write(t, ck, unitsOf(t, ck, all(4)), HFOptions{}); r.Layers != 1 || got.Config().Layers != 1 {
		t.Errorf("all but one layer dropped: %+v", r)
	}
}

// unitsOf is candidate for units that the model may not have.
func unitsOf(t *testing.T, ck *engine.Checkpoint, levels map[string]string) engine.Candidate {
	t.Helper()
	known, c := map[string]string{}, engine.Candidate{}
	for unit, name := range levels {
		if name == "drop" {
			c[unit] = engine.Level{Name: name}
		} else {
			known[unit] = name
		}
	}
	for unit, l := range candidate(t, ck, known) {
		c[unit] = l
	}
	return c
}

// TestHuggingFaceLeavesNothing: an existing folder is not touched and a full disk leaves no folder.
func TestHuggingFaceLeavesNothing(t *testing.T) {
	ck := openModel(t, engine.Builtin)
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := HuggingFace(dir, ck, nil, HFOptions{}); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("an existing folder: %v", err)
	}
	t.Cleanup(func() { durable.Fault = nil })
	for _, failing := range []string{"sync", "rename"} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "model")
		durable.Fault = func(step, path string) error {
			if step == failing {
				return &fs.PathError{Op: step, Path: path, Err: syscall.ENOSPC}
			}
			return nil
		}
		_, err := HuggingFace(dir, ck, nil, HFOptions{})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
			t.Errorf("a full disk: %v", err)
		}
		if left, _ := os.ReadDir(parent); len(left) > 0 {
			t.Errorf("a full disk leaves %v", left)
		}
	}
}

func TestDenseOverflow(t *testing.T) {
	e := &hfExport{options: HFOptions{Dtype: "F16"}}
	a := e.dense("x.weight", []int{2, 2}, func(_, _ int, dst []float32) { copy(dst, []float32{1, 2, 70000, 3}) })
	err := a.write(&bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "x.weight") || !strings.Contains(err.Error(), "row 1, column 0") || !strings.Contains(err.Error(), "BF16") {
		t.Errorf("%v", err)
	}
}
