package engine

import (
	"context"
	"fmt"

	"github.com/paretopress/paretopress/internal/kernel"
)

// Loss is what [Model.Gradient] differentiates: the sum over the predictions that count of the negative log-likelihood of the next token
// in nats or, with a teacher, of
//
//	Mix·NLL + (1-Mix)·T²·KL(teacher ‖ model)
//
// with both distributions at temperature T, divided by the number of predictions. The factor T² keeps the size of the gradient at every
// temperature (Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, arXiv 1503.02531). The zero value is the mean NLL.
type Loss struct {
	// Teacher, if not nil, must have been taught all of the windows, by a model of the same checkpoint and numerics.
	Teacher     *Teacher
	Temperature float64 // T; 0 stands for 1
	Mix         float64 // the part of the NLL beside a teacher, 0 to 1
	// Counted tells for each window which of its tokens are to be predicted, an answer's for instance: one bool for each token, of which
	// the first, which nothing predicts, is ignored. nil: all.
	Counted [][]bool
	// Predictions is what the sum is divided by; 0 stands for the predictions of the call that count. With the number of all
	// microbatches, the gradients of the calls for them add up to that of the whole batch.
	Predictions int
}

// LossValue is the loss of a call of [Model.Gradient]. The sums are divided as in Loss.
type LossValue struct {
	Counted int     // predictions that count
	Loss    float64 // what was differentiated
	NLL     float64 // in nats
	KL      float64 // T²·KL in nats; 0 without a teacher
}

// backward is a call of Gradient, and the memory that the next one takes over.
type backward struct {
	m      *Model
	ctx    context.Context
	b      *batch
	plan   plan
	want   func(name string) bool
	sink   func(*Product) error
	failed error // of a product in the sink's hands

	kept        []([]float32) // [rows x Hidden] residual stream before each step that the backward pass comes to
	activations []activations // of each step; nil where there is no room
	room        int64         // bytes left for those
	// dy is the gradient of the residual stream after the step in hand, next that before it.
	dy, next operand
	in, din  operand // normed input of a sub-block, and its gradient

	dense  []float32 // some rows of a gradient that is streamed
	thin   thin
	sample sample

	weights   [roles]pair
	mlp       mlpBackward
	attention attentionBackward
	head      headBackward
	embedding embeddingBackward
}

// Gradient runs a candidate over windows, forward and backward, and gives sink the gradient of the loss with respect to each parameter that
// want (nil: every one) chooses by name, from the head to the embeddings. Names are those of candidates' units for matrices
// ("model.layers.0.mlp.up_proj", "model.embed_tokens", "lm_head"), and those of tensors for vectors ("model.layers.0.input_layernorm.weight",
// "model.layers.0.self_attn.q_proj.bias"). Tied embeddings have one gradient, of both uses, and come last. Modules that are dropped, or in a sub-block
// that is, have none.
//
// Weights of c may change from call to call under the same names: nothing of them is kept. In exact numerics the result is the same bits
// on every CPU and for every number of threads; in fast numerics inputs of the products with weight matrices are rounded to
// bfloat16, those within attention are not. All windows of a call pass together: the hidden states before each
// sub-block are in memory, and the activations of one sub-block, which is run forward a second time; those of further ones are kept from the first
// time as far as half of [Options].Cache has room for them. The backward pass goes no further than to what is wanted. An error of sink ends the
// call and is returned.
//
// Gradient fails as [Model.Score] does, and with an error that matches [ErrNotFinite] where a weight, the loss or the gradient of a hidden state is NaN or
// infinite, which names the tensor or sub-block.
//
// Chen, Xu, Zhang and Guestrin, Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174.
func (m *Model) Gradient(ctx context.Context, windows [][]int32, c Candidate, loss Loss, want func(name string) bool, sink func(*Product) error) (LossValue, error) {
	p, err := m.plan(c)
	if err != nil {
		return LossValue{}, err
	}
	if err := m.check(windows); err != nil {
		return LossValue{}, err
	}
	if m.back == nil {
		m.back = new(backward)
	}
	g := m.back
	g.m, g.ctx, g.plan, g.sink, g.failed = m, ctx, p, sink, nil
	if g.want = want; want == nil {
		g.want = func(string) bool { return true }
	}
	g.b = m.layout(windows, span{0, len(windows)})
	g.room = m.states.limit
	m.yieldStates()
	if err := g.head.begin(g, loss); err != nil {
		return LossValue{}, err
	}
	last := g.last()
	if err := g.forward(last); err != nil {
		return LossValue{}, err
	}
	hidden := m.config.Hidden
	g.dy.reset(g.b.rows, hidden)
	g.next.reset(g.b.rows, hidden)
	value, err := g.head.run(last < len(p.steps) || g.want("model.norm.weight"))
	if err != nil {
		return LossValue{}, err
	}
	if err := g.head.emit(); err != nil {
		return LossValue{}, err
	}
	for i := len(p.steps) - 1; i >= max(last, 0); i-- {
		if p.steps[i].dropped {
			continue
		}
		if err := g.step(i); err != nil {
			return LossValue{}, err
		}
	}
	if g.want(unitEmbedding) {
		return value, g.embedding.emit(g)
	}
	return value, nil
}

// last is the first step, in forward order, that the backward pass has to come to; -1 stands for the embeddings, len(steps) for the head.
func (g *backward) last() int {
	if g.want(unitEmbedding) {
		return -1
	}
	for i, s := range g.plan.steps {
		if s.dropped {
			continue
		}
		for _, name := range g.parameters(i) {
			if g.want(name) {
				return i
			}
		}
	}
	return len(g.plan.steps)
}

// parameters are the names of what a sub-block that is not dropped consists of.
func (g *backward) parameters(step int) []string {
	layer, sub := step/2, step%2
	l := &g.m.layers[layer]
	names := []string{normName(layer, sub)}
	for i, c := range g.plan.steps[step].choices {
		module := l.modules[sub*roleGate+i]
		if c.weights != nil {
			names = append(names, module.name)
		}
		if module.bias != nil {
			names = append(names, module.name+".bias")
		}
	}
	if sub == 0 && l.qNorm != nil {
		names = append(names, headNormName(layer, "q"), headNormName(layer, "k"))
	}
	return names
}

// normName is the name of the norm before a layer's attention (0) or MLP (1).
func normName(layer, sub int) string {
	return fmt.Sprintf("model.layers.%d.%s.weight", layer, [...]string{"input_layernorm", "post_attention_layernorm"}[sub])
}

// headNormName is the name of the norm of a layer's queries (q) or keys (k).
func headNormName(layer int, of string) string {
	return fmt.Sprintf("model.layers.%d.self_attn.%s_norm.weight", layer, of)
}

// forward takes the windows to the end of the layers, and keeps the residual stream before each step from last on.
func (g *backward) forward(last int) error {
	m, b := g.m, g.b
	size := b.rows * m.config.Hidden
	b.x = grow(b.x, size)
	if err := m.embed(b, g.plan.embedding); err != nil {
		return err
	}
	g.kept = append(g.kept, make([][]float32, max(0, len(g.plan.steps)-len(g.kept)))...)
	g.activations = append(g.activations, make([]activations, max(0, len(g.plan.steps)-len(g.activations)))...)
	for i, s := range g.plan.steps {
		if s.dropped {
			continue
		}
		if i >= last {
			g.kept[i] = grow(g.kept[i], size)
		}
		if err := g.advance(i, s, i >= last); err != nil {
			return err
		}
	}
	return nil
}

// advance takes the residual stream through one sub-block, as Model.advance does with weights that may be kept. What the backward pass needs of a
// step that it comes to is kept.
func (g *backward) advance(step int, s step, back bool) error {
	m, b, layer := g.m, g.b, step/2
	hidden := m.config.Hidden
	remember := func(r rowBlock) {
		if back {
			copy(g.kept[step][r.row*hidden:][:r.n*hidden], b.x[r.row*hidden:])
		}
	}
	ws := make([]*panels, len(s.choices))
	for i, c := range s.choices {
		p, err := g.decode(&g.weights[step%2*roleGate+i], c, true, false)
		if err != nil {
			return err
		}
		ws[i] = p.w
	}
	width := s.width
	var keep activations
	if step%2 == 1 {
		if back {
			keep = g.keep(step, width.FFN, width.FFN)
		}
		return m.each(g.ctx, b, func(r rowBlock, s *scratch) {
			remember(r)
			m.feed(b, layer, ws, width.FFN, r, s, nil, keep)
		})
	}
	heads := m.heads(width)
	if back {
		d := m.config.HeadDim
		keep = g.keep(step, width.Heads*d, width.KVHeads*d, width.KVHeads*d)
	}
	err := m.each(g.ctx, b, func(r rowBlock, s *scratch) {
		remember(r)
		m.project(b, layer, ws, heads, r, s, nil, keep)
	})
	if err != nil {
		return err
	}
	return m.each(g.ctx, b, func(r rowBlock, s *scratch) { m.attend(b, layer, ws, heads, r, s, nil) })
}

// step takes the gradient of the residual stream back through one sub-block.
func (g *backward) step(i int) error {
	for j, c := range g.plan.steps[i].choices {
		role := i%2*roleGate + j
		again := role != roleO && role != roleDown && g.activations[i] == nil
		if _, err := g.decode(&g.weights[role], c, again, true); err != nil {
			return err
		}
	}
	var err error
	if i%2 == 1 {
		err = g.mlp.run(g, i/2, g.kept[i])
	} else {
		err = g.attention.run(g, i/2, g.kept[i])
	}
	if err != nil {
		return err
	}
	g.dy, g.next = g.next, g.dy
	if !g.dy.finite() {
		return notFiniteErr("the gradient of the input of %s is NaN or infinite", subBlock(i/2, i%2))
	}
	return nil
}

// normed fills the normed input of a sub-block for a row block.
func (g *backward) normed(x, weight []float32, r rowBlock) {
	hidden := g.m.config.Hidden
	for i := r.row; i < r.row+r.n; i++ {
		kernel.RMSNorm(g.in.row(i), x[i*hidden:][:hidden], weight, float32(g.m.config.NormEps))
	}
}

// denormed turns the gradient of the normed input of a sub-block for a row block into rows of the gradient of the norm's weight, and adds that of the residual
// stream to the one that passes the sub-block.
func (g *backward) denormed(x, weight []float32, r rowBlock) {
	hidden := g.m.config.Hidden
	for i := r.row; i < r.row+r.n; i++ {
		copy(g.next.row(i), g.dy.row(i))
		kernel.RMSNormGrad(g.next.row(i), g.din.row(i), x[i*hidden:][:hidden], weight, float32(g.m.config.NormEps))
	}
}
