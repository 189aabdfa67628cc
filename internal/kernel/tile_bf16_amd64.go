//go:build amd64 && !noasm

package kernel

import "sync"

// Blocking with AVX512-BF16: at most blockMBF16 rows and blockKBF16 columns of A at a time, a slab of 512 KB that stays in the second-level
// cache while panels pass over it. On a Zen 4 core with 1 MB of second-level cache, slabs of 256 x 1440 to 512 x 512 differ by less than 5 %.
const (
	blockMBF16 = 256
	blockKBF16 = 1024
)

// Rows of A that start a multiple of aliasBF16 numbers apart, 2 KB, share few sets of the caches and evict each other: the
// slab is copied if at least copyPanels panels pay for that.
const (
	aliasBF16  = 1024
	copyPanels = 4
)

// slab is a copy of a slab of A, its rows a line longer than a multiple of any power of two.
type slab [blockMBF16 * (blockKBF16 + 32)]uint16

var slabPool = sync.Pool{New: func() any { return new(slab) }}

// run computes the product with the instructions of a variant.
func (p *productBF16) run(v variant) {
	if v != avx512bf16 {
		p.expand(min(v, avx512))
		return
	}
	var copied *slab
	if p.lda%aliasBF16 == 0 && p.p1-p.p0 >= copyPanels {
		copied = slabPool.Get().(*slab)
		defer slabPool.Put(copied)
	}
	depth, mBlocks := p.w.Depth(), (p.m+blockMBF16-1)/blockMBF16
	kBlocks := (depth + blockKBF16 - 1) / blockKBF16
	for bm := range mBlocks {
		m0, m1 := p.m*bm/mBlocks, p.m*(bm+1)/mBlocks
		for bk := range kBlocks {
			k0, k1 := depth/depthBF16*bk/kBlocks*depthBF16, depth/depthBF16*(bk+1)/kBlocks*depthBF16
			a, lda := p.a[m0*p.lda+k0:], p.lda
			if copied != nil {
				lda = k1 - k0 + 32
				for i := range m1 - m0 {
					copy(copied[i*lda:][:k1-k0], a[i*p.lda:])
				}
				a = copied[:]
			}
			for panel := p.p0; panel < p.p1; panel++ {
				t := tileBF16{
					k: k1 - k0, lda: lda, ldc: p.ldc, accumulate: p.accumulate || bk > 0,
					a: a,
					b: p.w.Data[(panel*depth+k0)*PanelWidth:],
					c: p.c[m0*p.ldc+panel*PanelWidth:],
				}
				if width := p.w.Rows - panel*PanelWidth; width < PanelWidth {
					t.narrow(m1-m0, width)
				} else {
					t.wide(m1 - m0)
				}
			}
		}
	}
}

// tileBF16 is the product of some rows of A and one panel, k columns deep, a multiple of 32. Strides are in numbers.
type tileBF16 struct {
	k, lda, ldc int
	accumulate  bool
	a, b        []uint16
	c           []float32
}

// narrow computes the last panel of a matrix whose Rows is not a multiple of 32, through a buffer: it may not write beyond width columns
// of C.
func (t tileBF16) narrow(rows, width int) {
	const step = 28
	var buf [step * PanelWidth]float32
	for i := 0; i < rows; i += step {
		n := min(step, rows-i)
		part := t
		part.ldc, part.a, part.c = PanelWidth, t.a[i*t.lda:], buf[:]
		if t.accumulate {
			for j := range n {
				copy(buf[j*PanelWidth:], t.c[(i+j)*t.ldc:][:width])
			}
		}
		part.wide(n)
		for j := range n {
			copy(t.c[(i+j)*t.ldc:][:width], buf[j*PanelWidth:])
		}
	}
}

// wide computes rows of a whole panel, split evenly over register tiles of at most 14.
func (t tileBF16) wide(rows int) {
	n := (rows + 13) / 14
	for i := range n {
		t.call(rows*i/n, rows*(i+1)/n)
	}
}

// call computes rows [r0, r1) of the panel.
func (t tileBF16) call(r0, r1 int) {
	steps, lda, ldc, accumulate := t.k/2, 2*t.lda, 4*t.ldc, t.accumulate
	a, b, c := &t.a[r0*t.lda], &t.b[0], &t.c[r0*t.ldc]
	switch r1 - r0 {
	case 1:
		matmul1x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 2:
		matmul2x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 3:
		matmul3x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 4:
		matmul4x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 5:
		matmul5x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 6:
		matmul6x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 7:
		matmul7x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 8:
		matmul8x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 9:
		matmul9x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 10:
		matmul10x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 11:
		matmul11x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 12:
		matmul12x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 13:
		matmul13x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	case 14:
		matmul14x32AVX512BF16(steps, a, lda, b, c, ldc, accumulate)
	}
}
