package sparseft

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/paretopress/paretopress/internal/safetensors"
)

// entry is a tensor of a safetensors file. The data is []float32 (F32), []int32 (I32) or []byte (U8).
type entry struct {
	name  string
	shape []int
	data  any
}

// dtype is the type of an entry's data.
func (e entry) dtype() string {
	switch e.data.(type) {
	case []float32:
		return "F32"
	case []int32:
		return "I32"
	}
	return "U8"
}

// writeEntries writes a file of entries, in their order, that begins at 8-byte alignment.
func writeEntries(w io.Writer, metadata map[string]string, entries []entry) error {
	list := make([]safetensors.Entry, len(entries))
	for i, e := range entries {
		list[i] = safetensors.Entry{Name: e.name, Type: e.dtype(), Shape: e.shape}
	}
	if _, err := w.Write(safetensors.Header(metadata, list, 0, 8)); err != nil {
		return err
	}
	for _, e := range entries {
		if err := writeData(w, e.data); err != nil {
			return err
		}
	}
	return nil
}

// writeData writes numbers, little-endian.
func writeData(w io.Writer, data any) error {
	switch d := data.(type) {
	case []float32:
		return writeWords(w, d, func(to []byte, part []float32) {
			for i, x := range part {
				binary.LittleEndian.PutUint32(to[4*i:], math.Float32bits(x))
			}
		})
	case []int32:
		return writeWords(w, d, func(to []byte, part []int32) {
			for i, x := range part {
				binary.LittleEndian.PutUint32(to[4*i:], uint32(x))
			}
		})
	case []byte:
		_, err := w.Write(d)
		return err
	}
	return nil
}

// writeWords writes numbers of 4 bytes, some at a time.
func writeWords[T any](w io.Writer, numbers []T, put func(to []byte, part []T)) error {
	const chunk = 1 << 16
	buffer := make([]byte, 4*min(chunk, len(numbers)))
	for part := range slices.Chunk(numbers, chunk) {
		put(buffer, part)
		if _, err := w.Write(buffer[:4*len(part)]); err != nil {
			return err
		}
	}
	return nil
}

// readEntries reads a file of F32, I32 and U8 tensors.
func readEntries(data []byte) (metadata map[string]string, entries []entry, err error) {
	metadata, tensors, err := safetensors.Parse(data)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tensors {
		e := entry{t.Name, t.Shape, decode(t.Type, t.Data)}
		if e.data == nil {
			return nil, nil, fmt.Errorf("tensor %s is of type %q", t.Name, t.Type)
		}
		entries = append(entries, e)
	}
	return metadata, entries, nil
}

// decode copies numbers of a type; of one that no entry has it makes nil.
func decode(dtype string, b []byte) any {
	switch dtype {
	case "F32":
		out := make([]float32, len(b)/4)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		return out
	case "I32":
		out := make([]int32, len(b)/4)
		for i := range out {
			out[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
		}
		return out
	case "U8":
		return append([]byte{}, b...)
	}
	return nil
}
