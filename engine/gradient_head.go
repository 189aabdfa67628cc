package engine

import (
	"fmt"
	"math"

	"github.com/paretopress/paretopress/internal/kernel"
)

// slopeLD is the distance of two rows of a tile of gradients of logits.
const slopeLD = tileCols + 16

// headBackward is the loss and its gradient down to the residual stream, at the positions whose predictions count. Logits, and their
// gradients, exist for a tile of the vocabulary and a row block at a time; what needs them later computes them again.
type headBackward struct {
	g           *backward
	choice      choice
	temperature float64
	nll, kl     float64 // what the gradients of NLL and KL, each with respect to the logits it is of, are multiplied with
	mix         float64
	divisor     float64
	taught      bool

	position []int      // of each prediction that counts: its row in the batch
	target   []int32    // the token that comes next
	blocks   []rowBlock // runs of predictions, of which only row and n are set
	hidden   operand    // [predictions x Hidden] normed residual stream
	grad     operand    // its gradient, later rows of that of the norm's weight
	teacher  rows       // [predictions x Hidden] the teacher's
	memory   buffer     // of teacher

	// Of each prediction: model at temperature 1, model and teacher at that of the loss.
	sums, warmSums, teachSums []logSum
	lse, warmLSE, teachLSE    []float64
	logit                     []float64 // of the target
	gap                       []float64 // as prediction.gap, at the temperature

	tiles  [sliceTiles]pair
	teach  [sliceTiles]pair
	slopes operand // [predictions x tileCols] gradients of logits, for products
}

// begin checks the loss and finds the predictions that count.
func (h *headBackward) begin(g *backward, loss Loss) error {
	h.g, h.choice, h.taught = g, g.plan.head, loss.Teacher != nil
	h.temperature, h.mix = loss.Temperature, loss.Mix
	if h.temperature == 0 {
		h.temperature = 1
	}
	if !(h.temperature > 0 && h.temperature <= math.MaxFloat32) {
		return fmt.Errorf("engine: a temperature of %v, want a positive number", loss.Temperature)
	}
	if !(h.mix >= 0 && h.mix <= 1) {
		return fmt.Errorf("engine: a part of %v of the NLL, want 0 to 1", loss.Mix)
	}
	if !h.taught {
		h.mix, h.temperature = 1, 1
	}
	windows := g.b.windows
	if loss.Counted != nil && len(loss.Counted) != len(windows) {
		return fmt.Errorf("engine: %d windows, but %d that tell what counts", len(windows), len(loss.Counted))
	}
	h.position, h.target = h.position[:0], h.target[:0]
	var from []int // of each prediction: its place in the window
	for i, w := range windows {
		if loss.Counted != nil && len(loss.Counted[i]) != len(w) {
			return fmt.Errorf("engine: window %d has %d tokens, but it is told of %d whether they count", i, len(w), len(loss.Counted[i]))
		}
		for p, id := range w[1:] {
			if loss.Counted == nil || loss.Counted[i][p+1] {
				h.position, h.target, from = append(h.position, g.b.start[i]+p), append(h.target, id), append(from, p)
			}
		}
	}
	if len(h.position) == 0 {
		return fmt.Errorf("engine: none of the %d windows has a prediction that counts", len(windows))
	}
	if loss.Predictions < 0 {
		return fmt.Errorf("engine: a loss over %d predictions", loss.Predictions)
	}
	h.divisor = float64(loss.Predictions)
	if loss.Predictions == 0 {
		h.divisor = float64(len(h.position))
	}
	h.nll, h.kl = h.mix/h.divisor, (1-h.mix)*h.temperature/h.divisor
	h.divide()
	if !h.taught {
		return nil
	}
	return h.learn(loss.Teacher, from)
}

// divide makes row blocks of the predictions.
func (h *headBackward) divide() {
	n := len(h.position)
	each := min(blockRows, ceil(n/(threadBlocks*h.g.m.threads)+1, panelRows))
	h.blocks = h.blocks[:0]
	for at := 0; at < n; at += each {
		h.blocks = append(h.blocks, rowBlock{row: at, n: min(each, n-at)})
	}
	for _, s := range []*[]logSum{&h.sums, &h.warmSums, &h.teachSums} {
		*s = grow(*s, n)
		clear(*s)
	}
	for _, x := range []*[]float64{&h.lse, &h.warmLSE, &h.teachLSE, &h.logit, &h.gap} {
		*x = grow(*x, n)
		clear(*x)
	}
}

// learn copies the teacher's states of the predictions; from is the place of each in its window.
func (h *headBackward) learn(t *Teacher, from []int) error {
	m := h.g.m
	taught, err := t.find(m, h.g.b.windows)
	if err != nil {
		return err
	}
	h.teacher = m.rows(&h.memory, len(from), m.config.Hidden)
	window := 0
	for k, p := range from {
		for h.g.b.start[window]+p != h.position[k] {
			window++
		}
		src := taught[window].from(p)
		ld := h.teacher.ld
		if h.teacher.f32 != nil {
			copy(h.teacher.f32[k*ld:][:m.config.Hidden], src.hidden.f32)
		} else {
			copy(h.teacher.bf16[k*ld:][:ceil(m.config.Hidden, depthBF16)], src.hidden.bf16)
		}
		h.teachLSE[k] = src.lse[0]
	}
	return nil
}

// each runs f for every block of predictions.
func (h *headBackward) each(f func(r rowBlock, s *scratch)) error {
	m := h.g.m
	m.pool.Run(len(h.blocks), func(i int) {
		if h.g.ctx.Err() != nil {
			return
		}
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		f(h.blocks[i], s)
	})
	return h.g.ctx.Err()
}

// run computes the loss and, unless only that and the head's gradient are of interest, that of the residual stream.
func (h *headBackward) run(down bool) (LossValue, error) {
	g, hidden := h.g, h.g.m.config.Hidden
	h.hidden.reset(len(h.position), hidden)
	h.grad.reset(len(h.position), hidden)
	err := h.each(func(r rowBlock, _ *scratch) {
		for i := r.row; i < r.row+r.n; i++ {
			kernel.RMSNorm(h.hidden.row(i), g.b.x[h.position[i]*hidden:][:hidden], g.m.norm, float32(g.m.config.NormEps))
		}
	})
	if err != nil {
		return LossValue{}, err
	}
	first, backward := h.sum, false
	if !h.taught && down {
		first, backward = h.online, true
	}
	if err := h.pass(backward, h.taught && h.temperature != 1, first); err != nil {
		return LossValue{}, err
	}
	for k := range h.position {
		h.lse[k] = h.sums[k].value()
		h.warmLSE[k] = h.lse[k]
		if h.taught && h.temperature != 1 {
			h.warmLSE[k], h.teachLSE[k] = h.warmSums[k].value(), h.teachSums[k].value()
		}
	}
	if h.taught {
		err = h.pass(true, true, h.descend)
	} else if down {
		err = h.each(h.settle)
	}
	if err != nil {
		return LossValue{}, err
	}
	v := LossValue{Counted: len(h.position)}
	for k := range h.position {
		v.NLL += (h.lse[k] - h.logit[k]) / h.divisor
		if h.taught {
			v.KL += float64(h.temperature*h.temperature) * (h.gap[k] + h.warmLSE[k] - h.teachLSE[k]) / h.divisor
		}
	}
	v.Loss = float64(h.mix*v.NLL) + float64((1-h.mix)*v.KL)
	if !finite(v.NLL) || !finite(v.KL) {
		return LossValue{}, notFiniteErr("the loss is NaN or infinite")
	}
	if !down {
		return v, nil
	}
	return v, h.leave()
}

// leave takes the gradient of the normed hidden states to the residual stream.
func (h *headBackward) leave() error {
	g, hidden := h.g, h.g.m.config.Hidden
	g.dy.clear()
	err := h.each(func(r rowBlock, _ *scratch) {
		for i := r.row; i < r.row+r.n; i++ {
			at := h.position[i]
			kernel.RMSNormGrad(g.dy.row(at), h.grad.row(i), g.b.x[at*hidden:][:hidden], g.m.norm, float32(g.m.config.NormEps))
		}
	})
	if err == nil && !g.dy.finite() {
		err = notFiniteErr("the gradient of the input of model.norm is NaN or infinite")
	}
	return err
}

// emit hands the gradients of a head of its own and of the last norm to the sink.
func (h *headBackward) emit() error {
	g, c := h.g, h.g.m.config
	if !c.TieEmbeddings && g.want(unitHead) {
		if err := g.emit(unitHead, h.hidden.n, c.Vocab, c.Hidden, h); err != nil {
			return err
		}
	}
	return g.emitNorm("model.norm.weight", c.Hidden, &h.grad)
}
