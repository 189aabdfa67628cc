package kernel

import "fmt"

// PanelWidth is the number of rows of W, columns of C, in one panel.
const PanelWidth = 32

// Panels is a weight matrix W[Rows x Cols] packed for [MatMul]: Data is [ceil(Rows/32)][Cols][32]float32, padded with zero rows.
// Panel p holds rows 32p … 32p+31, transposed, so that a step of the product reads 32 consecutive numbers.
type Panels struct {
	Rows, Cols int
	Data       []float32
}

// NewPanels returns the panels of a zero matrix.
func NewPanels(rows, cols int) *Panels {
	if rows < 0 || cols < 0 {
		panic(fmt.Sprintf("kernel: panels of %d x %d", rows, cols))
	}
	p := &Panels{Rows: rows, Cols: cols}
	p.Data = make([]float32, p.Panels()*cols*PanelWidth)
	return p
}

// Panels returns the number of panels, ceil(Rows/32).
func (p *Panels) Panels() int { return (p.Rows + PanelWidth - 1) / PanelWidth }

// View returns panels [p0, p1) as a matrix of its own that shares the memory; row 0 of the view is row 32·p0.
func (p *Panels) View(p0, p1 int) Panels {
	if p0 < 0 || p1 < p0 || p1 > p.Panels() {
		panic(fmt.Sprintf("kernel: view [%d, %d) of %d panels", p0, p1, p.Panels()))
	}
	s := p.Cols * PanelWidth
	return Panels{Rows: max(0, min(p.Rows, p1*PanelWidth)-p0*PanelWidth), Cols: p.Cols, Data: p.Data[p0*s : p1*s : p1*s]}
}

// Pack packs n rows of Cols numbers each, row-major, as rows first … first+n-1. first is a multiple of 32, and n is one too unless the
// rows reach the end. Calls for different rows may run at the same time.
func (p *Panels) Pack(first int, rows []float32, n int) { p.PackStrided(first, rows, p.Cols, n) }

// PackStrided is Pack for rows that start ld numbers apart: row first+i is src[i·ld : i·ld+Cols].
func (p *Panels) PackStrided(first int, src []float32, ld, n int) {
	checkPanels(first, n, p.Rows)
	if n == 0 || p.Cols == 0 {
		return
	}
	checkMatrix("packed rows", src, ld, n, p.Cols)
	for r := 0; r < n; r += PanelWidth {
		dst := p.Data[(first+r)*p.Cols:][:p.Cols*PanelWidth]
		packPanel(dst, src[r*ld:], ld, p.Cols, min(PanelWidth, n-r))
	}
}

// checkPanels panics unless rows first … first+n-1 of a matrix of rows rows are whole panels.
func checkPanels(first, n, rows int) {
	if first < 0 || n < 0 || first%PanelWidth != 0 || first+n > rows || n%PanelWidth != 0 && first+n != rows {
		panic(fmt.Sprintf("kernel: rows [%d, %d) of %d are no whole panels", first, first+n, rows))
	}
}

// packPanel packs rows (1 … 32) rows of cols numbers, ld apart, as one panel; missing rows are zero.
func packPanel(dst, src []float32, ld, cols, rows int) {
	whole := 0
	if rows == PanelWidth {
		whole = cols &^ 7
		packBlocks(current(), dst, src, ld, whole)
	} else {
		clear(dst[:cols*PanelWidth])
	}
	for i := range rows {
		row := src[i*ld:][:cols]
		for k := whole; k < cols; k++ {
			dst[k*PanelWidth+i] = row[k]
		}
	}
}

// packBlocksGo packs the first cols columns, a multiple of 8, of 32 rows.
func packBlocksGo(dst, src []float32, ld, cols int) {
	for i := range PanelWidth {
		for k, x := range src[i*ld:][:cols] {
			dst[k*PanelWidth+i] = x
		}
	}
}

// checkMatrix panics unless s holds rows of cols numbers that start ld apart.
func checkMatrix[T float32 | uint16](what string, s []T, ld, rows, cols int) {
	if rows < 0 || cols < 0 || rows > 0 && cols > 0 && (ld < cols && rows > 1 || len(s) < (rows-1)*ld+cols) {
		panic(fmt.Sprintf("kernel: %s: %d x %d with a stride of %d do not fit in %d numbers", what, rows, cols, ld, len(s)))
	}
}
