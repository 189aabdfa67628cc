//go:build amd64 && !noasm

package kernel

import "sync"

// blockingBF16 is how many rows and columns of A, multiples of 32, a variant takes at a time: a slab that stays in the second-level cache
// while panels pass over it.
//
// On a Zen 4 core with 1 MB of second-level cache, slabs of 256 x 1440 to 512 x 512 differ by less than 5 % with AVX512-BF16. With AMX,
// 32 rows of 288 columns of A and as much of a panel fit in the 48 KB of the first-level cache of Sapphire Rapids together.
var blockingBF16 = [numVariants]struct{ rows, cols int }{avx512bf16: {256, 1024}, amx: {512, 288}}

// Rows of A that start a multiple of aliasBF16 numbers apart, 2 KB, share few sets of the caches and evict each other: the
// slab is copied if at least copyPanelsBF16 panels pay for that.
const (
	aliasBF16      = 1024
	copyPanelsBF16 = 4
)

// slab has room for a slab of A of any variant, with a gap of 64 bytes between its rows.
type slab [256 * (1024 + depthBF16)]uint16

var slabPool = sync.Pool{New: func() any { return new(slab) }}

// run computes the product with the instructions of a variant.
func (p *productBF16) run(v variant) {
	block := blockingBF16[v]
	if block.rows == 0 {
		p.expand(v)
		return
	}
	var copied *slab
	if p.lda%aliasBF16 == 0 && p.p1-p.p0 >= copyPanelsBF16 {
		copied = slabPool.Get().(*slab)
		defer slabPool.Put(copied)
	}
	const unit = depthBF16
	depth := p.w.Depth()
	mUnits, mBlocks := (p.m+unit-1)/unit, (p.m+block.rows-1)/block.rows
	kUnits, kBlocks := depth/unit, (depth+block.cols-1)/block.cols
	for bm := range mBlocks {
		m0, m1 := mUnits*bm/mBlocks*unit, min(p.m, mUnits*(bm+1)/mBlocks*unit)
		for bk := range kBlocks {
			k0, k1 := kUnits*bk/kBlocks*unit, kUnits*(bk+1)/kBlocks*unit
			t := tileBF16{k: k1 - k0, lda: p.lda, ldc: p.ldc, accumulate: p.accumulate || bk > 0, a: p.a[m0*p.lda+k0:]}
			if copied != nil {
				lda := k1 - k0 + unit
				for i := range m1 - m0 {
					copy(copied[i*lda:][:k1-k0], t.a[i*p.lda:])
				}
				t.a, t.lda = copied[:], lda
			}
			for panel := p.p0; panel < p.p1; panel++ {
				t.b = p.w.Data[(panel*depth+k0)*PanelWidth:]
				t.c = p.c[m0*p.ldc+panel*PanelWidth:]
				if width := p.w.Rows - panel*PanelWidth; width < PanelWidth {
					t.narrow(v, m1-m0, width)
				} else {
					t.wide(v, m1-m0)
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
func (t tileBF16) narrow(v variant, rows, width int) {
	const step = 32
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
		part.wide(v, n)
		for j := range n {
			copy(t.c[(i+j)*t.ldc:][:width], buf[j*PanelWidth:])
		}
	}
}

// wide computes rows of a whole panel. With AVX512-BF16 they are split evenly over register tiles of at most 14.
func (t tileBF16) wide(v variant, rows int) {
	if v == amx {
		t.callAMX(rows)
		return
	}
	n := (rows + 13) / 14
	for i := range n {
		t.callAVX512(rows*i/n, rows*(i+1)/n)
	}
}

// callAVX512 computes rows [r0, r1) of the panel.
func (t tileBF16) callAVX512(r0, r1 int) {
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
