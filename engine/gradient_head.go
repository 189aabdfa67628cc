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
	if err := h.pass(false, h.taught && h.temperature != 1, h.sum); err != nil {
		return LossValue{}, err
	}
	for k := range h.position {
		h.lse[k] = h.sums[k].value()
		h.warmLSE[k] = h.lse[k]
		if h.taught && h.temperature != 1 {
			h.warmLSE[k], h.teachLSE[k] = h.warmSums[k].value(), h.teachSums[k].value()
		}
	}
	if down || h.taught {
		if err := h.pass(true, h.taught, h.descend); err != nil {
			return LossValue{}, err
		}
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

// pass takes every tile of the vocabulary past every block of predictions, backward with the transposes.
func (h *headBackward) pass(backward, taught bool, f func(r rowBlock, s *scratch, tile, first, width int)) error {
	vocab := h.g.m.config.Vocab
	for first := 0; first < vocab; first += sliceTiles * tileCols {
		n := min(sliceTiles*tileCols, vocab-first)
		tiles := ceil(n, tileCols) / tileCols
		for i := range tiles {
			if err := h.decode(i, first+i*tileCols, min(tileCols, n-i*tileCols), backward, taught); err != nil {
				return err
			}
		}
		err := h.each(func(r rowBlock, s *scratch) {
			for i := range tiles {
				f(r, s, i, first+i*tileCols, min(tileCols, n-i*tileCols))
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// decode decodes some words of the head, and of the teacher's, as tile i.
func (h *headBackward) decode(i, first, n int, transposed, taught bool) error {
	m := h.g.m
	if _, err := h.g.decode(&h.tiles[i], choice{name: h.choice.name, weights: rowsOf{h.choice.weights, first, n}}, true, transposed); err != nil {
		return err
	}
	if !taught {
		return nil
	}
	if h.choice.key == m.head.key {
		h.teach[i].w = h.tiles[i].w
		return nil
	}
	_, err := h.g.decode(&h.teach[i], choice{name: m.head.name, weights: rowsOf{m.head.weights, first, n}}, true, false)
	return err
}

// sum adds a tile to the sums of exp of a block of predictions.
func (h *headBackward) sum(r rowBlock, s *scratch, tile, first, width int) {
	m := h.g.m
	s.tile = grow(s.tile, blockRows*slopeLD)
	warm := h.taught && h.temperature != 1
	h.tiles[tile].w.times(s.tile, slopeLD, h.hidden.read(m, r.row, r.n, &s.in), r.n, 0, h.tiles[tile].w.count())
	if warm {
		s.back.teach = grow(s.back.teach, blockRows*slopeLD)
		h.teach[tile].w.times(s.back.teach, slopeLD, h.teacher.from(r.row), r.n, 0, h.teach[tile].w.count())
	}
	for i := range r.n {
		k, logits := r.row+i, s.tile[i*slopeLD:][:width]
		h.sums[k].add(kernel.MaxSumExp(logits))
		if t := int(h.target[k]) - first; t >= 0 && t < width {
			h.logit[k] = float64(logits[t])
		}
		if warm {
			teach := s.back.teach[i*slopeLD:][:width]
			kernel.Scale(logits, float32(1/h.temperature))
			kernel.Scale(teach, float32(1/h.temperature))
			h.warmSums[k].add(kernel.MaxSumExp(logits))
			h.teachSums[k].add(kernel.MaxSumExp(teach))
		}
	}
}

// descend adds a tile's part to the gradient of the hidden states of a block of predictions.
func (h *headBackward) descend(r rowBlock, s *scratch, tile, first, width int) {
	m := h.g.m
	s.tile = grow(s.tile, blockRows*slopeLD)
	h.slope(s.tile, slopeLD, r, s, tile, first, width, true)
	in := rows{f32: s.tile, ld: slopeLD}
	if m.numerics != Exact {
		in = m.rows(&s.act, r.n, width)
		for i := range r.n {
			in.round(i, s.tile[i*slopeLD:][:width])
		}
	}
	h.grad.product(r.row, r.n, h.tiles[tile].t, in, first > 0)
}

// slope writes the gradients of the logits of a tile for a block of predictions to dst, and with value adds to the divergence.
func (h *headBackward) slope(dst []float32, ld int, r rowBlock, s *scratch, tile, first, width int, value bool) {
	m := h.g.m
	w, taught := h.tiles[tile].w, h.teach[tile].w
	w.times(dst, ld, h.hidden.read(m, r.row, r.n, &s.in), r.n, 0, w.count())
	if h.taught {
		s.back.teach, s.back.warm = grow(s.back.teach, blockRows*slopeLD), grow(s.back.warm, tileCols)
		taught.times(s.back.teach, slopeLD, h.teacher.from(r.row), r.n, 0, taught.count())
	}
	for i := range r.n {
		k, logits := r.row+i, dst[i*ld:][:width]
		if h.taught {
			h.slopeTaught(logits, s.back.teach[i*slopeLD:][:width], s.back.warm[:width], k, value)
		} else {
			probabilities(logits, h.lse[k], h.nll)
		}
		if t := int(h.target[k]) - first; t >= 0 && t < width {
			logits[t] -= float32(h.nll)
		}
	}
}

// slopeTaught is slope for the logits of model and teacher at prediction k, without the target's part; warm is memory for as many.
func (h *headBackward) slopeTaught(logits, teach, warm []float32, k int, value bool) {
	copy(warm, logits)
	if h.temperature != 1 {
		kernel.Scale(warm, float32(1/h.temperature))
		kernel.Scale(teach, float32(1/h.temperature))
	}
	if value {
		h.gap[k] += float64(kernel.KLSum(warm, teach, float32(h.teachLSE[k])))
	}
	probabilities(logits, h.lse[k], h.nll)
	probabilities(warm, h.warmLSE[k], h.kl)
	probabilities(teach, h.teachLSE[k], h.kl)
	for j, p := range teach {
		logits[j] += warm[j] - p
	}
}

// probabilities turns logits into their probabilities, multiplied by scale.
func probabilities(logits []float32, lse, scale float64) {
	// What rounding the log-sum-exp would cost is part of the factor.
	shift := float32(lse)
	kernel.ExpSum(logits, shift)
	kernel.Scale(logits, float32(scale*exp(float64(shift)-lse)))
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

// words fills slopes with the gradients of the logits of n words from first on.
func (h *headBackward) words(first, n int) {
	h.slopes.reset(h.hidden.n, n)
	if err := h.decode(0, first, n, false, h.taught); err != nil { // they were finite in the forward pass: the sink has changed them
		h.g.failed = err
		h.slopes.clear()
		return
	}
	m := h.g.m
	m.pool.Run(len(h.blocks), func(i int) {
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		r := h.blocks[i]
		h.slope(h.slopes.data[r.row*h.slopes.ld:], h.slopes.ld, r, s, 0, first, n, false)
	})
}

func (h *headBackward) dense(m *Model, dst []float32, from, to int) {
	for at := from; at < to; at += tileCols {
		n := min(tileCols, to-at)
		h.words(at, n)
		outer{&h.slopes, &h.hidden}.dense(m, dst[(at-from)*h.hidden.cols:], 0, n)
	}
}

func (h *headBackward) sampled(m *Model, dst []float32, indices []int32) {
	cols := int32(h.hidden.cols)
	for len(indices) > 0 {
		first := indices[0] / cols
		words := min(tileCols, int32(m.config.Vocab)-first)
		n, local := 0, []int32(nil)
		for ; n < len(indices) && indices[n]/cols < first+words; n++ {
			local = append(local, indices[n]-first*cols)
		}
		h.words(int(first), int(words))
		outer{&h.slopes, &h.hidden}.sampled(m, dst[:n], local)
		dst, indices = dst[n:], indices[n:]
	}
}
