package safetensors

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

// maxHeader is the longest header that the format allows.
const maxHeader = 100_000_000

// Tensor is a tensor of a file.
type Tensor struct {
	Entry
	Data []byte // little-endian, rows one after another
}

// Parse reads a file. The tensors are in the order in which they lie and refer to data; as the format demands, they cover what
// comes after the header without gap and without overlap. metadata is nil where there are none.
//
// The file is taken for hostile: whatever is wrong gives an error of one line that names the tensor, and memory stays within a
// small multiple of the header.
func Parse(data []byte) (metadata map[string]string, tensors []Tensor, err error) {
	if len(data) < 8 {
		return nil, nil, fmt.Errorf("%d bytes are too few for a safetensors file", len(data))
	}
	size := binary.LittleEndian.Uint64(data)
	if size > maxHeader || size > uint64(len(data)-8) {
		return nil, nil, fmt.Errorf("header of %d bytes in a safetensors file of %d (truncated?)", size, len(data))
	}
	body := data[8+size:]
	metadata, list, err := members(data[8 : 8+size])
	if err != nil {
		return nil, nil, err
	}
	// Empty tensors sort before the one that starts where they lie.
	slices.SortStableFunc(list, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.Offsets[0], b.Offsets[0]), cmp.Compare(a.Offsets[1], b.Offsets[1]))
	})
	end := uint64(0)
	tensors = make([]Tensor, 0, len(list))
	for _, m := range list {
		from, to := m.Offsets[0], m.Offsets[1]
		switch {
		case from > to || to > uint64(len(body)):
			return nil, nil, fmt.Errorf("tensor %s lies at bytes %d to %d of %d (truncated?)", m.name, from, to, len(body))
		case from < end:
			return nil, nil, fmt.Errorf("tensor %s overlaps the one before it", m.name)
		case from > end:
			return nil, nil, fmt.Errorf("%d unused bytes before tensor %s", from-end, m.name)
		}
		width, ok := typeBits[m.Type]
		if !ok {
			return nil, nil, fmt.Errorf("tensor %s is of unknown type %q", m.name, m.Type)
		}
		if n, ok := Elements(m.Shape); !ok || n*uint64(width) != (to-from)*8 {
			return nil, nil, fmt.Errorf("tensor %s of type %s and shape %v has %d bytes", m.name, m.Type, m.Shape, to-from)
		}
		shape := make([]int, len(m.Shape))
		for i, d := range m.Shape {
			shape[i] = int(d)
		}
		tensors = append(tensors, Tensor{Entry{m.name, m.Type, shape}, body[from:to:to]})
		end = to
	}
	if end != uint64(len(body)) {
		return nil, nil, fmt.Errorf("%d unused bytes after the last tensor", uint64(len(body))-end)
	}
	return metadata, tensors, nil
}

// member is what a header says about a tensor.
type member struct {
	name    string
	Type    string   `json:"dtype"`
	Shape   []uint64 `json:"shape"`
	Offsets []uint64 `json:"data_offsets"`
}

// members reads a header member by member, since encoding/json accepts a name twice.
func members(header []byte) (metadata map[string]string, list []member, err error) {
	d := json.NewDecoder(bytes.NewReader(header))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, nil, fmt.Errorf("the header is no JSON object")
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("header: %v", err)
		}
		name := key.(string) // a decoder gives no other kind of key
		if seen[name] {
			return nil, nil, fmt.Errorf("tensor %s is listed twice", name)
		}
		seen[name] = true
		if name == metadataName {
			if err := d.Decode(&metadata); err != nil {
				return nil, nil, fmt.Errorf("header: %s: %v", metadataName, err)
			}
			continue
		}
		m := member{name: name}
		if err := d.Decode(&m); err != nil {
			return nil, nil, fmt.Errorf("tensor %s: %v", name, err)
		}
		if m.Shape == nil || len(m.Offsets) != 2 {
			return nil, nil, fmt.Errorf("tensor %s has no shape or not two data_offsets", name)
		}
		list = append(list, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, nil, fmt.Errorf("header: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, nil, fmt.Errorf("the header goes on after its object")
	}
	return metadata, list, nil
}

// Elements multiplies the dimensions of a shape; ok is false where one does not fit an int, or the product passes 2^56.
func Elements(shape []uint64) (n uint64, ok bool) {
	n = 1
	for _, d := range shape {
		if d > math.MaxInt || d > 0 && n > (1<<56)/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}
