package export

import (
	"fmt"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
)

// Units beside the linear modules and sub-blocks.
const (
	embeddingUnit = "model.embed_tokens"
	headUnit      = "lm_head"
)

// file is a GGUF file that is to be written.
type file struct {
	layout
	meta    metadata
	tensors []*tensor
}

// tensor is one of its tensors.
type tensor struct {
	name    string // ggml's
	unit    string // of the source: a linear module, the embedding or the head; empty: of the fixed part
	module  string // the unit's name in the model that the file is
	level   string // of the unit
	shape   []int  // as Hugging Face has it, outermost dimension first
	kind    kernel.GGMLType
	decide  func() kernel.GGMLType // which type of 16 bits it is to be; nil: kind
	content content
}

// bytes is the size of the tensor without what pads it.
func (t *tensor) bytes() int64 {
	rows, cols := t.matrix()
	return typeBytes(t.kind, rows, cols)
}

// matrix is the shape of the tensor as a matrix; a vector is one row.
func (t *tensor) matrix() (rows, cols int) {
	if len(t.shape) == 1 {
		return 1, t.shape[0]
	}
	return t.shape[0], t.shape[1]
}

// planner puts a file together.
type planner struct {
	ck   *engine.Checkpoint
	cand engine.Candidate
	o    GGUFOptions
	gguf bool // the checkpoint is a GGUF file
	file *file
}

// plan lays out the file of a candidate. It reads no weights but those of vectors.
func plan(ck *engine.Checkpoint, cand engine.Candidate, o GGUFOptions) (*file, error) {
	if !slices.Contains([]string{"", "f16", "bf16"}, o.Dense) {
		return nil, fmt.Errorf("export: dense type %q is neither f16 nor bf16", o.Dense)
	}
	l, err := newLayout(ck, cand)
	if err != nil {
		return nil, err
	}
	p := &planner{ck: ck, cand: cand, o: o, gguf: ck.Metadata() != nil, file: &file{layout: l}}
	if err := p.check(); err != nil {
		return nil, err
	}
	if p.untied() {
		p.file.config.TieEmbeddings = false
	}
	if factors := ropeFactors(l.config); factors != nil {
		p.add(&tensor{name: "rope_freqs.weight", shape: []int{len(factors)}, content: vector(factors)})
	}
	for _, want := range p.file.config.Tensors() {
		if err := p.required(want); err != nil {
			return nil, err
		}
	}
	p.standIns()
	return p.file, p.file.keys(ck, o.Name)
}

// check reports a unit of the candidate that the model does not have.
func (p *planner) check() error {
	c := p.file.source
	known := map[string]bool{embeddingUnit: true, headUnit: true}
	for _, m := range c.Modules() {
		known[m.Name] = true
	}
	for b := range c.Layers {
		for sub := range 2 {
			known[subBlock(b, sub)] = c.Has(b, sub)
		}
	}
	var unknown []string
	for unit := range p.cand {
		if !known[unit] {
			unknown = append(unknown, unit)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("export: the model has no linear module or sub-block %q", slices.Min(unknown))
	}
	return nil
}

// untied reports whether a head that is the embedding needs a tensor of its own: the candidate gives it another level.
func (p *planner) untied() bool {
	head, ok := p.cand[headUnit]
	embedding, same := p.cand[embeddingUnit]
	return p.file.source.TieEmbeddings && (p.o.Untied || ok && !(same && head.Name == embedding.Name))
}

func (p *planner) add(t *tensor) { p.file.tensors = append(p.file.tensors, t) }

// required adds a tensor that the model in the file needs.
func (p *planner) required(want engine.Required) error {
	source := p.file.unit(want.Name)
	t := &tensor{name: engine.GGUFName(want.Name), shape: want.Shape}
	rows := p.file.rows(strings.TrimSuffix(strings.TrimSuffix(source, ".weight"), ".bias"))
	p.add(t)
	if len(want.Shape) == 1 {
		dense, err := p.ck.Tensor(source)
		if err != nil {
			return err
		}
		all, v := make([]float32, want.Shape[0]), make(vector, want.Shape[0])
		dense.DecodeRows(0, 1, all)
		for i := range v {
			v[i] = all[rows.row(i)]
		}
		t.content = v
		return nil
	}
	t.unit, t.module = strings.TrimSuffix(source, ".weight"), strings.TrimSuffix(want.Name, ".weight")
	level, ok := p.cand[t.unit]
	if t.unit == headUnit && !ok && p.file.source.TieEmbeddings {
		level, ok = p.cand[embeddingUnit] // a tied head is the embedding
	}
	if ok {
		return p.level(t, level, rows)
	}
	return p.dense(t, rows)
}

// dense makes a tensor of what the checkpoint has: the bytes of a GGUF file, or 16 bits.
func (p *planner) dense(t *tensor, rows order) error {
	t.level = "dense"
	name := t.unit
	if name == headUnit && p.file.source.TieEmbeddings {
		name = embeddingUnit
	}
	dense, err := p.ck.Tensor(name + ".weight")
	if err != nil {
		return err
	}
	if kind, ok := p.keeps(dense); ok {
		n, _ := t.matrix()
		t.kind, t.content = kind, stored{rows: n, order: rows, row: dense.Row}
		return nil
	}
	w, err := engine.Dense(p.ck, name)
	if err != nil {
		return err
	}
	p.plain(t, w, rows)
	return nil
}

// keeps reports whether a matrix goes over as it is stored, and in which type.
func (p *planner) keeps(m engine.Tensor) (kernel.GGMLType, bool) {
	kind, known := storedType(m)
	known = known && m.Bytes() == typeBytes(kind, m.Rows(), m.Cols())
	return kind, known && (p.gguf || (kind == F16 || kind == BF16) && (p.o.Dense == "" || p.o.Dense == typeName(kind)))
}

// level makes a tensor of a level's weights.
func (p *planner) level(t *tensor, l engine.Level, rows order) error {
	t.level, _, _ = strings.Cut(l.Name, " ") // what follows is the bank that it is from
	n, cols := t.matrix()
	if l.Weights == nil {
		return fmt.Errorf("export: %s is dropped, and no architecture of llama.cpp lacks it: keep it", t.unit)
	}
	if r, c := l.Weights.Shape(); r != n || c != cols {
		return fmt.Errorf("export: %s is %dx%d; the weights for it are %dx%d", t.unit, n, cols, r, c)
	}
	if g, ok := l.Weights.(*kernel.GGML); ok {
		data, stride := g.Data(), int(g.Bytes())/n
		t.kind = g.Type()
		t.content = stored{rows: n, order: rows, row: func(r int) []byte { return data[r*stride : (r+1)*stride] }}
		return nil
	}
	if s, ok := l.Weights.(engine.Slice); ok {
		p.slice(t, s, rows)
		return nil
	}
	if _, merged := l.Weights.(Merged); !merged && !p.o.Simulated {
		return p.refuse(t, l)
	}
	p.plain(t, l.Weights, rows)
	return nil
}

// slice makes a tensor of a part of what the checkpoint has: the bytes of the rows of a GGUF file, or 16 bits, as columns are no whole
// blocks.
func (p *planner) slice(t *tensor, s engine.Slice, rows order) {
	kind, ok := p.keeps(s.Tensor)
	if !ok || s.Cols != nil {
		p.plain(t, s, rows)
		return
	}
	n, _ := t.matrix()
	row := s.Tensor.Row
	if s.Rows != nil {
		row = func(r int) []byte { return s.Tensor.Row(s.Rows[r]) }
	}
	t.kind, t.content = kind, stored{rows: n, order: rows, row: row}
}

// refuse says why a level is not written, and what would be.
func (p *planner) refuse(t *tensor, l engine.Level) error {
	bits := 16.0
	n, cols := t.matrix()
	if sized, ok := l.Weights.(interface{ Bytes() int64 }); ok {
		bits = 8 * float64(sized.Bytes()) / (float64(n) * float64(cols))
	}
	near := nearestType(cols, bits)
	name := "dense"
	if near != F16 {
		name = typeName(near)
	}
	return fmt.Errorf("export: %s is at level %s, which no type of llama.cpp stores: the nearest that loads is %s (or write it as simulated, in 16 bits)", t.unit, t.level, name)
}

// plain makes a tensor of 16 bits.
func (p *planner) plain(t *tensor, w engine.Weights, rows order) {
	t.kind, t.content = F16, numbers{name: t.unit, weights: w, order: rows}
	switch p.o.Dense {
	case "bf16":
		t.kind = BF16
	case "":
		t.decide = func() kernel.GGMLType { return sixteen(w) }
	}
}

// standIns adds what llama.cpp needs where a sub-block is not there: to its architecture deci, a block without an MLP has no
// attention either, and the width of a head is that of the first block.
func (p *planner) standIns() {
	c := p.file.config
	for b := range c.Layers {
		zero := func(name string, rows, cols int) {
			p.add(&tensor{name: fmt.Sprintf("blk.%d.%s.weight", b, name), shape: []int{rows, cols}, kind: F16, content: zeros(2 * rows * cols)})
		}
		norm := func(name string) {
			p.add(&tensor{name: fmt.Sprintf("blk.%d.%s.weight", b, name), shape: []int{c.Hidden}, content: ones(c.Hidden)})
		}
		if b == 0 && !c.Has(b, 0) {
			norm("attn_norm")
			zero("attn_q", zeroHeads*c.HeadDim, c.Hidden)
			zero("attn_k", zeroHeads*c.HeadDim, c.Hidden)
			zero("attn_v", zeroHeads*c.HeadDim, c.Hidden)
			zero("attn_output", c.Hidden, zeroHeads*c.HeadDim)
		}
		if !c.Has(b, 1) {
			norm("ffn_norm")
			zero("ffn_gate", narrowFFN, c.Hidden)
			zero("ffn_up", narrowFFN, c.Hidden)
			zero("ffn_down", c.Hidden, narrowFFN)
		}
	}
}

// mostly is the type that most bytes of the units are in.
func (f *file) mostly() kernel.GGMLType {
	sizes := map[kernel.GGMLType]int64{}
	for _, t := range f.tensors {
		if t.unit != "" {
			sizes[t.kind] += t.bytes()
		}
	}
	best := F16
	for _, t := range append([]kernel.GGMLType{F32, F16, BF16}, kernel.GGMLTypes()...) {
		if sizes[t] > sizes[best] {
			best = t
		}
	}
	return best
}

// size is that of the whole file.
func (f *file) size() int64 {
	n := int64(len(f.header()))
	for _, t := range f.tensors {
		n += padded(t.bytes())
	}
	return n
}
