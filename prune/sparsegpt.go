package prune

import (
	"math"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
)

// columns is the width of the blocks in which SparseGPT compares weights.
const columns = 128

// sparseGPT removes weights block by block and feeds the errors back.
func (s Spec) sparseGPT(w []float32, rows, cols int, f *obs.Factor) (kernel.Packed, error) {
	p := sparseGPT{zeros: s.Zeros(rows * cols), inverse: f.InverseDiag()}
	panels := kernel.NewPanels(rows, cols)
	p.keep = make([]bool, len(panels.Data))
	p.keys = make([]uint32, panels.Panels()*min(columns, cols)*kernel.PanelWidth)
	p.mask = make([]bool, len(p.keys))
	stored, keep := make([]float32, len(w)), make([]bool, len(w))
	var strategy obs.Strategy = &p
	if s.of > 0 {
		strategy = &patterned{sparseGPT: &p, keepOf: s.keep, of: s.of}
	}
	sweep := func() {
		panels.Pack(0, w, rows)
		f.Sweep(panels, columns, strategy)
		kernel.RowMajor(stored, panels.Data, rows, cols)
	}
	sweep()
	if obs.Finite(stored, cols) != nil {
		// A weight had no finite binary16 number beside it. That is rare: start again in the format with
		// the range of float32, so that its errors are fed back.
		p.bf16 = true
		sweep()
	}
	kernel.RowMajor(keep, p.keep, rows, cols)
	return kernel.PackBitmask(rows, cols, stored, keep, p.bf16)
}

// sparseGPT is the obs.Strategy of SparseGPT.
type sparseGPT struct {
	zeros   int       // to remove in the whole matrix
	inverse []float32 // 1/U_jj
	bf16    bool

	keep []bool   // in panels, as the weights are
	keys []uint32 // scores of a block, a panel of rows after the other
	mask []bool   // keep of a block
}

// padding is the key of what is not a row of the matrix: larger than that of any number.
const padding = 1<<31 - 1

// Begin chooses the weights of a block that are kept: those with the largest |w|/U_jj, whose order is
// that of w²/U_jj².
func (p *sparseGPT) Begin(w *kernel.Panels, first, last int) {
	const width = kernel.PanelWidth
	size := (last - first) * width
	keys, mask := p.keys[:w.Panels()*size], p.mask[:w.Panels()*size]
	for i := range w.Panels() {
		rows := min(width, w.Rows-i*width)
		for j := first; j < last; j++ {
			inverse := p.inverse[j]
			x := (*[width]float32)(w.Data[(i*w.Cols+j)*width:])
			k := (*[width]uint32)(keys[i*size+(j-first)*width:])
			for r := range k {
				k[r] = math.Float32bits(x[r]*inverse) &^ (1 << 31)
			}
			for r := rows; r < width; r++ {
				k[r] = padding
			}
		}
	}
	keepLargest(mask, keys, p.share(w, last)-p.share(w, first))
	for i := range w.Panels() {
		copy(p.keep[(i*w.Cols+first)*width:], mask[i*size:(i+1)*size])
	}
}

// share is the number of weights to remove in the columns before col.
func (p *sparseGPT) share(w *kernel.Panels, col int) int {
	return int((2*int64(p.zeros)*int64(col) + int64(w.Cols)) / (2 * int64(w.Cols)))
}

// Round stores the weights that are kept in 16 bits.
func (p *sparseGPT) Round(q, x []float32, row, col int) {
	if p.bf16 {
		for i, v := range x {
			q[i] = kernel.DecodeBF16(kernel.EncodeBF16(v))
		}
	} else {
		kernel.RoundF16s(q, x)
	}
	keep := p.keep[row*len(p.inverse)+col*kernel.PanelWidth:][:len(q)]
	for i, kept := range keep {
		var mask uint32 // instead of a branch that nobody can predict
		if kept {
			mask = 1<<32 - 1
		}
		q[i] = math.Float32frombits(math.Float32bits(q[i]) & mask)
	}
}

// patterned is the obs.Strategy of SparseGPT with a pattern: groups are decided when the sweep comes to them, by weights that have absorbed all
// errors before.
type patterned struct {
	*sparseGPT
	keepOf, of int
}

// Begin has nothing to decide.
func (p *patterned) Begin(_ *kernel.Panels, _, _ int) {}

// Part is the number of columns of a group.
func (p *patterned) Part() int { return p.of }

// BeginPart chooses the weights of a group that are kept.
func (p *patterned) BeginPart(w *kernel.Panels, row, n, first, last int) {
	const width = kernel.PanelWidth
	at := row/width*width*w.Cols + first*width
	var keys [32]uint32
	var keep [32]bool
	for r := row % width; r < row%width+n; r++ {
		for j := range last - first {
			keys[j] = math.Float32bits(w.Data[at+j*width+r]*p.inverse[first+j]) &^ (1 << 31)
		}
		keepPattern(keep[:last-first], keys[:last-first], p.keepOf, p.of)
		for j, k := range keep[:last-first] {
			p.keep[at+j*width+r] = k
		}
	}
}
