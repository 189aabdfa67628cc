package kernel

import "fmt"

// GGML is a matrix in blocks of one of ggml's types, row after row as in a GGUF file.
type GGML struct {
	t          GGMLType
	rows, cols int
	stride     int // bytes of a row
	data       []byte
}

// NewGGML makes a matrix of its blocks, which it keeps. It returns an error unless cols is a multiple of the block, data has the length that
// the shape asks for and every scale is finite.
func NewGGML(t GGMLType, rows, cols int, data []byte) (*GGML, error) {
	if !t.Known() {
		return nil, fmt.Errorf("kernel: no matrix has %v", t)
	}
	if err := checkShape(rows, cols); err != nil {
		return nil, err
	}
	if cols%t.Block() != 0 {
		return nil, fmt.Errorf("kernel: rows of %d weights are no whole blocks of %v, which have %d", cols, t, t.Block())
	}
	if want := t.Bytes(rows, cols); int64(len(data)) != want {
		return nil, fmt.Errorf("kernel: blocks of %d x %d weights in %v have %d bytes, want %d", rows, cols, t, len(data), want)
	}
	size := t.BlockBytes()
	for at := 0; at < len(data); at += size {
		if !t.Finite(data[at : at+size]) {
			return nil, fmt.Errorf("kernel: block %d of a matrix in %v has a NaN or an infinity", at/size, t)
		}
	}
	return &GGML{t: t, rows: rows, cols: cols, stride: cols / t.Block() * size, data: data}, nil
}

// Type returns the type of the blocks.
func (g *GGML) Type() GGMLType { return g.t }

// Data returns the blocks, row after row. It must not be changed.
func (g *GGML) Data() []byte { return g.data }

// Shape returns the numbers of rows and columns.
func (g *GGML) Shape() (rows, cols int) { return g.rows, g.cols }

// Bytes is the number of bytes of the blocks.
func (g *GGML) Bytes() int64 { return int64(len(g.data)) }

// NNZ is the number of weights, all of which are stored.
func (g *GGML) NNZ() int64 { return int64(g.rows) * int64(g.cols) }

// Format returns "ggml-" and the name of the type.
func (g *GGML) Format() string { return "ggml-" + g.t.String() }

// Parts returns the blocks.
func (g *GGML) Parts() []Part {
	return []Part{{Name: "blocks", Type: "U8", Shape: []int{g.rows, g.stride}, Data: g.data}}
}

// DecodeRows writes the n rows from row first on to dst, row-major.
func (g *GGML) DecodeRows(first, n int, dst []float32) {
	g.t.Decode(dst[:n*g.cols], g.data[first*g.stride:(first+n)*g.stride])
}
