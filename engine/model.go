package engine

import (
	"fmt"
	"runtime"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Options of Load.
type Options struct {
	Threads  int      // threads that compute; 0 stands for GOMAXPROCS
	Numerics Numerics // Exact or Fast
	// Cache is the memory, in bytes, for decoded weights and for hidden states that candidates share, or activations that
	// Gradient's backward pass reads; 0 keeps none of them. It decides speed, never a result.
	Cache int64
}

// Model is a transformer that scores candidates. Weights stay in their stored form
// and are decoded when a candidate needs them, a sub-block at a time.
//
// A Model uses several threads inside but must not be used by two goroutines at
// a time.
type Model struct {
	config    Config
	numerics  Numerics
	threads   int
	pool      *kernel.Pool
	embedding choice
	head      choice
	layers    []layer
	norm      []float32
	turns     turns
	units     map[string]bool // names of linear modules and sub-blocks
	allHeads  []int           // 0 … Heads-1
	zeros     map[string]zeros

	decoded *lru[*panels]
	spare   map[[2]int][]*panels
	states  *lru[[]float32]
	free    map[int][][]float32 // memory of states
	pending int64               // bytes that hidden states may take that wait for the head

	advanced int // sub-blocks that batches were taken through so far

	scratch chan *scratch // one for each thread
	work    *batch        // the last batch, whose buffers the next one takes over
	inputs  tap
	back    *backward // the last call of Gradient; nil before the first
}

// layer is one transformer block.
type layer struct {
	modules           [roles]*linear
	attnNorm, mlpNorm []float32 // [Hidden]
	qNorm, kNorm      []float32 // [HeadDim], nil unless Config.QKNorm
	window            int       // positions a query sees; 0: all before it
}

// linear is y = W·x + bias.
type linear struct {
	name       string
	rows, cols int
	dense      Weights   // as the checkpoint has them
	bias       []float32 // nil: none
}

// minPending is the least memory for hidden states that wait for the head: the
// teacher's logits are computed once for all that wait.
const minPending = 64 << 20

// Load prepares the model of a checkpoint, which must stay open as long as the
// model is in use. Weights are decoded when they are first needed.
//
// Errors name the tensor that is missing or has the wrong shape, or the vector that
// holds a NaN or an infinity.
func Load(ck *Checkpoint, o Options) (*Model, error) {
	if o.Threads < 0 {
		return nil, fmt.Errorf("engine: %d threads", o.Threads)
	}
	if o.Cache < 0 {
		return nil, fmt.Errorf("engine: a cache of %d bytes", o.Cache)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	m := &Model{
		config:   ck.Config(),
		numerics: o.Numerics,
		threads:  o.Threads,
		pool:     kernel.NewPool(o.Threads),
		units:    make(map[string]bool),
		zeros:    make(map[string]zeros),
		spare:    make(map[[2]int][]*panels),
		free:     make(map[int][][]float32),
		pending:  max(minPending, o.Cache/8),
		scratch:  make(chan *scratch, o.Threads),
		work:     new(batch),
	}
	// Halves of their own: a model whose weights do not fit would push every state out.
	m.decoded = newLRU(o.Cache/2, (*panels).bytes, m.recycle)
	m.states = newLRU(o.Cache/2, func(x []float32) int64 { return 4 * int64(len(x)) }, m.recycleState)
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
	embedding, err := tensor(ck, unitEmbedding+".weight", c.Vocab, c.Hidden)
	if err != nil {
		return err
	}
	if m.norm, err = vector(ck, "model.norm.weight", c.Hidden); err != nil {
		return err
	}
	head := embedding
	m.units[unitEmbedding] = true
	if !c.TieEmbeddings {
		if head, err = tensor(ck, unitHead+".weight", c.Vocab, c.Hidden); err != nil {
			return err
		}
		m.units[unitHead] = true
	}
	m.embedding = choice{key: unitEmbedding, name: unitEmbedding, weights: denseWeights{embedding}}
	m.head = choice{key: headKey, name: unitHead, weights: denseWeights{head}}
	m.turns = turns{inv: c.InvFreq()}
	m.layers = make([]layer, c.Layers)
	for h := range c.Heads {
		m.allHeads = append(m.allHeads, h)
	}
	for _, module := range c.Modules() {
		t, err := tensor(ck, module.Name+".weight", module.Rows, module.Cols)
		if err != nil {
			return err
		}
		for role, name := range roleNames {
			if name == module.Role {
				m.layers[module.Block].modules[role] = &linear{name: module.Name, rows: module.Rows, cols: module.Cols, dense: denseWeights{t}}
			}
		}
		m.units[module.Name] = true
	}
	for i := range m.layers {
		if err := m.loadVectors(ck, i); err != nil {
			return err
		}
		m.units[subBlock(i, 0)], m.units[subBlock(i, 1)] = c.Has(i, 0), c.Has(i, 1)
	}
	return nil
}

// loadVectors reads the norms and biases of a layer.
func (m *Model) loadVectors(ck *Checkpoint, i int) error {
	c, w, l := m.config, m.config.Width(i), &m.layers[i]
	l.window = c.Window(i)
	prefix := fmt.Sprintf("model.layers.%d.", i)
	type part struct {
		dst  *[]float32
		name string
		n    int
		has  bool
	}
	var parts []part
	if c.Has(i, 0) {
		parts = []part{
			{&l.attnNorm, "input_layernorm.weight", c.Hidden, true},
			{&l.qNorm, "self_attn.q_norm.weight", c.HeadDim, c.QKNorm},
			{&l.kNorm, "self_attn.k_norm.weight", c.HeadDim, c.QKNorm},
			{&l.modules[roleQ].bias, "self_attn.q_proj.bias", w.Heads * c.HeadDim, c.QKVBias},
			{&l.modules[roleK].bias, "self_attn.k_proj.bias", w.KVHeads * c.HeadDim, c.QKVBias},
			{&l.modules[roleV].bias, "self_attn.v_proj.bias", w.KVHeads * c.HeadDim, c.QKVBias},
			{&l.modules[roleO].bias, "self_attn.o_proj.bias", c.Hidden, c.OutBias},
		}
	}
	if c.Has(i, 1) {
		parts = append(parts, part{&l.mlpNorm, "post_attention_layernorm.weight", c.Hidden, true})
	}
	for _, v := range parts {
		if !v.has {
			continue
		}
		var err error
		if *v.dst, err = vector(ck, prefix+v.name, v.n); err != nil {
			return err
		}
	}
	return nil
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

// Numerics returns the model's arithmetic.
func (m *Model) Numerics() Numerics { return m.numerics }

// Close stops the model's threads and lets go of its memory. The model must not
// be used afterwards.
func (m *Model) Close() {
	m.pool.Close()
	m.layers, m.decoded, m.spare, m.states, m.free = nil, nil, nil, nil, nil
	m.work, m.inputs, m.scratch, m.back = nil, tap{}, nil, nil
}
