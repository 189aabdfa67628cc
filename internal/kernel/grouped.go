package kernel

import (
	"encoding/binary"
	"fmt"
)

// Layout says how a [Grouped] matrix stores its weights.
type Layout struct {
	Bits      int  // of an integer, 2 to 8
	Group     int  // consecutive columns of a row that share a scale; 0: the whole row
	Symmetric bool // the zero is 2^(Bits-1) everywhere and not stored
}

// String returns the layout as level names write it: "4b-g64", "3b-gall-sym".
func (l Layout) String() string {
	group, sym := "all", ""
	if l.Group > 0 {
		group = fmt.Sprint(l.Group)
	}
	if l.Symmetric {
		sym = "-sym"
	}
	return fmt.Sprintf("%db-g%s%s", l.Bits, group, sym)
}

// Check returns an error unless Bits is 2 to 8 and Group is not negative.
func (l Layout) Check() error {
	if l.Bits < 2 || l.Bits > 8 {
		return fmt.Errorf("kernel: integers of %d bits; they can have 2 to 8", l.Bits)
	}
	if l.Group < 0 || l.Group > maxWeights {
		return fmt.Errorf("kernel: groups of %d columns", l.Group)
	}
	return nil
}

// Groups is the number of groups in a row of cols columns; the last may be short.
func (l Layout) Groups(cols int) int {
	if l.Group == 0 || l.Group >= cols {
		return 1
	}
	return (cols + l.Group - 1) / l.Group
}

// Span is the number of columns of a group that is not cut short, at most cols.
func (l Layout) Span(cols int) int {
	if l.Group == 0 || l.Group >= cols {
		return cols
	}
	return l.Group
}

// MaxCode is the largest integer, 2^Bits - 1.
func (l Layout) MaxCode() int { return 1<<l.Bits - 1 }

// Bytes is the size of a rows x cols matrix.
func (l Layout) Bytes(rows, cols int) int64 {
	codes, scales, zeros := l.sizes(rows, cols)
	return int64(codes) + int64(scales) + int64(zeros)
}

// sizes are the lengths of the parts in bytes.
func (l Layout) sizes(rows, cols int) (codes, scales, zeros int) {
	groups := rows * l.Groups(cols)
	if !l.Symmetric {
		zeros = (groups*l.Bits + 7) / 8
	}
	return rows * ((cols*l.Bits + 7) / 8), 2 * groups, zeros
}

// Grouped is a matrix of integers of 2 to 8 bits with a scale and a zero for each group of consecutive
// columns of a row; a weight is scale · (code - zero).
//
// Codes are packed with the least significant bits first and without gaps, except that each row starts
// at a byte: the code in column j has bits j·b to j·b+b-1 of its row. Scales are binary16 numbers,
// [rows][groups]. Zeros are packed as codes are, [rows·groups] in one run.
type Grouped struct {
	rows, cols    int
	layout        Layout
	groups, span  int
	stride        int // bytes of a row of codes
	codes, scales []byte
	zeros         []byte
}

// NewGrouped makes a matrix of its stored parts, which it keeps; zeros is nil in a symmetric layout. It
// returns an error unless they have the lengths that the shape and the layout ask for and every scale
// is finite.
func NewGrouped(rows, cols int, l Layout, codes, scales, zeros []byte) (*Grouped, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	if err := checkShape(rows, cols); err != nil {
		return nil, err
	}
	nc, ns, nz := l.sizes(rows, cols)
	for _, p := range []struct {
		name      string
		have, due int
	}{{"codes", len(codes), nc}, {"scales", len(scales), ns}, {"zeros", len(zeros), nz}} {
		if p.have != p.due {
			return nil, fmt.Errorf("kernel: %s of %d x %d weights in layout %v have %d bytes, want %d", p.name, rows, cols, l, p.have, p.due)
		}
	}
	for i := 0; i < len(scales); i += 2 {
		if binary.LittleEndian.Uint16(scales[i:])&0x7c00 == 0x7c00 {
			return nil, fmt.Errorf("kernel: scale %d of a matrix in layout %v is NaN or infinite", i/2, l)
		}
	}
	return &Grouped{
		rows: rows, cols: cols, layout: l, groups: l.Groups(cols), span: l.Span(cols), stride: nc / rows,
		codes: codes, scales: scales, zeros: zeros,
	}, nil
}

// PackGrouped stores codes (rows x cols, row-major), scales (rows x groups, binary16 bits) and zeros
// (the same shape; nil in a symmetric layout). Codes and zeros are at most l.MaxCode().
func PackGrouped(rows, cols int, l Layout, codes []uint8, scales []uint16, zeros []uint8) (*Grouped, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	if err := checkShape(rows, cols); err != nil {
		return nil, err
	}
	nc, ns, nz := l.sizes(rows, cols)
	if len(codes) != rows*cols || 2*len(scales) != ns || (nz > 0) != (len(zeros) > 0) || nz > 0 && len(zeros) != len(scales) {
		panic(fmt.Sprintf("kernel: %d codes, %d scales and %d zeros for %d x %d weights in layout %v", len(codes), len(scales), len(zeros), rows, cols, l))
	}
	stride := nc / rows
	out := make([]byte, nc)
	for i := range rows {
		packBits(out[i*stride:(i+1)*stride], codes[i*cols:(i+1)*cols], l.Bits)
	}
	half := make([]byte, 0, ns)
	for _, s := range scales {
		half = binary.LittleEndian.AppendUint16(half, s)
	}
	var z []byte
	if nz > 0 {
		z = make([]byte, nz)
		packBits(z, zeros, l.Bits)
	}
	return NewGrouped(rows, cols, l, out, half, z)
}

// packBits writes codes of b bits to dst, least significant bits first.
func packBits(dst []byte, codes []uint8, b int) {
	var acc uint32
	have, at := 0, 0
	for _, c := range codes {
		acc |= uint32(c) << have
		for have += b; have >= 8; have -= 8 {
			dst[at] = byte(acc)
			acc >>= 8
			at++
		}
	}
	if have > 0 {
		dst[at] = byte(acc)
	}
}

// codeAt reads the i-th code of b bits.
func codeAt(src []byte, i, b int) int32 {
	at := i * b
	v := uint32(src[at>>3])
	if at&7+b > 8 {
		v |= uint32(src[at>>3+1]) << 8
	}
	return int32(v >> (at & 7) & (1<<b - 1))
}

// Shape returns the numbers of rows and columns.
func (g *Grouped) Shape() (rows, cols int) { return g.rows, g.cols }

// Layout returns bits, group and symmetry.
func (g *Grouped) Layout() Layout { return g.layout }

// Bytes is the number of bytes of codes, scales and zeros.
func (g *Grouped) Bytes() int64 {
	return int64(len(g.codes)) + int64(len(g.scales)) + int64(len(g.zeros))
}

// NNZ is the number of weights, all of which are stored.
func (g *Grouped) NNZ() int64 { return int64(g.rows) * int64(g.cols) }

// Format returns "grouped-" and the layout.
func (g *Grouped) Format() string { return "grouped-" + g.layout.String() }

// Parts returns codes, scales and, unless symmetric, zeros.
func (g *Grouped) Parts() []Part {
	parts := []Part{
		{Name: "codes", Type: "U8", Shape: []int{g.rows, g.stride}, Data: g.codes},
		{Name: "scales", Type: "F16", Shape: []int{g.rows, g.groups}, Data: g.scales},
	}
	if !g.layout.Symmetric {
		parts = append(parts, Part{Name: "zeros", Type: "U8", Shape: []int{len(g.zeros)}, Data: g.zeros})
	}
	return parts
}

// grid is the set of values of a group: scale · (code - zero).
type grid struct {
	scale float32
	zero  int32
}

// DecodeRows writes the n rows from row first on to dst, row-major.
func (g *Grouped) DecodeRows(first, n int, dst []float32) {
	v := current()
	for i := first; i < first+n; i++ {
		// The codes may be read past the end of their row, where there are more.
		g.decodeRow(v, i, dst[(i-first)*g.cols:][:g.cols], g.codes[i*g.stride:])
	}
}

func (g *Grouped) decodeRow(v variant, i int, row []float32, codes []byte) {
	var buf [32]grid
	whole := 0 // groups that whole blocks make up, a whole number of bytes each
	if g.span%lanes == 0 {
		whole = g.cols / g.span
	}
	for k := 0; k < g.groups; {
		from := k * g.span
		grids := buf[:1]
		if k < whole {
			grids = buf[:min(len(buf), whole-k)]
		}
		g.grids(grids, i*g.groups+k)
		if k >= whole || !decodeGroups(v, row[from:], codes[from/8*g.layout.Bits:], g.layout.Bits, grids, g.span/lanes) {
			for j, at := range grids {
				from := from + j*g.span
				decodeGroup(row[from:min(from+g.span, g.cols)], codes, from, g.layout.Bits, at)
			}
		}
		k += len(grids)
	}
}

// grids reads those of the groups from index first on.
func (g *Grouped) grids(dst []grid, first int) {
	b := g.layout.Bits
	for k := range dst {
		dst[k] = grid{scale: DecodeF16(binary.LittleEndian.Uint16(g.scales[2*(first+k):])), zero: 1 << (b - 1)}
		if !g.layout.Symmetric {
			dst[k].zero = codeAt(g.zeros, first+k, b)
		}
	}
}

// decodeGroup writes the values of the codes from index first on.
func decodeGroup(dst []float32, codes []byte, first, b int, at grid) {
	scale, zero := at.scale, at.zero
	k := 0
	if first&7 == 0 { // eight codes are b whole bytes
		mask := uint64(1)<<b - 1
		src := codes[first/8*b:]
		for ; k+8 <= len(dst) && len(src) >= 8; k += 8 {
			u := binary.LittleEndian.Uint64(src)
			src = src[b:]
			d := (*[8]float32)(dst[k:])
			d[0] = scale * float32(int32(u&mask)-zero)
			u >>= b & 63
			d[1] = scale * float32(int32(u&mask)-zero)
			u >>= b & 63
			d[2] = scale * float32(int32(u&mask)-zero)
			u >>= b & 63
			d[3] = scale * float32(int32(u&mask)-zero)
			u >>= b & 63
			d[4] = scale * float32(int32(u&mask)-zero)
			u >>= b & 63
			d[5] = scale * float32(int32(u&mask)-zero)
			u >>= b & 63
			d[6] = scale * float32(int32(u&mask)-zero)
			u >>= b & 63
			d[7] = scale * float32(int32(u&mask)-zero)
		}
	}
	for ; k < len(dst); k++ {
		dst[k] = scale * float32(codeAt(codes, first+k, b)-zero)
	}
}
