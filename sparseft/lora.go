package sparseft

import (
	"fmt"
	"math"
)

// lowRank is the product s·B·A of two factors that are trained with AdamW, s = α/r.
//
// E. Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685.
type lowRank struct {
	*tensor
	rank       int
	scale      float64
	a, b       []float32 // rank x cols and rows x rank
	sumA, sumB []float32 // of the gradients of the step's microbatches
	adamA      adam
	adamB      adam

	da []float64 // gradient of A over the microbatch that is being added
}

// newLowRank returns factors whose product is zero: A uniform in ±1/√cols, as PEFT draws it, B zero.
func newLowRank(t *tensor, o *Options, rank int) lowRank {
	l := lowRank{
		tensor: t, rank: rank, scale: o.Alpha / float64(rank),
		a: make([]float32, rank*t.cols), b: make([]float32, t.rows*rank),
		sumA: make([]float32, rank*t.cols), sumB: make([]float32, t.rows*rank),
		adamA: newAdam(rank*t.cols, false), adamB: newAdam(t.rows*rank, false),
	}
	r := random(o.Seed, t.name, "lora_A")
	bound := 1 / math.Sqrt(float64(t.cols))
	for i := range l.a {
		l.a[i] = float32(bound * (float64(2*r.Float64()) - 1))
	}
	return l
}

// block adds to the gradients of the factors: dA = s·Bᵀ·dW, dB = s·dW·Aᵀ.
func (l *lowRank) block(block []float32, from, to int) {
	for i := from; i < to; i++ {
		row := block[(i-from)*l.cols : (i-from+1)*l.cols]
		for q := range l.rank {
			a := l.a[q*l.cols : (q+1)*l.cols]
			da := l.da[q*l.cols : (q+1)*l.cols]
			b := float64(l.b[i*l.rank+q])
			dot := 0.0
			for j, g := range row {
				dot += float64(float64(g) * float64(a[j]))
				da[j] += float64(float64(g) * b)
			}
			l.sumB[i*l.rank+q] += float32(l.scale * dot)
		}
	}
}

// project adds to the gradients of the factors without the dense one.
func (l *lowRank) project(g Factored) error {
	da, db, bT := make([]float32, len(l.a)), make([]float32, len(l.b)), make([]float32, len(l.b))
	for i := range l.rows {
		for q := range l.rank {
			bT[q*l.rows+i] = l.b[i*l.rank+q]
		}
	}
	g.Left(da, bT, l.rank)
	g.Right(db, l.a, l.rank)
	if i := finite(da); i >= 0 {
		return fmt.Errorf("the gradient of %s.lora_A is %v at row %d, column %d", l.name, da[i], i/l.cols, i%l.cols)
	}
	if i := finite(db); i >= 0 {
		return fmt.Errorf("the gradient of %s.lora_B is %v at row %d, column %d", l.name, db[i], i%l.rows, i/l.rows)
	}
	for i, x := range da {
		l.sumA[i] += float32(l.scale * float64(x))
	}
	for i := range l.rows {
		for q := range l.rank {
			l.sumB[i*l.rank+q] += float32(l.scale * float64(db[q*l.rows+i]))
		}
	}
	return nil
}

// begin and end bracket the blocks of a microbatch.
func (l *lowRank) begin() { l.da = make([]float64, len(l.a)) }

func (l *lowRank) end() {
	for i, g := range l.da {
		l.sumA[i] += float32(l.scale * g)
	}
	l.da = nil
}

// check returns the flat index of a weight whose row or column holds the first gradient that is too large.
func (l *lowRank) check(m *moment) int {
	if i := m.check(l.sumA); i >= 0 {
		return i % l.cols
	}
	if i := m.check(l.sumB); i >= 0 {
		return i / l.rank * l.cols
	}
	return -1
}

func (l *lowRank) update(m *moment) {
	l.adamA.update(m, l.a, l.sumA)
	l.adamB.update(m, l.b, l.sumB)
}

// arrays shows the state.
func (l *lowRank) arrays(v *arrays) {
	v.floats("lora_A", &l.a)
	v.floats("lora_B", &l.b)
	v.sums("lora_A.sum", &l.sumA, len(l.a))
	v.sums("lora_B.sum", &l.sumB, len(l.b))
	l.adamA.arrays("lora_A.", v)
	l.adamB.arrays("lora_B.", v)
}

func (l *lowRank) restored(step int) error {
	if n, m := l.rank*l.cols, l.rows*l.rank; len(l.a) != n || len(l.sumA) != n || len(l.b) != m || len(l.sumB) != m {
		return fmt.Errorf("factors of %d and %d weights with sums of %d and %d, want rank %d", len(l.a), len(l.b), len(l.sumA), len(l.sumB), l.rank)
	}
	if err := l.adamA.restored(len(l.a), step, false); err != nil {
		return err
	}
	return l.adamB.restored(len(l.b), step, false)
}

// addProduct adds rows of s·B·A, summed over the rank in float64, to w.
func addProduct(w, a, b []float32, scale float64, rank, cols, from, to int) {
	sum := make([]float64, cols)
	for i := from; i < to; i++ {
		clear(sum)
		for q := range rank {
			x := float64(b[i*rank+q])
			for j, y := range a[q*cols : (q+1)*cols] {
				sum[j] += float64(x * float64(y))
			}
		}
		for j, row := 0, w[(i-from)*cols:(i-from+1)*cols]; j < cols; j++ {
			row[j] += float32(scale * sum[j])
		}
	}
}

// lora trains W + s·B·A, or (W + s·B·A)⊙M with the gradient through M.
type lora struct {
	lowRank
	masked bool
}

func newLoRA(t *tensor, o *Options, rank int) *lora {
	return &lora{newLowRank(t, o, rank), o.LowRank == MergedMasked}
}

func (l *lora) add(g Gradient, _ *moment) error {
	if f, ok := g.(Factored); ok && !l.masked {
		return l.project(f)
	}
	l.begin()
	if err := l.scan(g, l.masked, &l.lowRank); err != nil {
		return err
	}
	l.end()
	return nil
}

func (l *lora) patch() Patch { return Patch{Whole: true} }

func (l *lora) weights(dst []float32, from, to int) {
	l.base.Rows(dst, from, to)
	addProduct(dst, l.a, l.b, l.scale, l.rank, l.cols, from, to)
	if l.masked {
		l.mask.clear(dst, from*l.cols)
	}
}

func (l *lora) trainable() int { return len(l.a) + len(l.b) }

func (l *lora) bytes() int64 {
	n := 4 * int64(l.trainable())
	if l.masked {
		n += l.mask.size()
	}
	return n
}

func (l *lora) result(d *TensorDelta) {
	d.Rank, d.Scale = l.rank, l.scale
	d.A, d.B = append([]float32{}, l.a...), append([]float32{}, l.b...)
	if l.masked {
		d.Mask = l.mask
	}
}

func (l *lora) restored(_ *Options, step int) error { return l.lowRank.restored(step) }
