package engine

import (
	"fmt"
	"math"
)

// Config is the shape of a model of the Llama family and the few switches that tell its members
// apart. It is read from a Hugging Face config.json or from the metadata of a GGUF file.
type Config struct {
	Arch         string // llama, mistral, qwen2 or qwen3
	Layers       int    // transformer blocks
	Hidden       int    // width of the residual stream
	Heads        int    // query heads
	KVHeads      int    // key and value heads; divides Heads
	HeadDim      int    // width of a head; even, and not always Hidden/Heads
	FFN          int    // width of the gated feed-forward layer
	Vocab        int    // rows of the embedding; may exceed the tokenizer's vocabulary
	MaxPositions int    // the longest sequence that the model was trained for

	NormEps     float64      // added to the mean square in RMSNorm
	RopeTheta   float64      // base of the rotary frequencies
	RopeScaling *RopeScaling // nil: frequencies as they are

	TieEmbeddings bool // the head is the embedding; there is no lm_head.weight
	QKVBias       bool // q_proj, k_proj and v_proj add a bias
	OutBias       bool // o_proj adds a bias
	QKNorm        bool // each head of q and k passes an RMSNorm before rotation (Qwen3)

	SlidingWindow int // positions a query sees, itself included; 0: all before it
	FullLayers    int // the first layers that see everything in spite of SlidingWindow

	// Absent tells which sub-blocks the model does not have: the attention of block b at 2b, its MLP
	// at 2b+1. What passes them is unchanged. nil: the model has all.
	Absent []bool

	// Widths are the numbers of heads and the width of the MLP of each block, of which Heads, KVHeads and FFN are then the largest.
	// nil: all blocks have these. See SetWidths.
	Widths []Width
}

// RopeScaling changes the rotary frequencies so that a model reaches beyond the positions that it
// was first trained for.
type RopeScaling struct {
	Type   string  // linear, llama3 or factors
	Factor float64 // linear: every frequency is divided by it; llama3: the low ones are

	// Llama 3: wavelengths below OriginalMaxPositions/HighFreqFactor stay, those above
	// OriginalMaxPositions/LowFreqFactor are scaled, and those between are blended.
	LowFreqFactor, HighFreqFactor float64
	OriginalMaxPositions          int

	// Factors divide the frequencies one by one (length HeadDim/2). GGUF files hold Llama 3's
	// scaling in this form, as tensor rope_freqs.weight.
	Factors []float32
}

// Module is a linear layer of a block: the matrix [Rows x Cols] that takes Cols inputs to Rows
// outputs.
type Module struct {
	Name  string // Hugging Face name, as model.layers.0.self_attn.q_proj
	Block int    // the block that it is part of, from 0
	Role  string // q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj or down_proj
	Rows  int
	Cols  int
}

// Modules lists the linear modules of all blocks in forward order. The embedding and the head are
// not among them.
func (c Config) Modules() []Module {
	out := make([]Module, 0, 7*c.Layers)
	for b := range c.Layers {
		w := c.Width(b)
		q, kv := w.Heads*c.HeadDim, w.KVHeads*c.HeadDim
		add := func(sub, role string, rows, cols int) {
			name := fmt.Sprintf("model.layers.%d.%s.%s", b, sub, role)
			out = append(out, Module{Name: name, Block: b, Role: role, Rows: rows, Cols: cols})
		}
		if c.Has(b, 0) {
			add("self_attn", "q_proj", q, c.Hidden)
			add("self_attn", "k_proj", kv, c.Hidden)
			add("self_attn", "v_proj", kv, c.Hidden)
			add("self_attn", "o_proj", c.Hidden, q)
		}
		if c.Has(b, 1) {
			add("mlp", "gate_proj", w.FFN, c.Hidden)
			add("mlp", "up_proj", w.FFN, c.Hidden)
			add("mlp", "down_proj", c.Hidden, w.FFN)
		}
	}
	return out
}

// Has reports whether a block has its attention (sub 0) or its MLP (sub 1).
func (c Config) Has(block, sub int) bool { return c.Absent == nil || !c.Absent[2*block+sub] }

// Parameters is the number of weights of the model, a tied embedding counted once.
func (c Config) Parameters() int64 {
	var n int64
	for _, t := range c.Tensors() {
		size := int64(1)
		for _, d := range t.Shape {
			size *= int64(d)
		}
		n += size
	}
	return n
}

// Window is the number of positions that a query of the block sees, itself included; 0 stands for
// all positions before it.
func (c Config) Window(block int) int {
	if block < c.FullLayers {
		return 0
	}
	return c.SlidingWindow
}

// InvFreq is the rotary frequency of each pair of a head, HeadDim/2 of them, with RopeScaling
// applied: position p turns pair i by p·InvFreq[i].
//
// Su et al., RoFormer, arXiv 2104.09864; Llama 3's scaling as in Hugging Face transformers.
func (c Config) InvFreq() []float32 {
	f := make([]float32, c.HeadDim/2)
	for i := range f {
		f[i] = float32(exp(-float64(log(c.RopeTheta) * float64(2*i) / float64(c.HeadDim))))
	}
	s := c.RopeScaling
	if s == nil {
		return f
	}
	for i := range f {
		switch s.Type {
		case "linear":
			f[i] /= float32(s.Factor)
		case "factors":
			f[i] /= s.Factors[i]
		case "llama3":
			f[i] = float32(s.llama3(float64(f[i])))
		}
	}
	return f
}

func (s *RopeScaling) llama3(freq float64) float64 {
	context := float64(s.OriginalMaxPositions)
	wavelength := 2 * math.Pi / freq
	switch {
	case wavelength < context/s.HighFreqFactor:
		return freq
	case wavelength > context/s.LowFreqFactor:
		return freq / s.Factor
	}
	smooth := (context/wavelength - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
	return float64((1-smooth)*(freq/s.Factor)) + float64(smooth*freq)
}

// Required is the name and shape of a tensor that a Config asks for.
type Required struct {
	Name  string // Hugging Face name, as model.layers.0.self_attn.q_proj.weight
	Shape []int  // [rows, cols] of a matrix, one number for a vector
}

// Tensors lists every tensor that the model consists of, in forward order: the embedding, the norms, modules and
// biases of each block, the last norm, and the head unless it is tied.
func (c Config) Tensors() []Required {
	list := []Required{{"model.embed_tokens.weight", []int{c.Vocab, c.Hidden}}}
	add := func(name string, shape ...int) { list = append(list, Required{name, shape}) }
	for _, m := range c.Modules() {
		prefix := fmt.Sprintf("model.layers.%d.", m.Block)
		switch m.Role {
		case "q_proj":
			add(prefix+"input_layernorm.weight", c.Hidden)
		case "gate_proj":
			add(prefix+"post_attention_layernorm.weight", c.Hidden)
		}
		add(m.Name+".weight", m.Rows, m.Cols)
		switch m.Role {
		case "q_proj", "k_proj", "v_proj":
			if c.QKVBias {
				add(m.Name+".bias", m.Rows)
			}
		case "o_proj":
			if c.OutBias {
				add(m.Name+".bias", m.Rows)
			}
			if c.QKNorm {
				add(prefix+"self_attn.q_norm.weight", c.HeadDim)
				add(prefix+"self_attn.k_norm.weight", c.HeadDim)
			}
		}
	}
	add("model.norm.weight", c.Hidden)
	if !c.TieEmbeddings {
		add("lm_head.weight", c.Vocab, c.Hidden)
	}
	return list
}

// Limits on the numbers of a Config: far above every model there is, and low enough that no
// product of two of them overflows and no list of layers exhausts memory.
const (
	maxLayers = 1 << 12
	maxWidth  = 1 << 24
	maxVocab  = 1 << 26
)

// check reports the first number of c that no model of the family can have.
func (c Config) check() error {
	for _, n := range []struct {
		name       string
		value, max int
	}{
		{"number of layers", c.Layers, maxLayers},
		{"hidden size", c.Hidden, maxWidth},
		{"number of attention heads", c.Heads, maxWidth},
		{"number of key-value heads", c.KVHeads, maxWidth},
		{"head dimension", c.HeadDim, maxWidth},
		{"feed-forward size", c.FFN, maxWidth},
		{"vocabulary size", c.Vocab, maxVocab},
		{"number of positions", c.MaxPositions, math.MaxInt32},
	} {
		if n.value < 1 || n.value > n.max {
			return malformed("%s is %d, want 1 to %d", n.name, n.value, n.max)
		}
	}
	switch {
	case c.HeadDim%2 != 0:
		return malformed("head dimension %d is odd, which rotary positions do not allow", c.HeadDim)
	case c.Heads*c.HeadDim > maxWidth:
		return malformed("%d heads of width %d are more than %d in all", c.Heads, c.HeadDim, maxWidth)
	case !(c.NormEps >= 0 && c.NormEps < 1):
		return malformed("epsilon of RMSNorm is %v, want 0 to 1", c.NormEps)
	case !(c.RopeTheta > 0 && c.RopeTheta <= math.MaxFloat32):
		return malformed("rotary base is %v, want a positive number", c.RopeTheta)
	case c.SlidingWindow < 0 || c.FullLayers < 0:
		return malformed("sliding window of %d positions after %d full layers", c.SlidingWindow, c.FullLayers)
	}
	if err := c.checkWidths(); err != nil {
		return err
	}
	return c.RopeScaling.check(c.HeadDim)
}

func (s *RopeScaling) check(headDim int) error {
	if s == nil {
		return nil
	}
	positive := func(x float64) bool { return x > 0 && x <= math.MaxFloat32 }
	switch s.Type {
	case "linear":
		if !positive(s.Factor) {
			return malformed("linear rope scaling has factor %v, want a positive number", s.Factor)
		}
	case "llama3":
		if !positive(s.Factor) || !positive(s.LowFreqFactor) || !positive(s.HighFreqFactor) ||
			s.HighFreqFactor <= s.LowFreqFactor || s.OriginalMaxPositions < 1 {
			return malformed("llama3 rope scaling has factor %v, low %v, high %v, original positions %d",
				s.Factor, s.LowFreqFactor, s.HighFreqFactor, s.OriginalMaxPositions)
		}
	case "factors":
		if len(s.Factors) != headDim/2 {
			return malformed("%d rope factors for %d rotary pairs", len(s.Factors), headDim/2)
		}
		for i, f := range s.Factors {
			if !positive(float64(f)) {
				return malformed("rope factor %d is %v, want a positive number", i, f)
			}
		}
	default:
		return unsupported("rope scaling of type %q", s.Type)
	}
	return nil
}
