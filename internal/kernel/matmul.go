package kernel

import (
	"fmt"
	"sync"
)

// Blocking of MatMul: at most blockM rows and blockK columns of A at a time, a slab that stays in the second-level cache while panels pass over
// it, each panel's part of it read from there for every register tile. More rows have the weights read less often, more columns have C
// written and read again less often; no choice changes a bit. With 1 MB of cache (Zen 4) slabs of 690 KB of the shape 84 x 2048 to 252 x 640 differ by
// 1 % up to 1536 columns, and fewer columns cost 5 % at 4096. With 2 MB (Sapphire Rapids) 252 x 1024 gains 13 % at 4096 columns.
var blockM, blockK = blocking(cacheL2())

func blocking(cache int) (m, k int) {
	if cache >= 2<<20 {
		return 252, 1024
	}
	return 84, 2048
}

// Rows of A that start a multiple of 1024 numbers apart, 4 KB, compete for one set of the first-level cache and few of the second, which
// costs a fifth of the speed: the slab is copied, to rows of another distance, if at least copyPanels panels pay for that.
const copyPanels = 4

// groupSize is how many numbers of panels all slabs pass over before the next are taken, 512 KB: they stay in the second-level cache, too. With a
// single slab there is no need, and copied slabs would be copied for every group.
const groupSize = 128 << 10

// slabStride is the distance of rows of a copied slab.
func slabStride() int { return blockK + 16 }

var slabs = sync.Pool{New: newSlab}

func newSlab() any {
	s := make([]float32, blockM*slabStride())
	return &s
}

// MatMul computes C[m x Rows] = A[m x Cols] · Wᵀ for panels [p0, p1), columns 32·p0 … min(32·p1, Rows)-1 of C, and adds to C if accumulate.
// Row i of A starts at a[i·lda], row i of C at c[i·ldc]; the numbers between rows are not touched. Each element is one chain
//
//	c = fma(a[i][k], w[j][k], c)    for k = 0, 1, … Cols-1, starting from +0, or from C if accumulate
//
// in every variant, bit for bit. C must not overlap A. An lda that is not a multiple of 1024 is the faster.
func MatMul(c []float32, ldc int, a []float32, lda, m int, w *Panels, p0, p1 int, accumulate bool) {
	cols := w.Cols
	if p0 < 0 || p1 < p0 || p1 > w.Panels() || len(w.Data) < w.Panels()*cols*PanelWidth {
		panic(fmt.Sprintf("kernel: panels [%d, %d) of a matrix of %d x %d in %d numbers", p0, p1, w.Rows, cols, len(w.Data)))
	}
	checkMatrix("A", a, lda, m, cols)
	checkMatrix("C", c, ldc, m, min(w.Rows, p1*PanelWidth))
	if cols == 0 {
		if n := min(w.Rows, p1*PanelWidth) - p0*PanelWidth; !accumulate && n > 0 {
			for i := range m {
				clear(c[i*ldc+p0*PanelWidth:][:n])
			}
		}
		return
	}
	v := current()
	var copied []float32
	if lda%1024 == 0 && p1-p0 >= copyPanels {
		kept := slabs.Get().(*[]float32)
		defer slabs.Put(kept)
		copied = *kept
	}
	mBlocks, kBlocks := (m+blockM-1)/blockM, (cols+blockK-1)/blockK
	for bk := range kBlocks {
		k0, k1 := cols*bk/kBlocks, cols*(bk+1)/kBlocks
		group := p1 - p0
		if copied == nil && mBlocks > 1 {
			group = max(1, groupSize/((k1-k0)*PanelWidth))
		}
		for first := p0; first < p1; first += group {
			last := min(first+group, p1)
			for bm := range mBlocks {
				m0, m1 := m*bm/mBlocks, m*(bm+1)/mBlocks
				slab, stride := a[m0*lda+k0:], lda
				if copied != nil {
					for i := range m1 - m0 {
						copy(copied[i*slabStride():][:k1-k0], slab[i*lda:])
					}
					slab, stride = copied, slabStride()
				}
				for p := first; p < last; p++ {
					t := tile{
						k: k1 - k0, lda: stride, ldc: ldc, accumulate: accumulate || bk > 0,
						a: slab,
						b: w.Data[(p*cols+k0)*PanelWidth:],
						c: c[m0*ldc+p*PanelWidth:],
					}
					if p+1 < p1 {
						t.ahead = cols * PanelWidth
					}
					if width := w.Rows - p*PanelWidth; width < PanelWidth {
						t.narrow(v, m1-m0, width)
					} else {
						t.wide(v, m1-m0)
					}
				}
			}
		}
	}
}

// tile is the product of some rows of A and one panel, k steps deep. Strides are in numbers.
type tile struct {
	k, lda, ldc int
	accumulate  bool
	a, b, c     []float32
	ahead       int // numbers from b to the panel that is due next, which is fetched on the way; 0: none
}

// narrow computes the last panel of a matrix whose Rows is not a multiple of 32: it may not write beyond width columns of C, so
// the product goes through a buffer.
func (t tile) narrow(v variant, rows, width int) {
	const step = 14
	var buf [step * PanelWidth]float32
	for i := 0; i < rows; i += step {
		n := min(step, rows-i)
		part := tile{k: t.k, lda: t.lda, ldc: PanelWidth, accumulate: t.accumulate, a: t.a[i*t.lda:], b: t.b, c: buf[:]}
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

// wideGo is the definition of the product.
func (t tile) wideGo(rows int) {
	for i := range rows {
		out := t.c[i*t.ldc:][:PanelWidth]
		var acc [PanelWidth]float32
		if t.accumulate {
			copy(acc[:], out)
		}
		for k, x := range t.a[i*t.lda:][:t.k] {
			w := (*[PanelWidth]float32)(t.b[k*PanelWidth:])
			for j := range acc { // acc[j] = fma32(x, w[j], acc[j]), which the compiler does not inline
				if s := float64(x)*float64(w[j]) + float64(acc[j]); settled(s) {
					acc[j] = float32(s)
				} else {
					acc[j] = fmaOdd(x, w[j], acc[j])
				}
			}
		}
		copy(out, acc[:])
	}
}
