package sparseft

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestDelta holds that a delta survives being written, merges to what was trained bit for bit, and unmerges to the base.
func TestDelta(t *testing.T) {
	for name, o := range variants() {
		o.Base = "0123abcd"
		p := newProblem(40, 2, [2]int{10, 8}, [2]int{7, 9})
		if o.LowRank == MergedMasked {
			for i, g := range p.targets {
				p.targets[i].Mask = halfMask(g.Rows, g.Cols)
			}
		}
		tr := p.train(t, o)
		d := tr.Delta()
		before, planned := start(t, p, o), int64(0) // what a training says of its delta before it begins
		for i := range p.targets {
			planned += before.DeltaBytes(i)
		}
		if planned != d.Bytes() {
			t.Errorf("%s: %d bytes were planned, the delta has %d", name, planned, d.Bytes())
		}
		var b bytes.Buffer
		if err := d.Write(&b); err != nil {
			t.Fatal(err)
		}
		again, err := ReadDelta(b.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(d, again) {
			t.Errorf("%s: %+v was read as %+v", name, d, again)
		}
		if again.Base != "0123abcd" || again.Steps != 15 || again.Options != o {
			t.Errorf("%s: metadata %+v", name, again)
		}
		data := int64(0) // what the file holds beside its header
		_, entries, err := readEntries(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			switch v := e.data.(type) {
			case []byte:
				data += int64(len(v))
			default:
				data += 4 * int64(reflect.ValueOf(v).Len())
			}
		}
		if d.Bytes() != data {
			t.Errorf("%s: %d bytes, the file holds %d", name, d.Bytes(), data)
		}
		for i, x := range again.Tensors {
			w := slices.Clone(p.base(i))
			if err := x.Check(Dense{w, x.Cols}, x.Rows, x.Cols); err != nil {
				t.Error(err)
			}
			saved := x.Merge(w)
			if !equalBits(w, p.work[i]) {
				t.Errorf("%s: merged is not trained", name)
			}
			if err := x.Check(Dense{w, x.Cols}, x.Rows, x.Cols); err == nil || !strings.Contains(err.Error(), "for another base") {
				t.Errorf("%s: merged twice: %v", name, err)
			}
			saved.Unmerge(w)
			if !equalBits(w, p.base(i)) {
				t.Errorf("%s: unmerged is not the base", name)
			}
		}
	}
}

// TestUnmergeIsExact shows why overwritten values are saved: subtracting would not give them back.
func TestUnmergeIsExact(t *testing.T) {
	d := TensorDelta{Rows: 1, Cols: 2, Indices: []int32{1}, Values: []float32{1e8}}
	w := []float32{3, 0.3}
	s := d.Merge(w)
	if w[1]-1e8 == 0.3 {
		t.Fatal("the example shows nothing")
	}
	if s.Unmerge(w); w[0] != 3 || w[1] != 0.3 {
		t.Errorf("%v", w)
	}
}

// TestDeltaErrors holds that a delta that cannot be right is refused, in one line that names the tensor.
func TestDeltaErrors(t *testing.T) {
	p := newProblem(41, 2, [2]int{10, 8})
	o := options(StaticRandom, 2, 5)
	o.Base = "0123456789abcdef"
	d := p.train(t, o).Delta()
	lowRank := newProblem(41, 2, [2]int{10, 8}).train(t, options(LoRA, 2, 0)).Delta()
	file := func(d *Delta) []byte {
		var b bytes.Buffer
		if err := d.Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	changed := func(of *Delta, f func(*TensorDelta)) []byte {
		x := of.Tensors[0]
		x.Indices, x.Values = slices.Clone(x.Indices), slices.Clone(x.Values)
		f(&x)
		return file(&Delta{Base: of.Base, Options: of.Options, Steps: of.Steps, Tensors: []TensorDelta{x}})
	}
	good := file(d)
	for _, c := range []struct {
		data []byte
		want string
	}{
		{changed(d, func(x *TensorDelta) { x.Indices[4] = 80 }), "layer.0: index 80 is outside its 80 weights"},
		{changed(d, func(x *TensorDelta) { x.Indices[0] = -1 }), "layer.0: index -1 is outside its 80 weights"},
		{changed(d, func(x *TensorDelta) { x.Indices[1] = x.Indices[0] }), "is repeated"},
		{changed(d, func(x *TensorDelta) { x.Indices[0], x.Indices[1] = x.Indices[1], x.Indices[0] }), "indices ascend"},
		{changed(d, func(x *TensorDelta) { x.Values = x.Values[:4] }), "5 indices and 4 values"},
		{changed(d, func(x *TensorDelta) { x.Values[2] /= 0 * x.Values[2] }), "at place 2 of delta.values"},
		{changed(d, func(x *TensorDelta) { x.Rows = -1 }), "it is of -1 x 8 weights"},
		{changed(d, func(x *TensorDelta) { x.Rows = 1 << 30 }), "weights"},
		{changed(d, func(x *TensorDelta) { x.Digest = "12" }), `"12" is no SHA-256`},
		{changed(d, func(x *TensorDelta) { x.Indices, x.Values = nil, nil }), "neither values nor factors"},
		{changed(d, func(x *TensorDelta) { x.Mask = NewMask(79) }), ""}, // 10 bytes too
		{changed(d, func(x *TensorDelta) { x.Mask = NewMask(90) }), "a mask of 12 bytes for 80 weights"},
		{changed(lowRank, func(x *TensorDelta) { x.B = x.B[:len(x.B)-2]; x.Rows-- }), ""}, // a tensor of 9 rows
		{changed(lowRank, func(x *TensorDelta) { x.Rows = 12 }), "bytes"},
		{bytes.Replace(good, []byte(`"layer.0.delta.values"`), []byte(`"layer.1.delta.values"`), 1), "5 indices and 0 values"},
		{bytes.Replace(good, []byte(`"format":"sparseft"`), []byte(`"format":"sparsefu"`), 1), `format "sparsefu"`},
		{good[:len(good)-1], "lies at bytes"},
		{append(slices.Clone(good), 0), "1 unused bytes after the last tensor"},
		{good[:7], "too few"},
		{append([]byte{255, 255, 255, 255, 255, 255, 255, 255}, good[8:]...), "truncated"},
	} {
		_, err := ReadDelta(c.data)
		if c.want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	if err := d.CheckModel("0123456789abcdef"); err != nil {
		t.Error(err)
	}
	if err := d.CheckModel("fedcba9876543210"); err == nil || !strings.Contains(err.Error(), "for the model 0123456789ab, this is fedcba987654") {
		t.Error(err)
	}
	if err := d.Tensors[0].Check(Dense{make([]float32, 80), 10}, 8, 10); err == nil || !strings.Contains(err.Error(), "layer.0 is for 10 x 8 weights, the tensor has 8 x 10") {
		t.Error(err)
	}
}

// TestPEFT holds the layouts to be those that PEFT reads; bench/peers/check_peft.py loads them there.
func TestPEFT(t *testing.T) {
	files := func(m Method) (map[string]any, map[string]entry, error) {
		p := newProblem(42, 2, [2]int{10, 8}, [2]int{6, 6})
		p.targets[0].Name = "model.layers.0.self_attn.q_proj"
		p.targets[1].Name = "model.layers.0.mlp.up_proj.weight"
		a, err := p.train(t, options(m, 8, 12)).Delta().PEFT("some/model")
		if err != nil {
			return nil, nil, err
		}
		config := map[string]any{}
		if err := json.Unmarshal(a.Config, &config); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := a.WriteWeights(&b); err != nil {
			t.Fatal(err)
		}
		metadata, entries, err := readEntries(b.Bytes())
		if err != nil || metadata["format"] != "pt" {
			t.Fatal(metadata, err)
		}
		by := map[string]entry{}
		for _, e := range entries {
			by[e.name] = e
		}
		return config, by, nil
	}
	for m, want := range map[Method]string{SpIELAG: "rigl", SpIELMA: "sm3"} {
		config, by, err := files(m)
		if err != nil {
			t.Fatal(err)
		}
		if config["peft_type"] != "SFT" || config["base_model_name_or_path"] != "some/model" || config["selection_algorithm"] != want ||
			!reflect.DeepEqual(config["num_deltas"], map[string]any{"model.layers.0.self_attn.q_proj": 8.0, "model.layers.0.mlp.up_proj": 3.0}) {
			t.Errorf("%v", config)
		}
		if got := slices.Sorted(maps.Keys(by)); !slices.Equal(got, []string{
			"base_model.model.model.layers.0.mlp.up_proj.sft_delta.indices", "base_model.model.model.layers.0.mlp.up_proj.sft_delta.values",
			"base_model.model.model.layers.0.self_attn.q_proj.sft_delta.indices", "base_model.model.model.layers.0.self_attn.q_proj.sft_delta.values",
		}) {
			t.Errorf("%v", got)
		}
		if e := by["base_model.model.model.layers.0.mlp.up_proj.sft_delta.indices"]; !slices.Equal(e.shape, []int{3}) {
			t.Errorf("%v", e)
		}
	}
	config, by, err := files(LoRA)
	if err != nil {
		t.Fatal(err)
	}
	if config["peft_type"] != "LORA" || config["r"] != 2.0 || config["lora_alpha"] != 16.0 ||
		!reflect.DeepEqual(config["target_modules"], []any{"model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"}) {
		t.Errorf("%v", config)
	}
	if e := by["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"]; !slices.Equal(e.shape, []int{2, 8}) {
		t.Errorf("%v", e)
	}
	if e := by["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"]; !slices.Equal(e.shape, []int{10, 2}) {
		t.Errorf("%v", e)
	}
	for _, m := range []Method{Full, DSEE} {
		if _, _, err := files(m); err == nil || !strings.Contains(err.Error(), "PEFT has no layout for a delta of method "+string(m)) {
			t.Errorf("%s: %v", m, err)
		}
	}
}

// TestReadPEFT reads back what PEFT gets, and takes nothing that PEFT would understand otherwise.
func TestReadPEFT(t *testing.T) {
	d := newProblem(42, 2, [2]int{10, 8}, [2]int{6, 6}).train(t, options(LoRA, 8, 12)).Delta()
	a, err := d.PEFT("base")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := a.WriteWeights(&b); err != nil {
		t.Fatal(err)
	}
	read, err := ReadPEFT(a.Config, b.Bytes())
	if err != nil || !d.LowRank() {
		t.Fatal(err)
	}
	for i := range d.Tensors {
		want := d.Tensors[i]
		want.Digest = ""
		if !reflect.DeepEqual(read[i], want) {
			t.Errorf("%+v, want %+v", read[i], want)
		}
	}
	config, weights := string(a.Config), b.String()
	for _, c := range []struct{ config, weights, want string }{
		{"{", weights, "adapter_config.json"},
		{strings.Replace(config, "LORA", "SFT", 1), weights, `type "SFT"`},
		{strings.Replace(config, `"r": 2`, `"r": 3`, 1), weights, "want rank 3"},
		{strings.Replace(config, `"r": 2`, `"r": 0`, 1), weights, "r 0"},
		{strings.Replace(config, `"r": 2`, `"r": 2, "use_rslora": true`, 1), weights, "no plain LoRA"},
		{strings.Replace(config, `"r": 2`, `"r": 2, "alpha_pattern": {"q_proj": 1}`, 1), weights, "no plain LoRA"},
		{config, strings.Replace(weights, "lora_A", "lora_C", 1), "lora_C.weight"},
		{config, strings.Replace(weights, "layer.1.lora_A", "layer.2.lora_A", 1), "are not two"},
		{config, weights[:len(weights)-4] + "\x00\x00\xc0\x7f", "finite"},
		{config, weights[:len(weights)-4], "lies at bytes"},
	} {
		if _, err := ReadPEFT([]byte(c.config), []byte(c.weights)); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
	for _, m := range []Method{SpIELAG, DSEE, Full} {
		if newProblem(42, 1, [2]int{10, 8}).train(t, options(m, 8, 12)).Delta().LowRank() {
			t.Errorf("%s is of low rank", m)
		}
	}
	d.Tensors[1].Mask = NewMask(36)
	if d.LowRank() || (&Delta{}).LowRank() {
		t.Error("a product under a mask, or none, is of low rank")
	}
}

// TestOptionsBytes: what options foretell is what a delta takes.
func TestOptionsBytes(t *testing.T) {
	shapes := [][2]int{{10, 8}, {6, 12}}
	for _, m := range Methods {
		o := options(m, 12, 40)
		d := newProblem(47, 2, shapes...).train(t, o).Delta()
		if n, err := o.Bytes(shapes); err != nil || n != d.Bytes() {
			t.Errorf("%s: %d bytes foretold, %v; the delta has %d", m, n, err, d.Bytes())
		}
	}
	o := options(StaticRandom, 2, 1)
	if _, err := o.Bytes(shapes); err == nil {
		t.Error("a budget that leaves nothing for a tensor has a size")
	}
}

func FuzzReadDelta(f *testing.F) {
	for _, m := range []Method{StaticRandom, DSEE, Full} {
		var b bytes.Buffer
		if err := newProblem(43, 1, [2]int{4, 5}).train(f, options(m, 2, 6)).Delta().Write(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ReadDelta(data)
		if err != nil {
			return
		}
		for _, x := range d.Tensors {
			if x.Rows*x.Cols < 1<<16 {
				w := make([]float32, x.Rows*x.Cols)
				x.Merge(w).Unmerge(w)
			}
		}
	})
}
