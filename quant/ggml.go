package quant

import (
	"errors"
	"fmt"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
)

// blocks makes matrices in blocks of a ggml type. It is the obs.Strategy of GPTQ.
type blocks struct {
	form       *form
	rows, cols int
	size       int       // weights of a block
	importance []float64 // of columns

	// Of GPTQ.
	weights *kernel.Panels
	chosen  []block // of the current block of each row
	codes   []uint8 // in panels, as the weights are
	data    []byte
	err     error // the first block that could not be chosen

	x [superSize]float64 // the weights at hand
}

// equal are the importances of columns of whose inputs nothing is known.
func equal(cols int) []float64 {
	out := make([]float64, cols)
	for j := range out {
		out[j] = 1
	}
	return out
}

// meanSquares are the importances of columns by the diagonal of the Hessian. A millionth of their mean is the least, so that inputs that were
// always 0 leave something to decide by.
func meanSquares(f *obs.Factor) []float64 {
	squares := f.MeanSquares()
	mean := 0.0
	for _, s := range squares {
		mean += s / float64(len(squares))
	}
	if mean == 0 {
		mean = 1
	}
	out := make([]float64, len(squares))
	for j, s := range squares {
		out[j] = max(s, 1e-6*mean)
	}
	return out
}

// choose fills b for the weights in q.x, which are those from column first on of a row.
func (q *blocks) choose(b *block, row, first int) {
	if !q.form.choose(b, q.x[:q.size], q.importance[first:first+q.size]) && q.err == nil {
		q.err = fmt.Errorf("row %d: the scale of columns %d to %d does not fit in 16 bits", row, first, first+q.size-1)
	}
}

// conditional are the importances of columns whose errors those after them make up for: the error of the output is then Σ (w-q)²/U_jj² over
// the columns as they are reached. Without correlations they are the damped diagonal of the Hessian.
func conditional(f *obs.Factor) []float64 {
	inverse := f.InverseDiag()
	out := make([]float64, len(inverse))
	for j, u := range inverse {
		out[j] = float64(float64(u) * float64(u))
	}
	return out
}

// plain rounds each weight by itself.
func (q *blocks) plain(w []float32) {
	var b block
	var out kernel.GGMLBlock
	bytes := q.form.typ.BlockBytes()
	for row := range q.rows {
		for first := 0; first < q.cols; first += q.size {
			at := row*q.cols + first
			for i, v := range w[at : at+q.size] {
				q.x[i] = float64(v)
			}
			q.choose(&b, row, first)
			for i, x := range q.x[:q.size] {
				out.Codes[i] = q.form.code(b.grades[i/q.form.sub].place(x))
			}
			q.pack(q.data[at/q.size*bytes:], &out, &b)
		}
	}
}

// gptq rounds column by column and feeds the errors back.
func (q *blocks) gptq(f *obs.Factor, w []float32) {
	q.weights = kernel.NewPanels(q.rows, q.cols)
	q.weights.Pack(0, w, q.rows)
	q.chosen = make([]block, q.rows)
	q.codes = make([]uint8, len(q.weights.Data))
	f.Sweep(q.weights, q.size, q)
	q.packBlock(q.cols - q.size)
	if q.err == nil && obs.Finite(q.weights.Data, q.cols) != nil {
		q.err = errors.New("weights overflow as they absorb errors")
	}
}

// Begin chooses the numbers of a block of columns, for every row, and packs the block before it, whose codes are complete.
func (q *blocks) Begin(w *kernel.Panels, first, _ int) {
	if first > 0 {
		q.packBlock(first - q.size)
	}
	for row := range q.rows {
		q.gather(w, row, first, q.size)
		q.choose(&q.chosen[row], row, first)
	}
}

// gather sets q.x to the n weights of a row from column first on.
func (q *blocks) gather(w *kernel.Panels, row, first, n int) {
	src := w.Data[row/width*width*q.cols+first*width+row%width:]
	for i := range n {
		q.x[i] = float64(src[i*width])
	}
}

// Part is the number of columns of a sub-block, or of a block.
func (q *blocks) Part() int { return q.form.sub }

// BeginPart chooses the integers of the sub-blocks of a super-block: the first decision, in Begin, did not know of the errors since.
func (q *blocks) BeginPart(w *kernel.Panels, row, n, first, _ int) {
	at := first % q.size
	if !q.form.super() || at == 0 || q.err != nil {
		return
	}
	sub := q.form.sub
	for i := row; i < row+n; i++ {
		q.gather(w, i, first, sub)
		q.form.rechoose(&q.chosen[i], at/sub, q.x[:sub], q.importance[first:first+sub])
	}
}

// Round keeps the codes of weights and sets dst to what they are worth.
func (q *blocks) Round(dst, x []float32, row, col int) {
	codes := q.codes[row*q.cols+col*width:][:len(x)]
	sub := col % q.size / q.form.sub
	for i, v := range x {
		g := &q.chosen[row+i].grades[sub]
		t := g.place(float64(v))
		codes[i], dst[i] = q.form.code(t), g.value(q.form.k(t))
	}
}

// packBlock packs the block of every row that begins at a column.
func (q *blocks) packBlock(first int) {
	var out kernel.GGMLBlock
	bytes, stride := q.form.typ.BlockBytes(), len(q.data)/q.rows
	for row := range q.rows {
		codes := q.codes[row/width*width*q.cols+first*width+row%width:]
		for i := range q.size {
			out.Codes[i] = codes[i*width]
		}
		q.pack(q.data[row*stride+first/q.size*bytes:], &out, &q.chosen[row])
	}
}

// pack writes a block.
func (q *blocks) pack(dst []byte, out *kernel.GGMLBlock, b *block) {
	out.Scale, out.Min = b.scale, b.offset
	for s := range out.Scales {
		out.Scales[s], out.Mins[s] = uint8(b.scales[s]+q.form.scale0), uint8(b.mins[s])
	}
	q.form.typ.Pack(dst, out)
}
