package engine

import "github.com/paretopress/paretopress/internal/kernel"

// thin is the memory of products with few rows.
type thin struct {
	factor *panels
	states operand // [N x k]
}

// Left writes U·G, for the gradient G and a matrix U of k x rows, to dst: k x columns, both row-major. For the weights of a linear module G itself is
// not computed: of factors k wide, the sum over the positions costs no more than k rows of G do.
func (p *Product) Left(dst, u []float32, k int) {
	if o, ok := p.of.(outer); ok {
		through(p.m, dst, u, k, o.dy, o.x)
		return
	}
	clear(dst)
	p.stream(func(rows []float32, first, n int) {
		for i := range n {
			for q := range k {
				kernel.AddScaled(dst[q*p.cols:][:p.cols], rows[i*p.cols:][:p.cols], u[q*p.rows+first+i])
			}
		}
	})
}

// Right writes V·Gᵀ, for the gradient G and a matrix V of k x columns, to dst: k x rows, both row-major. It costs what Left does.
func (p *Product) Right(dst, v []float32, k int) {
	if o, ok := p.of.(outer); ok {
		through(p.m, dst, v, k, o.x, o.dy)
		return
	}
	p.stream(func(rows []float32, first, n int) {
		for i := range n {
			for q := range k {
				dst[q*p.rows+first+i] = kernel.Dot(rows[i*p.cols:][:p.cols], v[q*p.cols:][:p.cols])
			}
		}
	})
}

// through writes (by·Fᵀ)ᵀ·with to dst for a matrix F of k x by.cols.
func through(m *Model, dst, factor []float32, k int, by, with *operand) {
	t := &m.back.thin
	t.factor = m.reshape(t.factor, k, by.cols)
	t.factor.pack(0, factor, k)
	t.states.reset(by.n, k)
	m.pool.Run(ceil(by.n, blockRows)/blockRows, func(i int) {
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		at := i * blockRows
		n := min(blockRows, by.n-at)
		t.states.product(at, n, t.factor, by.read(m, at, n, &s.act), false)
	})
	outer{&t.states, with}.dense(m, dst, 0, k)
}
