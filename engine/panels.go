package engine

import (
	"math"
	"sync/atomic"

	"github.com/paretopress/paretopress/internal/kernel"
)

// panels are the weights of a linear module, decoded and packed for the products of
// the numerics in use.
type panels struct {
	key  string
	f32  *kernel.Panels
	bf16 *kernel.PanelsBF16
}

// shape returns the numbers of output and input features.
func (w *panels) shape() [2]int {
	if w.f32 != nil {
		return [2]int{w.f32.Rows, w.f32.Cols}
	}
	return [2]int{w.bf16.Rows, w.bf16.Cols}
}

// bytes is the memory that the panels take.
func (w *panels) bytes() int64 {
	if w.f32 != nil {
		return 4 * int64(len(w.f32.Data))
	}
	return 2 * int64(len(w.bf16.Data))
}

// count is the number of panels.
func (w *panels) count() int {
	if w.f32 != nil {
		return w.f32.Panels()
	}
	return w.bf16.Panels()
}

// times computes n rows of y = W·x for panels [p0, p1) of W; rows of y are ld
// apart, and column 0 is the first of panel p0.
func (w *panels) times(y []float32, ld int, x rows, n, p0, p1 int) {
	w.product(y, ld, x, n, p0, p1, false)
}

// product is times, or adds to y.
func (w *panels) product(y []float32, ld int, x rows, n, p0, p1 int, accumulate bool) {
	if w.f32 != nil {
		part := w.f32.View(p0, p1)
		kernel.MatMul(y, ld, x.f32, x.ld, n, &part, 0, p1-p0, accumulate)
		return
	}
	part := w.bf16.View(p0, p1)
	kernel.MatMulBF16(y, ld, x.bf16, x.ld, n, &part, 0, p1-p0, accumulate)
}

// pack packs n decoded rows as rows first … of the panels.
func (w *panels) pack(first int, decoded []float32, n int) {
	if w.f32 != nil {
		w.f32.Pack(first, decoded, n)
	} else {
		w.bf16.Pack(first, decoded, n)
	}
}

// packTransposed packs n decoded columns, each cols numbers from the last, as
// columns first … of the panels.
func (w *panels) packTransposed(first int, decoded []float32, cols, n int) {
	if w.f32 != nil {
		w.f32.PackTransposed(first, decoded, cols, n)
	} else {
		w.bf16.PackTransposed(first, decoded, cols, n)
	}
}

// choice is what stands in the place of a module.
type choice struct {
	key     string  // equal keys mean equal weights
	name    string  // of the module
	weights Weights // nil: the output is 0
}

// matrices returns the decoded weights of choices, in order; nil for a choice
// without. The caller gives them back by done when it has run its products.
func (m *Model) matrices(choices []choice) (_ []*panels, err error) {
	ws := make([]*panels, len(choices))
	defer func() {
		if err != nil {
			m.done(ws)
		}
	}()
	for i, c := range choices {
		if c.weights == nil {
			continue
		}
		var ok bool
		if ws[i], ok = m.decoded.get(c.key); ok {
			continue
		}
		rows, cols := c.weights.Shape()
		w := m.sparePanels(rows, cols)
		w.key = c.key
		if err = m.decode(w, nil, c.name, c.weights); err != nil {
			m.spare[w.shape()] = append(m.spare[w.shape()], w)
			return nil, err
		}
		ws[i] = w
	}
	return ws, nil
}

// done gives matrices back: they are kept as long as there is room.
func (m *Model) done(ws []*panels) {
	var fresh []*panels // to keep one may drop others of ws
	for _, w := range ws {
		if w != nil && !m.decoded.has(w.key) {
			fresh = append(fresh, w)
		}
	}
	for _, w := range fresh {
		m.decoded.put(w.key, w)
	}
}

// spares is the most matrices of one shape whose memory is kept for the next
// to be decoded: as many as one sub-block has.
const spares = 2

// sparePanels returns panels of a shape that hold nothing of use.
func (m *Model) sparePanels(rows, cols int) *panels {
	shape := [2]int{rows, cols}
	if free := m.spare[shape]; len(free) > 0 {
		w := free[len(free)-1]
		m.spare[shape] = free[:len(free)-1]
		return w
	}
	return m.newPanels(rows, cols)
}

func (m *Model) newPanels(rows, cols int) *panels {
	if m.numerics == Exact {
		return &panels{f32: kernel.NewPanels(rows, cols)}
	}
	return &panels{bf16: kernel.NewPanelsBF16(rows, cols)}
}

// recycle takes panels that are not kept any more.
func (m *Model) recycle(w *panels) {
	if free := m.spare[w.shape()]; len(free) < spares {
		m.spare[w.shape()] = append(free, w)
	}
}

// panelRows is the number of rows of a matrix that are decoded and packed at a
// time.
const panelRows = kernel.PanelWidth

// decode decodes the weights of a module to w, to its transpose t, or both, a panel
// at a time on every thread. It fails when a weight is NaN or infinite; w and t then hold
// unspecified values.
func (m *Model) decode(w, t *panels, name string, src Weights) error {
	var bad atomic.Int64 // smallest row that holds a weight that is not finite, plus 1
	rows, cols := src.Shape()
	m.pool.Run(ceil(rows, panelRows)/panelRows, func(i int) {
		s := <-m.scratch
		defer func() { m.scratch <- s }()
		at := i * panelRows
		n := min(panelRows, rows-at)
		s.decode = grow(s.decode, panelRows*cols)
		decoded := s.decode[:n*cols]
		src.DecodeRows(at, n, decoded)
		if k := notFinite(decoded); k >= 0 {
			row := int64(at + k/cols + 1)
			for old := bad.Load(); (old == 0 || row < old) && !bad.CompareAndSwap(old, row); old = bad.Load() {
			}
		}
		if w != nil {
			w.pack(at, decoded, n)
		}
		if t != nil {
			t.packTransposed(at, decoded, cols, n)
		}
	})
	if row := bad.Load(); row != 0 {
		return notFiniteErr("%s: row %d holds a weight that is NaN or infinite", name, row-1)
	}
	return nil
}

// notFinite returns the index of the first NaN or infinity in x, or -1.
func notFinite(x []float32) int {
	if kernel.Finite(x) {
		return -1
	}
	const exponent = 0x7f800000
	for i, v := range x {
		if math.Float32bits(v)&exponent == exponent {
			return i
		}
	}
	return -1
}
