package engine

import "fmt"

// Tensor is a named array of a checkpoint in its stored form. Its bytes stay mapped until the
// checkpoint is closed; reading a tensor after that is a fault of the caller.
type Tensor struct {
	Name  string // Hugging Face name, for GGUF files too
	Shape []int  // outermost dimension first: [rows, cols] of a matrix
	Type  string // F32, F16, BF16, Q8_0, Q4_K … as ggml names them

	format *format
	data   []byte
	pairs  int // >0: rows are stored in rotary pairs, in heads of this many; see source

	compressed *compressed // not nil: stored in several arrays, and without format
}

// known reports whether the tensor can be decoded.
func (t Tensor) known() bool { return t.format != nil || t.compressed != nil }

// Rows and Cols are the shape of the tensor as a matrix: the last dimension is the columns, all
// others are rows. A vector is one row.
func (t Tensor) Rows() int {
	n := 1
	for _, d := range t.Shape[:max(len(t.Shape)-1, 0)] {
		n *= d
	}
	return n
}

// Cols is the length of a row.
func (t Tensor) Cols() int {
	if len(t.Shape) == 0 {
		return 1
	}
	return t.Shape[len(t.Shape)-1]
}

// Bytes is the size of the tensor in its file.
func (t Tensor) Bytes() int64 {
	if t.compressed != nil {
		return t.compressed.bytes()
	}
	return int64(len(t.data))
}

// DecodeRows writes rows [first, first+n) to dst as float32, row after row. dst must hold
// n·Cols values. Decoding is exact: what ggml or safetensors define, bit for bit. It panics if
// the rows are out of range or dst is too short.
func (t Tensor) DecodeRows(first, n int, dst []float32) {
	rows, cols := t.Rows(), t.Cols()
	if first < 0 || n < 0 || first > rows-n {
		panic(fmt.Sprintf("engine: rows [%d, %d) of tensor %s, which has %d", first, first+n, t.Name, rows))
	}
	dst = dst[:n*cols]
	if t.compressed != nil {
		t.compressed.decodeRows(first, n, dst)
		return
	}
	stride := t.format.size(cols)
	if t.pairs == 0 {
		t.format.decode(t.data[first*stride:(first+n)*stride], dst)
		return
	}
	if len(t.Shape) == 1 { // a bias: its rows are the elements
		all := make([]float32, cols)
		t.format.decode(t.data, all)
		for i := range dst {
			dst[i] = all[t.source(i)]
		}
		return
	}
	for i := range n {
		at := t.source(first+i) * stride
		t.format.decode(t.data[at:at+stride], dst[i*cols:(i+1)*cols])
	}
}

// source is where row r of a query or key projection lies in a GGUF file of architecture llama.
// Hugging Face rotates element i of a head with element i+d/2, ggml element 2i with 2i+1, and
// the converter reorders rows to match.
func (t Tensor) source(r int) int {
	head, i := r/t.pairs*t.pairs, r%t.pairs
	half := t.pairs / 2
	return head + 2*(i%half) + i/half
}

// Check reports the first value that is NaN or infinite. It reads every number of an F32, F16 or
// BF16 tensor, and of a quantized one the scales: its codes are integers and always finite.
func (t Tensor) Check() error {
	if t.compressed != nil {
		return t.compressed.check(t.Name)
	}
	f := t.format
	for at := 0; at < len(t.data); at += f.bytes {
		block := t.data[at : at+f.bytes]
		if !f.finite(block) {
			element := at / f.bytes * f.block
			return &fault{ErrNotFinite, fmt.Sprintf("tensor %s: NaN or infinite weight in row %d, column %d or after",
				t.Name, element/t.Cols(), element%t.Cols())}
		}
	}
	return nil
}
