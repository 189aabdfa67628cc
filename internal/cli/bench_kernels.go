package cli

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
)

// benchProduct is how fast the products with the modules of one shape are: [M,K] by [N,K] transposed.
type benchProduct struct {
	Modules []string  `json:"modules"`
	M       int       `json:"m"` // rows of a thread
	N       int       `json:"n"`
	K       int       `json:"k"`
	One     benchRate `json:"one_thread"`
	All     benchRate `json:"all_threads"`
}

// benchRate is a rate and its share of what the same threads reach in registers alone.
type benchRate struct {
	GFLOPS float64 `json:"gflops"`
	Share  float64 `json:"share_of_peak"`
}

// What a thread takes through a product at a time: as the evaluator, rows that stay in cache, and of the head's
// matrix as many columns as its logits exist for.
const (
	benchRows = 128
	benchTile = 512
)

// productsOf lists the shapes of a model's linear modules and of its head, without repeats.
func productsOf(c engine.Config, m int) []benchProduct {
	var list []benchProduct
	add := func(role string, rows, cols int) {
		for i, p := range list {
			if p.N == rows && p.K == cols {
				if !slices.Contains(p.Modules, role) {
					list[i].Modules = append(p.Modules, role)
				}
				return
			}
		}
		list = append(list, benchProduct{Modules: []string{role}, M: m, N: rows, K: cols})
	}
	for _, module := range c.Modules() {
		add(strings.TrimSuffix(module.Role, "_proj"), module.Rows, module.Cols)
	}
	add("head", c.Vocab, c.Hidden)
	return list
}

// kernelBench measures kernels on one number of threads.
type kernelBench struct {
	ctx  context.Context
	pool *kernel.Pool
	bf16 bool
	time time.Duration // that a measurement takes at least
}

// fastest runs passes over n tasks, again and again for at least some time, and returns the rate of the fastest
// in GFLOP/s; flop is what a pass does.
func (k kernelBench) fastest(least time.Duration, n int, flop float64, task func(i int)) float64 {
	best := 0.0
	for began := time.Now(); best == 0 || time.Since(began) < least; {
		if k.ctx.Err() != nil {
			return 0
		}
		start := time.Now()
		k.pool.Run(n, task)
		best = max(best, flop/float64(max(1, time.Since(start).Nanoseconds())))
	}
	return best
}

// peak is the rate of the multiply-add instructions on registers.
func (k kernelBench) peak() float64 {
	const steps = 1 << 18 // a millisecond with AVX: little beside it is the waking up of threads
	flop := float64(kernel.Peak(k.bf16, steps)) * float64(k.pool.Threads())
	return k.fastest(k.time/4, k.pool.Threads(), flop, func(int) { kernel.Peak(k.bf16, steps) })
}

// product is the rate of the products with one matrix for p.M rows on each thread.
func (k kernelBench) product(p benchProduct) float64 {
	rng := rand.New(rand.NewPCG(1, uint64(p.N)))
	blocks := make(chan benchBlock, k.pool.Threads())
	for range k.pool.Threads() {
		blocks <- newBenchBlock(rng, p, k.bf16)
	}
	times := packRandom(rng, p, k.bf16)
	perThread := (p.M + benchRows - 1) / benchRows
	flop := 2 * float64(p.M*k.pool.Threads()) * float64(p.N) * float64(p.K)
	return k.fastest(k.time, perThread*k.pool.Threads(), flop, func(i int) {
		b := <-blocks
		defer func() { blocks <- b }()
		rows := min(benchRows, p.M-i%perThread*benchRows)
		for column := 0; column < p.N && k.ctx.Err() == nil; column += b.width {
			times(b, rows, column, min(b.width, p.N-column))
		}
	})
}

// benchBlock is a block of rows of A in either form, and what it is multiplied into.
type benchBlock struct {
	a     []float32
	bf16  []uint16
	ld    int
	c     []float32
	width int // of c
}

func newBenchBlock(rng *rand.Rand, p benchProduct, bf16 bool) benchBlock {
	b := benchBlock{ld: (p.K + 31) / 32 * 32, width: p.N}
	if slices.Contains(p.Modules, "head") {
		b.width = benchTile
	}
	if b.ld%1024 == 0 { // rows at such distances share cache sets
		b.ld += 32
	}
	b.a = make([]float32, benchRows*b.ld)
	for i := range b.a {
		b.a[i] = rng.Float32() - 0.5
	}
	if bf16 {
		b.bf16 = make([]uint16, len(b.a))
		kernel.RoundBF16(b.bf16, b.a)
	}
	b.c = make([]float32, benchRows*b.width)
	return b
}

// packRandom returns a function that multiplies rows of a block by n rows of a random matrix, from one on. The
// matrix repeats its first panel: to draw all of a head would take longer than to multiply by it.
func packRandom(rng *rand.Rand, p benchProduct, bf16 bool) func(b benchBlock, rows, first, n int) {
	const width = kernel.PanelWidth
	panel := make([]float32, width*p.K)
	for i := range panel {
		panel[i] = rng.Float32() - 0.5
	}
	pack := func(to func(first int, rows []float32, n int)) {
		for first := 0; first < p.N; first += width {
			to(first, panel, min(width, p.N-first))
		}
	}
	if bf16 {
		w := kernel.NewPanelsBF16(p.N, p.K)
		pack(w.Pack)
		return func(b benchBlock, rows, first, n int) {
			part := w.View(first/width, (first+n+width-1)/width)
			kernel.MatMulBF16(b.c, b.width, b.bf16, b.ld, rows, &part, 0, part.Panels(), false)
		}
	}
	w := kernel.NewPanels(p.N, p.K)
	pack(w.Pack)
	return func(b benchBlock, rows, first, n int) {
		part := w.View(first/width, (first+n+width-1)/width)
		kernel.MatMul(b.c, b.width, b.a, b.ld, rows, &part, 0, part.Panels(), false)
	}
}

// kernels measures the peak and every product in one arithmetic, on one thread and on all.
func kernels(ctx context.Context, c engine.Config, numerics string, o benchOptions, report func(note string)) (benchNumerics, error) {
	n := benchNumerics{Numerics: numerics, Products: productsOf(c, o.seqLen)}
	measure := func(threads int, peak *float64, rate func(*benchProduct) *benchRate) error {
		pool := kernel.NewPool(threads)
		defer pool.Close()
		k := kernelBench{ctx, pool, numerics == engine.Fast.String(), o.time()}
		for i := range n.Products {
			p := &n.Products[i]
			report(fmt.Sprintf("%s: %s, threads: %d", numerics, strings.Join(p.Modules, ","), threads))
			// The peak beside each product: a processor that is slower for a while must not pass for a lower peak.
			*peak = max(*peak, k.peak())
			rate(p).GFLOPS = k.product(*p)
		}
		for i := range n.Products {
			r := rate(&n.Products[i])
			r.Share = r.GFLOPS / *peak
		}
		return ctx.Err()
	}
	if err := measure(1, &n.PeakOne, func(p *benchProduct) *benchRate { return &p.One }); err != nil {
		return n, err
	}
	if o.threads > 1 {
		err := measure(o.threads, &n.PeakAll, func(p *benchProduct) *benchRate { return &p.All })
		return n, err
	}
	n.PeakAll = n.PeakOne
	for i := range n.Products {
		n.Products[i].All = n.Products[i].One
	}
	return n, nil
}
