package bank

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/safetensors"
)

// A shard is a safetensors file. Its metadata come first in the header and have two entries: the digest
// of the header, taken with zeros in the place of its digits, and the description as JSON.
const (
	headerPrefix = `{"__metadata__":{"sha256":"`
	sumDigits    = 2 * sha256.Size
	maxHeader    = 16 << 20
	bodyAlign    = 64
)

// description says what a shard holds.
type description struct {
	Version int     `json:"version"`
	Header  Header  `json:"bank"`
	Unit    string  `json:"unit"`
	Rows    int     `json:"rows"`
	Cols    int     `json:"cols"`
	Levels  []Level `json:"levels"` // by name, ascending
}

// Level describes a stored level of a unit.
type Level struct {
	Name    string `json:"name"`
	Form    string `json:"form"`              // of the packed matrix
	Aliases []int  `json:"aliases,omitempty"` // integers that stand for the level in config files, ascending
	Bytes   int64  `json:"bytes"`             // of its parts
	NNZ     int64  `json:"nnz"`               // weights that are stored
	Digest  string `json:"sha256"`            // of form, shape and parts
}

// shard is an open shard.
type shard struct {
	description
	path   string
	info   os.FileInfo
	parts  map[string][]kernel.Part // by level
	cache  map[string]result        // by level, what has been checked
	unmap  func() error
	length int64
}

// result is the outcome of checking a level.
type result struct {
	weights kernel.Packed
	err     error
}

// otherBank is the error about a shard that is sound but belongs to a bank with another header.
type otherBank struct {
	path   string
	header Header
}

func (e *otherBank) Error() string { return e.path + " belongs to another bank" }

// openShard maps the shard of a unit and checks its header.
func openShard(path, unit, id string) (*shard, error) {
	data, info, unmap, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("bank: %w", err)
	}
	s, err := parseShard(path, data)
	if err == nil {
		s.info, s.unmap = info, unmap
		switch {
		case s.Header.ID() != id:
			err = &otherBank{path, s.Header}
		case s.Unit != unit:
			err = corrupt(path, "it holds the unit %s", s.Unit)
		}
	}
	if err != nil {
		unmap()
		return nil, err
	}
	return s, nil
}

// parseShard reads the header of a shard. The parts refer to data.
func parseShard(path string, data []byte) (*shard, error) {
	if len(data) < 8 {
		return nil, corrupt(path, "%d bytes are too few for a shard", len(data))
	}
	size := binary.LittleEndian.Uint64(data)
	if size > maxHeader || size > uint64(len(data)-8) {
		return nil, corrupt(path, "header of %d bytes in a file of %d (truncated?)", size, len(data))
	}
	header := data[8 : 8+size]
	if !bytes.HasPrefix(header, []byte(headerPrefix)) || len(header) < len(headerPrefix)+sumDigits {
		return nil, corrupt(path, "not a shard of a bank")
	}
	if got, want := headerSum(header), string(header[len(headerPrefix):][:sumDigits]); got != want {
		return nil, corrupt(path, "its header has digest %s, want %s", short(got), short(want))
	}
	metadata, tensors, err := safetensors.Parse(data)
	if err != nil {
		return nil, corrupt(path, "%v", err)
	}
	s := &shard{path: path, parts: map[string][]kernel.Part{}, cache: map[string]result{}, unmap: func() error { return nil }, length: int64(len(data))}
	if err := json.Unmarshal([]byte(metadata["shard"]), &s.description); err != nil {
		return nil, corrupt(path, "description: %v", err)
	}
	if s.Version != version {
		return nil, fmt.Errorf("bank: %s: version %d of the format; this program reads version %d", path, s.Version, version)
	}
	if err := s.check(); err != nil {
		return nil, corrupt(path, "%v", err)
	}
	return s, s.place(tensors)
}

// check returns an error unless names are valid and in order and no two levels share an alias.
func (d *description) check() error {
	level := map[int]string{}
	for i, l := range d.Levels {
		if err := checkName("level", l.Name, levelSigns); err != nil {
			return err
		}
		if i > 0 && l.Name <= d.Levels[i-1].Name {
			return fmt.Errorf("level %s after %s", l.Name, d.Levels[i-1].Name)
		}
		for _, n := range l.Aliases {
			if other, ok := level[n]; ok {
				return fmt.Errorf("levels %s and %s have the same alias %d", other, l.Name, n)
			}
			level[n] = l.Name
		}
	}
	return nil
}

// place gives every level its tensors.
func (s *shard) place(tensors []safetensors.Tensor) error {
	for _, t := range tensors {
		level, part, _ := strings.Cut(t.Name, "/")
		if s.level(level) == nil {
			return corrupt(s.path, "tensor %s belongs to no level", t.Name)
		}
		s.parts[level] = append(s.parts[level], kernel.Part{Name: part, Type: t.Type, Shape: t.Shape, Data: t.Data})
	}
	return nil
}

// level returns the description of a level, nil if the shard does not have it.
func (s *shard) level(name string) *Level {
	i, ok := slices.BinarySearchFunc(s.Levels, name, func(l Level, name string) int { return strings.Compare(l.Name, name) })
	if !ok {
		return nil
	}
	return &s.Levels[i]
}

// alias returns the level for which a number stands.
func (s *shard) alias(number int) (string, bool) {
	for _, l := range s.Levels {
		if slices.Contains(l.Aliases, number) {
			return l.Name, true
		}
	}
	return "", false
}

// weights returns a level, checked the first time.
func (s *shard) weights(l *Level) (kernel.Packed, error) {
	r, ok := s.cache[l.Name]
	if !ok {
		r.weights, r.err = s.unpack(l)
		s.cache[l.Name] = r
	}
	return r.weights, r.err
}

// unpack makes a matrix of the parts of a level and checks what the description says of it.
func (s *shard) unpack(l *Level) (kernel.Packed, error) {
	w, err := kernel.Unpack(l.Form, s.Rows, s.Cols, s.parts[l.Name])
	if err != nil {
		return nil, corrupt(s.path, "level %s: %v", l.Name, err)
	}
	if got := digest(w); got != l.Digest {
		return nil, corrupt(s.path, "level %s has digest %s, want %s", l.Name, short(got), short(l.Digest))
	}
	if w.Bytes() != l.Bytes || w.NNZ() != l.NNZ {
		return nil, corrupt(s.path, "level %s has %d bytes and %d weights, want %d and %d", l.Name, w.Bytes(), w.NNZ(), l.Bytes, l.NNZ)
	}
	return w, nil
}

func (s *shard) close() error { return s.unmap() }

// digest is the digest of a packed matrix: form, shape and parts.
func digest(w kernel.Packed) string {
	h := sha256.New()
	rows, cols := w.Shape()
	fmt.Fprintf(h, "%s %d %d\n", w.Format(), rows, cols)
	for _, p := range w.Parts() {
		fmt.Fprintf(h, "%s %s %d\n", p.Name, p.Type, len(p.Data))
		h.Write(p.Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// headerSum is the digest of a header, taken with zeros in the place of its digits.
func headerSum(header []byte) string {
	h := sha256.New()
	h.Write(header[:len(headerPrefix)])
	io.WriteString(h, strings.Repeat("0", sumDigits))
	h.Write(header[len(headerPrefix)+sumDigits:])
	return hex.EncodeToString(h.Sum(nil))
}
