package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/durable"
)

// GGUFOptions say how a file is written.
type GGUFOptions struct {
	// Dense is the type of matrices that are stored in no type of ggml: f16, bf16, or empty for the one of the two
	// that keeps their values, and f16 where neither does and it fits.
	Dense string
	// Simulated writes levels that no type of ggml stores, such as sparse ones, as numbers of 16 bits. The file then
	// computes what was evaluated, but is as large as a dense one.
	Simulated bool
	// Untied writes a head that is the embedding as a tensor of its own.
	Untied bool
	// Name is what the file calls the model that comes from a folder; a GGUF file keeps its name.
	Name string
	// Progress, if not nil, is told how many of the file's bytes are written; an error that it returns ends the writing.
	Progress func(done, total int64) error
}

// GGUFResult describes a file that was written.
type GGUFResult struct {
	Bytes        int64    // of the file
	Architecture string   // llama.cpp's name
	Tensors      []Tensor // in the order of the file
	Rounded      []string // units whose weights are not what they were, as they did not fit 16 bits
	Notes        []string // what a user of the file is to know, a line each
}

// Tensor is a tensor of a file.
type Tensor struct {
	Name   string // in the file
	Unit   string // linear module, model.embed_tokens or lm_head; empty for all others
	Module string // Unit in the model that the file is, where blocks before it may have gone
	Level  string // of the unit
	Type   string // ggml's name
	Shape  []int  // as Hugging Face has it, outermost dimension first
	Bytes  int64  // without what pads it
}

// GGUF writes a candidate of a model as a GGUF file, which must not exist. Units that are not named are as the checkpoint has
// them. Whole blocks that are dropped are left out and the others renumbered; a model that lacks single sub-blocks is
// written under llama.cpp's architecture deci.
//
// Errors name the unit that no type or architecture of llama.cpp can hold, and what it can.
func GGUF(path string, ck *engine.Checkpoint, cand engine.Candidate, o GGUFOptions) (GGUFResult, error) {
	if err := Vacant(path); err != nil {
		return GGUFResult{}, err
	}
	f, err := plan(ck, cand, o)
	if err != nil {
		return GGUFResult{}, err
	}
	for _, t := range f.tensors {
		if t.decide != nil {
			t.kind = t.decide()
		}
	}
	f.meta.set("general.file_type", uint32Value(fileTypes[f.mostly()]))
	return f.create(path, o.Progress)
}

// create makes the file under path, which is free.
func (f *file) create(path string, progress func(done, total int64) error) (GGUFResult, error) {
	res := GGUFResult{Bytes: f.size(), Architecture: f.arch}
	if err := durable.Room(path, res.Bytes); err != nil {
		return res, fmt.Errorf("export: %w", err)
	}
	err := durable.Create(path, func(w io.Writer) (err error) {
		res.Rounded, err = f.write(w, progress)
		return err
	})
	if errors.Is(err, fs.ErrExist) {
		return res, fmt.Errorf("export: %s came into being while the file was written: nothing is replaced", path)
	}
	if err != nil {
		return res, fmt.Errorf("export: %w", err)
	}
	for _, t := range f.tensors {
		res.Tensors = append(res.Tensors, Tensor{Name: t.name, Unit: t.unit, Module: t.module, Level: t.level, Type: typeName(t.kind), Shape: t.shape, Bytes: t.bytes()})
	}
	res.Notes = f.notes(len(res.Rounded))
	return res, nil
}

// notes say where the file is not what the candidate was.
func (f *file) notes(rounded int) (notes []string) {
	if rounded > 0 {
		notes = append(notes, fmt.Sprintf("%d tensors are rounded to 16 bits: the format has no type that stores their level.", rounded))
	}
	if n := f.config.SlidingWindow; n > 0 {
		notes = append(notes, fmt.Sprintf("Attention has a window of %d positions, which architecture %s of llama.cpp does not know: beyond it results differ.", n, f.arch))
	}
	return notes
}

// Vacant returns an error unless nothing is at path.
func Vacant(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("export: %s exists already: remove it, or give another path", path)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// write writes the file, and returns the units that lost bits.
func (f *file) write(w io.Writer, progress func(done, total int64) error) (rounded []string, err error) {
	out := &ggufWriter{w: bufio.NewWriterSize(w, 1<<20), total: f.size(), progress: progress}
	if _, err := out.Write(f.header()); err != nil {
		return nil, err
	}
	for _, t := range f.tensors {
		from := out.n
		lost, err := t.content.write(out, t.kind)
		if err != nil {
			return nil, err
		}
		if lost {
			rounded = append(rounded, t.unit)
		}
		if got := out.n - from; got != t.bytes() {
			return nil, fmt.Errorf("export: tensor %s of type %s took %d bytes, was to take %d", t.name, typeName(t.kind), got, t.bytes())
		}
		if _, err := out.Write(make([]byte, padded(t.bytes())-t.bytes())); err != nil {
			return nil, err
		}
	}
	return rounded, out.w.Flush()
}

// ggufWriter counts and reports what is written.
type ggufWriter struct {
	w        *bufio.Writer
	n, total int64
	told     int64 // when progress was last told
	progress func(done, total int64) error
}

// reportEvery is how many bytes are written between two reports.
const reportEvery = 8 << 20

func (c *ggufWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	if err == nil && c.progress != nil && (c.n-c.told >= reportEvery || c.n == c.total) {
		c.told = c.n
		err = c.progress(c.n, c.total)
	}
	return n, err
}
