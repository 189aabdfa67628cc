package sparseft

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
)

// entry is a tensor of a safetensors file. The data is []float32 (F32), []int32 (I32) or []byte (U8).
//
// https://huggingface.co/docs/safetensors
type entry struct {
	name  string
	shape []int
	data  any
}

// header is what the file says about a tensor.
type header struct {
	Type    string    `json:"dtype"`
	Shape   []int     `json:"shape"`
	Offsets [2]uint64 `json:"data_offsets"`
}

// writeEntries writes a file of entries, in their order, that begins at 8-byte alignment.
func writeEntries(w io.Writer, metadata map[string]string, entries []entry) error {
	text := []byte(`{"__metadata__":`)
	b, err := json.Marshal(metadata) // in the order of the keys
	if err != nil {
		return err
	}
	text = append(text, b...)
	at := uint64(0)
	for _, e := range entries {
		h := header{Shape: e.shape}
		size := 0
		switch d := e.data.(type) {
		case []float32:
			h.Type, size = "F32", 4*len(d)
		case []int32:
			h.Type, size = "I32", 4*len(d)
		case []byte:
			h.Type, size = "U8", len(d)
		}
		h.Offsets = [2]uint64{at, at + uint64(size)}
		at = h.Offsets[1]
		name, err := json.Marshal(e.name)
		if err != nil {
			return err
		}
		if b, err = json.Marshal(h); err != nil {
			return err
		}
		text = append(append(append(append(text, ','), name...), ':'), b...)
	}
	text = append(text, '}')
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	if _, err := w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)); err != nil {
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
		return writeWords(w, d, math.Float32bits)
	case []int32:
		return writeWords(w, d, func(x int32) uint32 { return uint32(x) })
	case []byte:
		_, err := w.Write(d)
		return err
	}
	return nil
}

// writeWords writes numbers of 4 bytes.
func writeWords[T any](w io.Writer, numbers []T, bits func(T) uint32) error {
	const chunk = 1 << 14
	buffer := make([]byte, 0, 4*min(chunk, len(numbers)))
	for part := range slices.Chunk(numbers, chunk) {
		buffer = buffer[:0]
		for _, x := range part {
			buffer = binary.LittleEndian.AppendUint32(buffer, bits(x))
		}
		if _, err := w.Write(buffer); err != nil {
			return err
		}
	}
	return nil
}

// maxHeader is the longest header that the format allows.
const maxHeader = 100_000_000

// readEntries reads a file of F32, I32 and U8 tensors.
func readEntries(data []byte) (metadata map[string]string, entries []entry, err error) {
	if len(data) < 8 {
		return nil, nil, fmt.Errorf("%d bytes are too few for a safetensors file", len(data))
	}
	size := binary.LittleEndian.Uint64(data)
	if size > maxHeader || size > uint64(len(data)-8) {
		return nil, nil, fmt.Errorf("a header of %d bytes in a file of %d (truncated?)", size, len(data))
	}
	body := data[8+size:]
	names, headers, metadata, err := readHeader(data[8 : 8+size])
	if err != nil {
		return nil, nil, err
	}
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := headers[a].Offsets, headers[b].Offsets
		return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1]))
	})
	end := uint64(0)
	for _, i := range order {
		h := headers[i]
		from, to := h.Offsets[0], h.Offsets[1]
		if from != end || to < from || to > uint64(len(body)) {
			return nil, nil, fmt.Errorf("tensor %s lies at bytes %d to %d of %d, after one that ends at %d", names[i], from, to, len(body), end)
		}
		end = to
		e := entry{name: names[i], shape: h.Shape}
		count, ok := elements(h.Shape)
		width := map[string]uint64{"F32": 4, "I32": 4, "U8": 1}[h.Type]
		if width == 0 {
			return nil, nil, fmt.Errorf("tensor %s is of type %q", e.name, h.Type)
		}
		if !ok || count > (to-from)/width || count*width != to-from {
			return nil, nil, fmt.Errorf("tensor %s of type %s and shape %v has %d bytes", e.name, h.Type, h.Shape, to-from)
		}
		e.data = decode(h.Type, body[from:to])
		entries = append(entries, e)
	}
	if end != uint64(len(body)) {
		return nil, nil, fmt.Errorf("%d bytes after the last tensor", uint64(len(body))-end)
	}
	return metadata, entries, nil
}

// elements is the number of elements of a shape; ok is false where that is no length.
func elements(shape []int) (n uint64, ok bool) {
	n = 1
	for _, d := range shape {
		if d < 0 || d > 0 && n > math.MaxInt32/uint64(d) {
			return 0, false
		}
		n *= uint64(d)
	}
	return n, true
}

// decode copies numbers of a type.
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
	}
	return bytes.Clone(b)
}

// readHeader reads the header member by member, since encoding/json takes a name twice.
func readHeader(text []byte) (names []string, headers []header, metadata map[string]string, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, nil, nil, fmt.Errorf("the header is no JSON object")
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, nil, nil, fmt.Errorf("header: %v", err)
		}
		name := key.(string) // a decoder gives no other kind of key
		if seen[name] {
			return nil, nil, nil, fmt.Errorf("tensor %s is listed twice", name)
		}
		seen[name] = true
		if name == "__metadata__" {
			if err := d.Decode(&metadata); err != nil {
				return nil, nil, nil, fmt.Errorf("header: __metadata__: %v", err)
			}
			continue
		}
		var h header
		if err := d.Decode(&h); err != nil {
			return nil, nil, nil, fmt.Errorf("tensor %s: %v", name, err)
		}
		names, headers = append(names, name), append(headers, h)
	}
	if _, err := d.Token(); err != nil {
		return nil, nil, nil, fmt.Errorf("header: %v", err)
	}
	return names, headers, metadata, nil
}
