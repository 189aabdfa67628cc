package prune

import (
	"math"
	"slices"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
)

// columns is the width of the blocks in which SparseGPT compares weights.
const columns = 128

// sparseGPT removes weights block by block and feeds the errors back.
func (s Spec) sparseGPT(w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, error) {
	p := sparseGPT{rows: rows, cols: cols, zeros: s.Zeros(rows * cols), factor: f}
	p.keep = make([]bool, len(w))
	p.keys = make([]uint32, rows*min(columns, cols))
	p.mask = make([]bool, len(p.keys))
	p.stored = make([]float32, len(w))
	f.Sweep(slices.Clone(w), rows, columns, &p)
	if p.overflow {
		// Rare: start again in the format with the range of float32, so that its errors are fed back.
		p.bf16 = true
		f.Sweep(slices.Clone(w), rows, columns, &p)
	}
	return kernel.PackBitmask(rows, cols, p.stored, p.keep, p.bf16)
}

// sparseGPT is the obs.Strategy of SparseGPT.
type sparseGPT struct {
	rows, cols int
	zeros      int // to remove in the whole matrix
	factor     *obs.Factor
	bf16       bool
	overflow   bool // a weight had no finite binary16 number beside it

	keep   []bool
	stored []float32
	keys   []uint32 // scores of a block
	mask   []bool   // keep of a block
}

// Begin chooses the weights of a block that are kept: those with the largest |w|/U_jj, whose order is
// that of w²/U_jj².
func (p *sparseGPT) Begin(w []float32, first, last int) {
	n := last - first
	keys, mask := p.keys[:p.rows*n], p.mask[:p.rows*n]
	diag := p.factor.Diag()[first:last]
	for i := range p.rows {
		for j, v := range w[i*p.cols+first : i*p.cols+last] {
			keys[i*n+j] = math.Float32bits(v/diag[j]) &^ (1 << 31)
		}
	}
	keepLargest(mask, keys, p.share(last)-p.share(first))
	for i := range p.rows {
		copy(p.keep[i*p.cols+first:], mask[i*n:(i+1)*n])
	}
}

// share is the number of weights to remove in the columns before col.
func (p *sparseGPT) share(col int) int {
	return int((2*int64(p.zeros)*int64(col) + int64(p.cols)) / (2 * int64(p.cols)))
}

// Round stores a weight that is kept in 16 bits.
func (p *sparseGPT) Round(row, col int, w float32) float32 {
	i := row*p.cols + col
	if !p.keep[i] {
		return 0
	}
	var q float32
	switch h := kernel.EncodeF16(w); {
	case p.bf16:
		q = kernel.DecodeBF16(kernel.EncodeBF16(w))
	case h&0x7c00 == 0x7c00:
		p.overflow = true // and the result is not used
	default:
		q = kernel.DecodeF16(h)
	}
	p.stored[i] = q
	return q
}
