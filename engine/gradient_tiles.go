package engine

import "github.com/paretopress/paretopress/internal/kernel"

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

// online is sum, and adds to the gradient of the hidden states a tile's rows of the head, weighted by e^(logit - the largest so far): without a
// teacher, one pass does for both (Milakov and Gimelshein, arXiv 1805.02867).
func (h *headBackward) online(r rowBlock, s *scratch, tile, first, width int) {
	m := h.g.m
	s.tile = grow(s.tile, blockRows*slopeLD)
	h.tiles[tile].w.times(s.tile, slopeLD, h.hidden.read(m, r.row, r.n, &s.in), r.n, 0, h.tiles[tile].w.count())
	for i := range r.n {
		k, logits := r.row+i, s.tile[i*slopeLD:][:width]
		if t := int(h.target[k]) - first; t >= 0 && t < width {
			h.logit[k] = float64(logits[t])
		}
		before := h.sums[k]
		h.sums[k].add(kernel.MaxSumExp(logits))
		if after := h.sums[k].max; first > 0 && after > before.max {
			kernel.Scale(h.grad.row(k), float32(exp(before.max-after)))
		}
		kernel.ExpSum(logits, float32(h.sums[k].max))
	}
	h.spread(r, s, tile, first, width)
}

// settle ends what online has begun: it divides by the sums, and takes the rows of the targets off.
func (h *headBackward) settle(r rowBlock, s *scratch) {
	m := h.g.m
	cols := h.grad.cols
	s.decode = grow(s.decode, panelRows*cols)
	row := s.decode[:cols]
	for k := r.row; k < r.row+r.n; k++ {
		h.choice.weights.DecodeRows(int(h.target[k]), 1, row)
		if m.numerics != Exact { // as the other rows were in the products
			for j, x := range row {
				row[j] = kernel.DecodeBF16(kernel.EncodeBF16(x))
			}
		}
		kernel.Scale(h.grad.row(k), float32(h.nll/h.sums[k].sum))
		kernel.AddScaled(h.grad.row(k), row, float32(-h.nll))
	}
}

// descend adds a tile's part to the gradient of the hidden states of a block of predictions.
func (h *headBackward) descend(r rowBlock, s *scratch, tile, first, width int) {
	s.tile = grow(s.tile, blockRows*slopeLD)
	h.slope(s.tile, slopeLD, r, s, tile, first, width, true)
	h.spread(r, s, tile, first, width)
}

// spread adds the rows of the head, weighted by the numbers in s.tile, to the gradient of the hidden states. The sum over a tile begins with 0: in one
// chain over the vocabulary, thousands of improbable words would be rounded away beside the probable ones.
func (h *headBackward) spread(r rowBlock, s *scratch, tile, first, width int) {
	m, hidden := h.g.m, h.grad.cols
	in := rows{f32: s.tile, ld: slopeLD}
	if m.numerics != Exact {
		in = m.rows(&s.act, r.n, width)
		for i := range r.n {
			in.round(i, s.tile[i*slopeLD:][:width])
		}
	}
	t := h.tiles[tile].t
	if first == 0 {
		h.grad.product(r.row, r.n, t, in, false)
		return
	}
	s.out = grow(s.out, blockRows*hidden)
	t.times(s.out, hidden, in, r.n, 0, t.count())
	for i := range r.n {
		kernel.Add(h.grad.row(r.row+i), s.out[i*hidden:][:hidden])
	}
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
