package engine

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Options of Load.
type Options struct {
	Threads int // threads that compute; 0 stands for GOMAXPROCS
}

// Model is a loaded transformer whose linear modules and sub-blocks can be
// switched in place. It computes with exact numerics: in float32, every product
// accumulated in one defined order, so that results are the same bit for bit for
// every number of threads, every split of the windows into calls and every CPU.
//
// A Model uses several threads inside but must not be used by two goroutines at
// a time.
type Model struct {
	config    Config
	threads   int
	pool      *kernel.Pool
	embedding Tensor
	layers    []layer
	norm      []float32
	head      *kernel.Panels
	turns     turns

	modules map[string]*linear   // by name, as model.layers.0.mlp.up_proj
	blocks  map[string]*subBlock // by name, as model.layers.0.mlp
	spare   map[[2]int]*kernel.Panels
	scratch chan *scratch // one for each thread
	work    *batch        // the last batch, whose buffers the next one takes over
	hidden  []float32     // residual stream of a batch
	inputs  tap
}

// layer is one transformer block.
type layer struct {
	attention, mlp    subBlock
	q, k, v, o        linear
	gate, up, down    linear
	attnNorm, mlpNorm []float32 // [Hidden]
	qNorm, kNorm      []float32 // [HeadDim], nil unless Config.QKNorm
	window            int       // positions a query sees; 0: all before it
}

// subBlock is the attention or the MLP of a layer.
type subBlock struct {
	dropped bool
	modules []*linear
}

// linear is y = W·x + bias.
type linear struct {
	name   string
	dense  Weights // as the checkpoint has them
	panels *kernel.Panels
	bias   []float32 // nil: none
	set    bool      // panels hold something else than dense
}

// Load decodes the weights of a checkpoint into memory as float32: about four
// bytes a parameter. The embedding is read from the checkpoint as it is needed,
// so the checkpoint must stay open as long as the model is in use.
//
// Errors name the tensor that is missing, has the wrong shape, or holds a NaN
// or an infinity.
func Load(ck *Checkpoint, o Options) (*Model, error) {
	if o.Threads < 0 {
		return nil, fmt.Errorf("engine: %d threads", o.Threads)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	m := &Model{
		config:  ck.Config(),
		threads: o.Threads,
		pool:    kernel.NewPool(o.Threads),
		modules: make(map[string]*linear),
		blocks:  make(map[string]*subBlock),
		spare:   make(map[[2]int]*kernel.Panels),
		scratch: make(chan *scratch, o.Threads),
		work:    new(batch),
	}
	for range o.Threads {
		m.scratch <- new(scratch)
	}
	if err := m.load(ck); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Model) load(ck *Checkpoint) error {
	c := m.config
	var err error
	if m.embedding, err = tensor(ck, "model.embed_tokens.weight", c.Vocab, c.Hidden); err != nil {
		return err
	}
	if m.norm, err = vector(ck, "model.norm.weight", c.Hidden); err != nil {
		return err
	}
	head := m.embedding
	if !c.TieEmbeddings {
		if head, err = tensor(ck, "lm_head.weight", c.Vocab, c.Hidden); err != nil {
			return err
		}
	}
	m.head = kernel.NewPanels(c.Vocab, c.Hidden)
	if err := m.pack(m.head, head.Name, denseWeights{head}); err != nil {
		return err
	}
	m.turns = turns{inv: c.InvFreq()}
	m.layers = make([]layer, c.Layers)
	for b := range m.layers {
		l := &m.layers[b]
		l.window = c.Window(b)
		prefix := fmt.Sprintf("model.layers.%d.", b)
		for _, v := range []struct {
			dst  *[]float32
			name string
			n    int
			has  bool
		}{
			{&l.attnNorm, "input_layernorm.weight", c.Hidden, true},
			{&l.mlpNorm, "post_attention_layernorm.weight", c.Hidden, true},
			{&l.qNorm, "self_attn.q_norm.weight", c.HeadDim, c.QKNorm},
			{&l.kNorm, "self_attn.k_norm.weight", c.HeadDim, c.QKNorm},
			{&l.q.bias, "self_attn.q_proj.bias", c.Heads * c.HeadDim, c.QKVBias},
			{&l.k.bias, "self_attn.k_proj.bias", c.KVHeads * c.HeadDim, c.QKVBias},
			{&l.v.bias, "self_attn.v_proj.bias", c.KVHeads * c.HeadDim, c.QKVBias},
			{&l.o.bias, "self_attn.o_proj.bias", c.Hidden, c.OutBias},
		} {
			if !v.has {
				continue
			}
			if *v.dst, err = vector(ck, prefix+v.name, v.n); err != nil {
				return err
			}
		}
		m.blocks[prefix+"self_attn"] = &l.attention
		m.blocks[prefix+"mlp"] = &l.mlp
	}
	for _, module := range c.Modules() {
		if err := m.loadModule(ck, module); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) loadModule(ck *Checkpoint, module Module) error {
	t, err := tensor(ck, module.Name+".weight", module.Rows, module.Cols)
	if err != nil {
		return err
	}
	l := &m.layers[module.Block]
	in := map[string]*linear{"q_proj": &l.q, "k_proj": &l.k, "v_proj": &l.v, "o_proj": &l.o,
		"gate_proj": &l.gate, "up_proj": &l.up, "down_proj": &l.down}[module.Role]
	in.name = module.Name
	in.dense = denseWeights{t}
	in.panels = kernel.NewPanels(module.Rows, module.Cols)
	m.modules[module.Name] = in
	sub := m.blocks[strings.TrimSuffix(module.Name, "."+module.Role)]
	sub.modules = append(sub.modules, in)
	return m.pack(in.panels, t.Name, in.dense)
}

// tensor finds a tensor and checks its shape.
func tensor(ck *Checkpoint, name string, shape ...int) (Tensor, error) {
	t, err := ck.Tensor(name)
	if err != nil {
		return Tensor{}, err
	}
	if fmt.Sprint(t.Shape) != fmt.Sprint(shape) {
		return Tensor{}, fmt.Errorf("engine: tensor %s has shape %v; the model needs %v", name, t.Shape, shape)
	}
	return t, nil
}

// vector decodes a one-dimensional tensor.
func vector(ck *Checkpoint, name string, n int) ([]float32, error) {
	t, err := tensor(ck, name, n)
	if err != nil {
		return nil, err
	}
	x := make([]float32, n)
	t.DecodeRows(0, 1, x)
	if at := notFinite(x); at >= 0 {
		return nil, notFiniteErr("tensor %s: element %d is NaN or infinite", name, at)
	}
	return x, nil
}

// Config returns the model's configuration.
func (m *Model) Config() Config { return m.config }

// Set puts w in the place of a linear module's weights. Only this module is
// decoded. A module of a dropped sub-block may be set; the sub-block stays
// dropped until it is restored. On an error (an unknown module, another shape,
// a weight that is NaN or infinite) the model is as it was before.
func (m *Model) Set(module string, w Weights) error {
	l, ok := m.modules[module]
	if !ok {
		return fmt.Errorf("engine: the model has no linear module %q", module)
	}
	if err := m.replace(l, w); err != nil {
		return err
	}
	l.set = true
	return nil
}

// replace decodes w into the spare panels of its shape and exchanges them with
// those in use, so that a failure leaves the module alone.
func (m *Model) replace(l *linear, w Weights) error {
	rows, cols := w.Shape()
	if rows != l.panels.Rows || cols != l.panels.Cols {
		return fmt.Errorf("engine: %s is %dx%d; the weights for it are %dx%d", l.name, l.panels.Rows, l.panels.Cols, rows, cols)
	}
	shape := [2]int{rows, cols}
	next := m.spare[shape]
	if next == nil {
		next = kernel.NewPanels(rows, cols)
		m.spare[shape] = next
	}
	if err := m.pack(next, l.name, w); err != nil {
		return err
	}
	l.panels, m.spare[shape] = next, l.panels
	return nil
}

// Drop removes a sub-block ("model.layers.4.self_attn" or "model.layers.4.mlp"):
// its output is 0 and the residual stream passes by unchanged.
func (m *Model) Drop(sub string) error {
	b, ok := m.blocks[sub]
	if !ok {
		return fmt.Errorf("engine: the model has no sub-block %q", sub)
	}
	b.dropped = true
	return nil
}

// Restore takes a linear module back to the weights of the checkpoint, or a
// sub-block with all of its modules; a dropped sub-block is there again. What is
// dense already costs nothing.
func (m *Model) Restore(name string) error {
	if l, ok := m.modules[name]; ok {
		return m.restore(l)
	}
	b, ok := m.blocks[name]
	if !ok {
		return fmt.Errorf("engine: the model has no linear module or sub-block %q", name)
	}
	for _, l := range b.modules {
		if err := m.restore(l); err != nil {
			return err
		}
	}
	b.dropped = false
	return nil
}

func (m *Model) restore(l *linear) error {
	if !l.set {
		return nil
	}
	if err := m.replace(l, l.dense); err != nil {
		return err
	}
	l.set = false
	return nil
}

// Close stops the model's threads and lets go of its memory. The model must not
// be used afterwards.
func (m *Model) Close() {
	m.pool.Close()
	m.layers, m.head, m.modules, m.blocks, m.spare = nil, nil, nil, nil, nil
	m.work, m.hidden, m.inputs, m.scratch = nil, nil, tap{}, nil
}
