package kernel

import "fmt"

// PanelsBF16 is a weight matrix W[Rows x Cols] rounded to bfloat16 and packed for [MatMulBF16]: Data is
// [ceil(Rows/32)][ceil(Cols/32)·16][32][2]uint16, padded with zero rows and columns. Step k of panel p holds columns 2k and 2k+1 of rows
// 32p … 32p+31: the operand of two VDPBF16PS. 16 steps of 16 rows, 16 lines of 64 bytes that start 128 bytes apart, are a tile of AMX.
type PanelsBF16 struct {
	Rows, Cols int
	Data       []uint16 // bits of bfloat16 numbers
}

// depthBF16 is what the columns of a matrix are padded to a multiple of: the depth of a tile of AMX.
const depthBF16 = 32

// NewPanelsBF16 returns the panels of a zero matrix.
func NewPanelsBF16(rows, cols int) *PanelsBF16 {
	if rows < 0 || cols < 0 {
		panic(fmt.Sprintf("kernel: panels of %d x %d", rows, cols))
	}
	p := &PanelsBF16{Rows: rows, Cols: cols}
	p.Data = make([]uint16, p.Panels()*p.Depth()*PanelWidth)
	return p
}

// Panels returns the number of panels, ceil(Rows/32).
func (p *PanelsBF16) Panels() int { return (p.Rows + PanelWidth - 1) / PanelWidth }

// Depth returns Cols rounded up to a multiple of 32: the columns that Data holds, and the length of a row of A.
func (p *PanelsBF16) Depth() int { return (p.Cols + depthBF16 - 1) / depthBF16 * depthBF16 }

// View returns panels [p0, p1) as a matrix of its own that shares the memory; row 0 of the view is row 32·p0.
func (p *PanelsBF16) View(p0, p1 int) PanelsBF16 {
	if p0 < 0 || p1 < p0 || p1 > p.Panels() {
		panic(fmt.Sprintf("kernel: view [%d, %d) of %d panels", p0, p1, p.Panels()))
	}
	s := p.Depth() * PanelWidth
	return PanelsBF16{Rows: max(0, min(p.Rows, p1*PanelWidth)-p0*PanelWidth), Cols: p.Cols, Data: p.Data[p0*s : p1*s : p1*s]}
}

// Pack rounds n rows of Cols numbers each, row-major, to the nearest bfloat16 numbers, ties to even, and packs them as rows
// first … first+n-1. first is a multiple of 32, and n is one too unless the rows reach the end. Calls for different rows may run at the
// same time.
func (p *PanelsBF16) Pack(first int, rows []float32, n int) { p.PackStrided(first, rows, p.Cols, n) }

// PackStrided is Pack for rows that start ld numbers apart: row first+i is src[i·ld : i·ld+Cols].
func (p *PanelsBF16) PackStrided(first int, src []float32, ld, n int) {
	checkPanels(first, n, p.Rows)
	if n == 0 || p.Cols == 0 {
		return
	}
	checkMatrix("packed rows", src, ld, n, p.Cols)
	depth := p.Depth()
	for r := 0; r < n; r += PanelWidth {
		dst := p.Data[(first+r)*depth:][:depth*PanelWidth]
		packPanelBF16(dst, src[r*ld:], ld, p.Cols, min(PanelWidth, n-r))
	}
}

// packDepth is the number of columns that all rows of a panel are rounded for before they are packed: 8 KB stay in the first-level cache.
const packDepth = 128

// packPanelBF16 packs rows (1 … 32) rows of cols numbers, ld apart, as one panel; missing rows and columns are zero.
func packPanelBF16(dst []uint16, src []float32, ld, cols, rows int) {
	v := current()
	var buf [PanelWidth * packDepth]uint16
	for k := 0; k < cols; k += packDepth {
		n := min(packDepth, cols-k)
		for i := range rows {
			row := buf[i*packDepth:][:packDepth]
			roundRowBF16(v, row[:n], src[i*ld+k:][:n])
			clear(row[n:])
		}
		packPairs(v, dst[k*PanelWidth:], buf[:], packDepth, (n+depthBF16-1)/depthBF16*depthBF16)
	}
}

// packPairsGo packs the first cols columns, a multiple of 16, of 32 rows, ld apart.
func packPairsGo(dst, src []uint16, ld, cols int) {
	for i := range PanelWidth {
		for k, h := range src[i*ld:][:cols] {
			dst[k/2*2*PanelWidth+2*i+k%2] = h
		}
	}
}
