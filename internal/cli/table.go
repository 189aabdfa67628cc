package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table prints rows in aligned columns. A column whose heading starts with ">" is set right.
func table(w io.Writer, heads []string, rows [][]string) {
	width := make([]int, len(heads))
	right := make([]bool, len(heads))
	for i, h := range heads {
		h, right[i] = strings.CutPrefix(h, ">")
		heads[i], width[i] = h, utf8.RuneCountInString(h)
	}
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range append([][]string{heads}, rows...) {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if right[i] {
				cell = pad + cell
			} else {
				cell += pad
			}
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(cell)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
