package engine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/paretopress/paretopress/internal/safetensors"
)

// Types of GGUF metadata.
const (
	ggufUint8 = iota
	ggufInt8
	ggufUint16
	ggufInt16
	ggufUint32
	ggufInt32
	ggufFloat32
	ggufBool
	ggufString
	ggufArray
	ggufUint64
	ggufInt64
	ggufFloat64
)

// ggufWidth is the size of each type; 0 where the size varies.
var ggufWidth = [...]uint64{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}

const (
	maxNesting = 4       // of arrays of arrays
	maxName    = 1 << 16 // bytes of a key or a tensor's name
)

// gguf is the content of a GGUF file of version 2 or 3, little-endian.
//
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
type gguf struct {
	meta    map[string]ggufValue
	keys    []Metadata
	tensors []Tensor // with ggml's names
}

// ggufValue is a value of the metadata as it lies in the file, its bounds checked.
type ggufValue struct {
	kind  uint32 // one of the types above
	elem  uint32 // of an array: type of the elements
	count uint64 // of an array: number of them
	raw   []byte // the number, the bytes of the string or the elements of the array
}

// ggufReader reads from the front of a file. After the first error it reads zeros.
type ggufReader struct {
	data []byte
	at   uint64
	err  error
}

// left is the number of bytes not yet read.
func (r *ggufReader) left() uint64 { return uint64(len(r.data)) - r.at }

func (r *ggufReader) take(n uint64, what string) []byte {
	if r.err == nil && n > r.left() {
		r.err = malformed("%s of %d bytes at %d in a file of %d bytes (truncated?)", what, n, r.at, len(r.data))
	}
	if r.err != nil {
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at : r.at]
}

func (r *ggufReader) u32(what string) uint32 {
	if b := r.take(4, what); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *ggufReader) u64(what string) uint64 {
	if b := r.take(8, what); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// name reads a string that serves as a name.
func (r *ggufReader) name(what string) string {
	n := r.u64(what)
	if r.err == nil && n > maxName {
		r.err = malformed("%s of %d bytes at %d", what, n, r.at)
	}
	return string(r.take(n, what))
}

// value reads a value of a type.
func (r *ggufReader) value(kind uint32, key string, depth int) ggufValue {
	v := ggufValue{kind: kind}
	switch {
	case kind == ggufString:
		v.raw = r.take(r.u64(key), key)
	case kind == ggufArray:
		v.elem, v.count = r.u32(key), r.u64(key)
		from := r.at
		switch {
		case r.err != nil:
		case int(v.elem) >= len(ggufWidth):
			r.err = malformed("%s is an array of unknown type %d", key, v.elem)
		case v.count > r.left():
			r.err = malformed("%s is an array of %d elements in a file of %d bytes", key, v.count, len(r.data))
		case ggufWidth[v.elem] > 0:
			r.take(v.count*ggufWidth[v.elem], key) // no overflow: count is below the file's size
		case v.elem == ggufArray && depth == maxNesting:
			r.err = malformed("%s nests more than %d arrays", key, maxNesting)
		default:
			for i := uint64(0); i < v.count && r.err == nil; i++ {
				r.value(v.elem, key, depth+1)
			}
		}
		if r.err == nil {
			v.raw = r.data[from:r.at:r.at]
		}
	case int(kind) < len(ggufWidth):
		v.raw = r.take(ggufWidth[kind], key)
	case r.err == nil:
		r.err = malformed("%s is of unknown type %d", key, kind)
	}
	return v
}

// parseGGUF reads the metadata and the places of the tensors.
func parseGGUF(data []byte) (*gguf, error) {
	if !bytes.HasPrefix(data, []byte("GGUF")) {
		return nil, malformed("not a model file: it does not start with GGUF (for safetensors, give their folder)")
	}
	r := &ggufReader{data: data, at: 4}
	switch version := r.u32("version"); {
	case version == 2 || version == 3:
	case version&0xffff == 0 && version != 0:
		return nil, unsupported("big-endian GGUF")
	case r.err == nil:
		return nil, unsupported("GGUF version %d (2 and 3 are supported)", version)
	}
	tensors, keys := r.u64("number of tensors"), r.u64("number of metadata keys")
	// The least that a key and a tensor take: empty names, a byte, no dimension.
	if r.err == nil && (keys > r.left()/13 || tensors > r.left()/24) {
		return nil, malformed("%d metadata keys and %d tensors in a file of %d bytes", keys, tensors, len(data))
	}
	g := &gguf{meta: map[string]ggufValue{}}
	for i := uint64(0); i < keys && r.err == nil; i++ {
		key := r.name("metadata key")
		from := r.at
		v := r.value(r.u32(key), key, 1)
		if _, ok := g.meta[key]; ok && r.err == nil {
			return nil, malformed("metadata key %s is there twice", key)
		}
		g.meta[key] = v
		if r.err == nil {
			g.keys = append(g.keys, Metadata{Key: key, Value: data[from:r.at:r.at]})
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	return g, g.readTensors(r, tensors)
}

// place is where a tensor lies in the data of the file.
type place struct {
	tensor   int
	from, to uint64
}

func (g *gguf) readTensors(r *ggufReader, count uint64) error {
	align, err := g.uint("general.alignment", 32)
	if err != nil {
		return err
	}
	if align < 1 || align > 1<<20 || align&(align-1) != 0 {
		return malformed("general.alignment is %d, want a power of two up to 2^20", align)
	}
	var places []place
	seen := map[string]bool{}
	for i := uint64(0); i < count; i++ {
		name := r.name("tensor name")
		if seen[name] && r.err == nil {
			return malformed("tensor %s is there twice", name)
		}
		seen[name] = true
		t, p, err := readTensorInfo(r, name, uint64(align))
		if err != nil {
			return err
		}
		p.tensor = len(g.tensors)
		g.tensors, places = append(g.tensors, t), append(places, p)
	}
	start := (r.at + uint64(align) - 1) &^ (uint64(align) - 1)
	if start > uint64(len(r.data)) && len(places) > 0 {
		return malformed("the file ends before its tensors (truncated?)")
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	end := uint64(0)
	for _, p := range places {
		t := &g.tensors[p.tensor]
		if body := uint64(len(r.data)) - start; p.from > body || p.to > body {
			return malformed("tensor %s lies at bytes %d to %d of %d (truncated?)", t.Name, p.from, p.to, body)
		}
		if p.from < end {
			return malformed("tensor %s overlaps the one before it", t.Name)
		}
		end = p.to
		t.data = r.data[start+p.from : start+p.to : start+p.to]
	}
	return nil
}

// readTensorInfo reads what the header says of a tensor after its name.
func readTensorInfo(r *ggufReader, name string, align uint64) (Tensor, place, error) {
	t := Tensor{Name: name}
	dims := r.u32("dimensions of tensor " + name)
	if r.err == nil && dims > 4 {
		return t, place{}, malformed("tensor %s has %d dimensions, want 4 or fewer", name, dims)
	}
	shape := make([]uint64, dims)
	for d := range shape {
		shape[d] = r.u64("shape of tensor " + name)
	}
	kind, offset := r.u32("type of tensor "+name), r.u64("offset of tensor "+name)
	if r.err != nil {
		return t, place{}, r.err
	}
	n, ok := safetensors.Elements(shape)
	if !ok {
		return t, place{}, malformed("tensor %s has shape %v", name, shape)
	}
	f := ggmlFormats[kind]
	if f == nil {
		if other, ok := ggmlOther[kind]; ok {
			return t, place{}, unsupported("tensor %s is of type %s", name, other)
		}
		return t, place{}, malformed("tensor %s is of unknown type %d", name, kind)
	}
	for _, d := range slices.Backward(shape) { // ggml's innermost dimension comes first
		t.Shape = append(t.Shape, int(d))
	}
	t.format, t.Type = f, f.name
	size := n / uint64(f.block) * uint64(f.bytes)
	switch {
	case t.Cols()%f.block != 0:
		return t, place{}, malformed("tensor %s of type %s has rows of %d, no multiple of %d", name, f.name, t.Cols(), f.block)
	case offset%align != 0:
		return t, place{}, malformed("tensor %s lies at %d, no multiple of the alignment %d", name, offset, align)
	case offset > math.MaxInt64-size:
		return t, place{}, malformed("tensor %s lies at %d", name, offset)
	}
	return t, place{from: offset, to: offset + size}, nil
}
