package export

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/paretopress/paretopress/internal/safetensors"
)

// array is a tensor to be written: its bytes come from write, which is called once.
type array struct {
	name  string
	dtype string // safetensors' name
	shape []int
	write func(w io.Writer) error
}

// entry is what a header says of the array.
func (a array) entry() safetensors.Entry {
	return safetensors.Entry{Name: a.name, Type: a.dtype, Shape: a.shape}
}

// bytes is the size of the array.
func (a array) bytes() int64 { return a.entry().Bytes() }

// shards cuts arrays, in their order, into files of at most limit bytes, or of one array that is larger.
func shards(arrays []array, limit int64) [][]array {
	var out [][]array
	var size int64
	for _, a := range arrays {
		if len(out) == 0 || size+a.bytes() > limit {
			out, size = append(out, nil), 0
		}
		last := len(out) - 1
		out[last], size = append(out[last], a), size+a.bytes()
	}
	return out
}

// writeWeights writes arrays to dir as model.safetensors or, where they are more than limit bytes, as
// model-00001-of-0000N.safetensors with an index. done is told the bytes of each array that is written; an error of
// it ends the writing.
func writeWeights(dir string, arrays []array, limit int64, done func(int64) error) error {
	parts := shards(arrays, limit)
	index := struct {
		Metadata struct {
			Total int64 `json:"total_size"`
		} `json:"metadata"`
		Map map[string]string `json:"weight_map"`
	}{Map: map[string]string{}}
	for i, part := range parts {
		name := "model.safetensors"
		if len(parts) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(parts))
		}
		for _, a := range part {
			index.Metadata.Total += a.bytes()
			index.Map[a.name] = name
		}
		if err := writeSafetensors(filepath.Join(dir, name), part, done); err != nil {
			return err
		}
	}
	if len(parts) == 1 {
		return nil
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), append(data, '\n'), 0o644)
}

// headerRoom is the room in a header for the metadata; like that of its entries a multiple of 8 bytes, to which arrays are aligned.
const headerRoom = 32

// safetensorsHeader is the start of a file, filled up with spaces to the room of its entries, so that the size of a file is the sum of
// what its arrays take.
func safetensorsHeader(arrays []array) []byte {
	room := headerRoom
	entries := make([]safetensors.Entry, len(arrays))
	for i, a := range arrays {
		entries[i] = a.entry()
		room += a.room()
	}
	return safetensors.Header(map[string]string{"format": "pt"}, entries, room, 8)
}

// room is that of the array's entry in a header.
func (a array) room() int { return a.entry().Room() }

// stored is what the array adds to the size of its file.
func (a array) stored() int64 { return int64(a.room()) + a.bytes() }

// fileBytes is the size of a file of arrays.
func fileBytes(arrays []array) int64 {
	n := int64(8 + headerRoom)
	for _, a := range arrays {
		n += a.stored()
	}
	return n
}

// writeSafetensors writes one file.
func writeSafetensors(path string, arrays []array, done func(int64) error) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	w := &counter{w: bufio.NewWriterSize(f, 1<<20)}
	if _, err := w.Write(safetensorsHeader(arrays)); err != nil {
		return err
	}
	for _, a := range arrays {
		from := w.n
		if err := a.write(w); err != nil {
			return err
		}
		if n := w.n - from; n != a.bytes() {
			return fmt.Errorf("tensor %s of type %s and shape %v came to %d bytes", a.name, a.dtype, a.shape, n)
		}
		if err := done(a.bytes()); err != nil {
			return err
		}
	}
	return w.w.Flush()
}

// counter counts what is written.
type counter struct {
	w *bufio.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
