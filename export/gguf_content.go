package export

import (
	"fmt"
	"io"
	"math"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
)

// content is what a tensor of a file consists of.
type content interface {
	// write writes it in a type. rounded tells whether numbers lost bits.
	write(w io.Writer, t kernel.GGMLType) (rounded bool, err error)
}

// order says which row of a matrix is row r of the file; nil: row r.
type order func(r int) int

// rotaryPairs is the order of the rows of queries and keys in a file of architecture llama: ggml rotates element 2i of a
// head with 2i+1, Hugging Face i with i+d/2.
func rotaryPairs(headDim int) order {
	return func(r int) int {
		i := r % headDim
		return r - i + i/2 + i%2*(headDim/2)
	}
}

func (o order) row(r int) int {
	if o == nil {
		return r
	}
	return o(r)
}

// stored are rows that are written as they are.
type stored struct {
	rows  int
	order order
	row   func(r int) []byte
}

func (s stored) write(w io.Writer, _ kernel.GGMLType) (bool, error) {
	for r := range s.rows {
		if _, err := w.Write(s.row(s.order.row(r))); err != nil {
			return false, err
		}
	}
	return false, nil
}

// numbers are weights that are written as plain numbers.
type numbers struct {
	name    string // in errors
	weights engine.Weights
	order   order
}

func (n numbers) write(w io.Writer, t kernel.GGMLType) (rounded bool, err error) {
	rows, cols := n.weights.Shape()
	row := make([]float32, cols)
	var b []byte
	for r := range rows {
		n.weights.DecodeRows(n.order.row(r), 1, row)
		var lost bool
		if b, lost, err = appendPlain(b[:0], row, t); err != nil {
			return rounded, fmt.Errorf("export: %s: %w", n.name, err)
		}
		rounded = rounded || lost
		if _, err := w.Write(b); err != nil {
			return rounded, err
		}
	}
	return rounded, nil
}

// appendPlain appends numbers in a plain type. lost tells whether one of them is not what it was.
func appendPlain(b []byte, row []float32, t kernel.GGMLType) (out []byte, lost bool, err error) {
	for _, x := range row {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return b, lost, engine.ErrNotFinite
		}
		switch t {
		case F32:
			b = le.AppendUint32(b, math.Float32bits(x))
		case F16:
			h := kernel.EncodeF16(x)
			if h&0x7c00 == 0x7c00 {
				return b, lost, fmt.Errorf("%v does not fit f16: write it as bf16", x)
			}
			b, lost = le.AppendUint16(b, h), lost || kernel.DecodeF16(h) != x
		case BF16:
			h := kernel.EncodeBF16(x)
			b, lost = le.AppendUint16(b, h), lost || kernel.DecodeBF16(h) != x
		}
	}
	return b, lost, nil
}

// sixteen chooses the type of 16 bits that keeps all weights as they are, or else F16 where they fit it.
func sixteen(w engine.Weights) kernel.GGMLType {
	rows, cols := w.Shape()
	row := make([]float32, cols)
	f16, bf16, fits := true, true, true
	for r := 0; r < rows && (f16 || bf16 || fits); r++ {
		w.DecodeRows(r, 1, row)
		for _, x := range row {
			fits = fits && float32(math.Abs(float64(x))) < kernel.MaxF16
			f16 = f16 && kernel.DecodeF16(kernel.EncodeF16(x)) == x
			bf16 = bf16 && kernel.DecodeBF16(kernel.EncodeBF16(x)) == x
		}
	}
	if f16 || fits && !bf16 {
		return F16
	}
	return BF16
}

// vector are float32 numbers.
type vector []float32

func (v vector) write(w io.Writer, _ kernel.GGMLType) (bool, error) {
	b, _, err := appendPlain(make([]byte, 0, 4*len(v)), v, F32)
	if err != nil {
		return false, err
	}
	_, err = w.Write(b)
	return false, err
}

// zeros are that many bytes of zero.
type zeros int64

func (z zeros) write(w io.Writer, _ kernel.GGMLType) (bool, error) {
	_, err := w.Write(make([]byte, z))
	return false, err
}

// ones are a norm that changes nothing but scale.
func ones(n int) vector {
	v := make(vector, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// next is the float32 number beside x, above it for 1 and below for -1.
func next(x float32, direction int) float32 {
	return math.Nextafter32(x, float32(math.Inf(direction)))
}
