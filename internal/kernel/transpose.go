package kernel

// Transpose writes the transpose of a matrix of rows x cols whose rows start lds numbers apart to dst, whose rows start ldd apart. They must not
// overlap.
func Transpose(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	checkMatrix("transposed", src, lds, rows, cols)
	checkMatrix("transpose", dst, ldd, cols, rows)
	r, c := transposeTiles(current(), dst, ldd, src, lds, rows, cols)
	if r < rows && c > 0 {
		transposePacked(dst[r:], ldd, src[r*lds:], lds, rows-r, c)
	}
	if c < cols {
		transposePacked(dst[c*ldd:], ldd, src[c:], lds, rows, cols-c)
	}
}

// transposePacked transposes by way of a panel.
func transposePacked(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	const step = 64 // columns that are packed at a time: 8 KB stay in the first-level cache
	var buf [PanelWidth * step]float32
	for r := 0; r < rows; r += PanelWidth {
		m := min(PanelWidth, rows-r)
		for c := 0; c < cols; c += step {
			n := min(step, cols-c)
			packPanel(buf[:n*PanelWidth], src[r*lds+c:], lds, n, m)
			for j := range n {
				copy(dst[(c+j)*ldd+r:][:m], buf[j*PanelWidth:])
			}
		}
	}
}

// PackTransposed packs n rows of the matrix's transpose, columns first … first+n-1 of the matrix: column first+i is src[i·ld : i·ld+Rows].
// Calls for different columns may run at the same time.
func (p *Panels) PackTransposed(first int, src []float32, ld, n int) {
	if n == 0 || p.Rows == 0 {
		return
	}
	checkMatrix("packed columns", src, ld, n, p.Rows)
	for r := 0; r < p.Rows; r += PanelWidth {
		panel := p.Data[r*p.Cols+first*PanelWidth:][:n*PanelWidth]
		if m := p.Rows - r; m < PanelWidth {
			for i := range n {
				clear(panel[i*PanelWidth+m:][:PanelWidth-m])
				copy(panel[i*PanelWidth:], src[i*ld+r:][:m])
			}
			continue
		}
		for i := range n {
			*(*[PanelWidth]float32)(panel[i*PanelWidth:]) = *(*[PanelWidth]float32)(src[i*ld+r:])
		}
	}
}

// PackTransposed rounds and packs n rows of the matrix's transpose, columns first … first+n-1 of the matrix: column first+i is
// src[i·ld : i·ld+Rows]. first is even, and n is even, too, unless the columns reach the end; the padding behind the last column is then
// filled with zeros. Calls for different columns may run at the same time.
func (p *PanelsBF16) PackTransposed(first int, src []float32, ld, n int) {
	if p.Rows == 0 || n == 0 {
		return
	}
	if first%2 != 0 || n%2 != 0 && first+n != p.Cols {
		panic("kernel: columns of bfloat16 panels are packed in pairs")
	}
	checkMatrix("packed columns", src, ld, n, p.Rows)
	depth, v := p.Depth(), current()
	last := n
	if first+n == p.Cols {
		last = depth - first
	}
	var even, odd [PanelWidth]uint16
	for r := 0; r < p.Rows; r += PanelWidth {
		m := min(PanelWidth, p.Rows-r)
		panel := p.Data[r*depth+first*PanelWidth:][:last*PanelWidth]
		for i := 0; i < last; i += 2 {
			even, odd = [PanelWidth]uint16{}, [PanelWidth]uint16{}
			if i < n {
				roundRowBF16(v, even[:m], src[i*ld+r:][:m])
			}
			if i+1 < n {
				roundRowBF16(v, odd[:m], src[(i+1)*ld+r:][:m])
			}
			pairs := (*[2 * PanelWidth]uint16)(panel[i*PanelWidth:])
			for j := range PanelWidth {
				pairs[2*j], pairs[2*j+1] = even[j], odd[j]
			}
		}
	}
}
