package sparseft

// dsee trains W + s·B·A + S, S sparse on a support Ω that does not change, or (W + s·B·A + S)⊙M with the gradient through M,
// so that what is trained is what is deployed.
//
// X. Chen et al., DSEE: Dually Sparsity-embedded Efficient Tuning of Pre-trained Language Models, arXiv 2111.00160. There
// the mask is found by pruning the sum after training; here the model is pruned before, as a level of the bank.
type dsee struct {
	*tensor
	low    lora
	sparse static
}

func newDSEE(t *tensor, o *Options, rank int) *dsee {
	return &dsee{t, *newLoRA(t, o, rank), *newStatic(t, o, o.Omega)}
}

func (d *dsee) add(g Gradient, m *moment) error {
	d.low.begin()
	if err := d.sparse.take(g, m, d.low.masked, &d.low.lowRank); err != nil {
		return err
	}
	d.low.end()
	return nil
}

func (d *dsee) check(m *moment) int {
	if i := d.low.check(m); i >= 0 {
		return i
	}
	return d.sparse.check(m)
}

func (d *dsee) update(m *moment) {
	d.low.update(m)
	d.sparse.update(m)
}

func (d *dsee) patch() Patch {
	d.sparse.left = nil
	return Patch{Whole: true}
}

func (d *dsee) weights(dst []float32, from, to int) {
	d.base.Rows(dst, from, to)
	addProduct(dst, d.low.a, d.low.b, d.low.scale, d.low.rank, d.cols, from, to)
	d.sparse.scatter(dst, from, to)
	if d.low.masked {
		d.mask.clear(dst, from*d.cols)
	}
}

func (d *dsee) trainable() int { return d.low.trainable() + d.sparse.trainable() }

func (d *dsee) bytes() int64 { return d.low.bytes() + d.sparse.bytes() }

func (d *dsee) result(out *TensorDelta) {
	d.low.result(out)
	d.sparse.result(out)
}

func (d *dsee) arrays(v *arrays) {
	d.low.arrays(v)
	d.sparse.arrays(v)
}

func (d *dsee) restored(o *Options, step int) error {
	if err := d.low.restored(o, step); err != nil {
		return err
	}
	return d.sparse.restored(o, step)
}
