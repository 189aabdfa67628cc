package kernel

import "fmt"

// RowMajor is the inverse of packing: it writes a rows x cols matrix that lies in panels, as the data of [Panels] does, to dst in the order
// of rows.
func RowMajor[T any](dst, panels []T, rows, cols int) {
	if len(dst) != rows*cols || len(panels) < (rows+PanelWidth-1)/PanelWidth*cols*PanelWidth {
		panic(fmt.Sprintf("kernel: a matrix of %d x %d from %d numbers in panels to %d", rows, cols, len(panels), len(dst)))
	}
	const step = 16 // columns of all rows of a panel: with float32, 2 KB that stay in the first-level cache
	for first := 0; first < rows; first += PanelWidth {
		panel := panels[first*cols:]
		n := min(PanelWidth, rows-first)
		for k0 := 0; k0 < cols; k0 += step {
			src := panel[k0*PanelWidth:]
			for i := range n {
				row := dst[(first+i)*cols+k0:][:min(step, cols-k0)]
				for k := range row {
					row[k] = src[k*PanelWidth+i]
				}
			}
		}
	}
}
