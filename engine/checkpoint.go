package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// Checkpoint is a model as it lies on disk: its configuration, its tensors and its tokenizer.
// Weight files are mapped read-only, so that processes on one machine share them. It is safe for
// concurrent use. The files must not be changed or truncated while it is open.
type Checkpoint struct {
	ref     string
	config  Config
	tensors map[string]Tensor
	names   []string   // of tensors, sorted
	files   []*file    // everything that Digest covers, sorted by name
	weights int64      // bytes of the files that hold tensors
	single  bool       // one file is the model (GGUF): its digest is that file's
	meta    []Metadata // of a GGUF file
	beside  source     // opens the other files of the folder; nil: there is none

	tokenizer  func() (*Tokenizer, error)
	vocabulary func() (*Vocabulary, error)
	digest     func() (string, error)
	close      func() error
	closed     atomic.Bool
}

// file is one file of a checkpoint, mapped or read into memory.
type file struct {
	name string // as it is called in errors and, its last element, in the digest
	data []byte
	id   string       // path, size and time of change; empty: not on a disk
	free func() error // nil: the garbage collector's
}

// source opens the files of a model folder by their names in it. A name that does not exist gives
// an error that is fs.ErrNotExist.
type source func(name string) (*file, error)

// Open opens a model: [Builtin], a Hugging Face folder (config.json, tokenizer.json or
// tokenizer.model, and safetensors), or a GGUF file. Every tensor that the configuration asks for is there with the
// right shape when it returns; whether weights are finite is left to [Load] and [Checkpoint.Check]. Errors
// name the file and the tensor; they match [ErrMalformed] or [ErrUnsupported] where the content of
// a file is at fault.
func Open(ref string) (*Checkpoint, error) {
	if ref == Builtin {
		return openBuiltin()
	}
	info, err := os.Stat(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("engine: model %s: %w: give a Hugging Face folder, a .gguf file or %q", ref, fs.ErrNotExist, Builtin)
	}
	if err != nil {
		return nil, fmt.Errorf("engine: model %s: %w", ref, err)
	}
	if info.IsDir() {
		return openFolder(func(name string) (*file, error) { return mapFile(filepath.Join(ref, name)) }, ref)
	}
	f, err := mapFile(ref)
	if err != nil {
		return nil, fmt.Errorf("engine: model %w", err)
	}
	ck, err := openGGUF(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("engine: %s: %w", f.name, err), f.release())
	}
	return ck, nil
}

// OpenFS opens the model folder at the root of fsys, as Open does a Hugging Face folder, and reads
// its files into memory. Errors call the folder ref.
func OpenFS(fsys fs.FS, ref string) (*Checkpoint, error) {
	return openFolder(func(name string) (*file, error) {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		return &file{name: ref + "/" + name, data: data}, nil
	}, ref)
}

func (f *file) release() error {
	if f.free == nil {
		return nil
	}
	return f.free()
}

// finish checks that the tensors that the configuration asks for are there and gives the
// checkpoint its lazily computed parts: tokenizer and vocabulary read the tokenizer.
func (c *Checkpoint) finish(tokenizer func() (*Tokenizer, error), vocabulary func() (*Vocabulary, error)) error {
	for _, want := range c.config.Tensors() {
		t, ok := c.tensors[want.Name]
		switch {
		case !ok:
			return malformed("tensor %s is missing", want.Name)
		case !slices.Equal(t.Shape, want.Shape):
			return malformed("tensor %s has shape %v, want %v", want.Name, t.Shape, want.Shape)
		case !t.known():
			return unsupported("tensor %s is of type %s", want.Name, t.Type)
		}
	}
	for name, t := range c.tensors {
		if t.known() { // others are not of the model
			c.names = append(c.names, name)
		}
	}
	slices.Sort(c.names)
	slices.SortFunc(c.files, func(a, b *file) int { return compareBase(a.name, b.name) })
	c.tokenizer = lazy(c, tokenizer)
	c.vocabulary = lazy(c, vocabulary)
	c.digest = sync.OnceValues(c.sum)
	c.close = sync.OnceValue(func() error {
		c.closed.Store(true)
		var errs []error
		for _, f := range c.files {
			errs = append(errs, f.release())
		}
		return errors.Join(errs...)
	})
	return nil
}

// lazy gives read a form that reads once, while the checkpoint is open.
func lazy[T any](c *Checkpoint, read func() (*T, error)) func() (*T, error) {
	return sync.OnceValues(func() (*T, error) {
		if err := c.open(); err != nil {
			return nil, err
		}
		t, err := read()
		if err != nil {
			return nil, fmt.Errorf("engine: %s: %w", c.ref, err)
		}
		return t, nil
	})
}

// open reports use after Close, which would read memory that is no longer mapped.
func (c *Checkpoint) open() error {
	if c.closed.Load() {
		return fmt.Errorf("engine: %s: the checkpoint is closed", c.ref)
	}
	return nil
}

// Config is the configuration of the model.
func (c *Checkpoint) Config() Config { return c.config }

// Names lists the tensors, sorted. It may have more than the model needs.
func (c *Checkpoint) Names() []string { return slices.Clone(c.names) }

// Tensor finds a tensor by its Hugging Face name, also where the file is GGUF.
func (c *Checkpoint) Tensor(name string) (Tensor, error) {
	if err := c.open(); err != nil {
		return Tensor{}, err
	}
	t, ok := c.tensors[name]
	if !ok || !t.known() {
		return Tensor{}, fmt.Errorf("engine: %s: no tensor %s", c.ref, name)
	}
	return t, nil
}

// Tokenizer is the tokenizer of the model, read on first use.
func (c *Checkpoint) Tokenizer() (*Tokenizer, error) { return c.tokenizer() }

// FileBytes is the size of the files that hold the weights.
func (c *Checkpoint) FileBytes() int64 { return c.weights }

// Check reads every tensor of the model and reports the first, in forward order, that holds a NaN
// or an infinity.
func (c *Checkpoint) Check() error {
	if err := c.open(); err != nil {
		return err
	}
	for _, want := range c.config.Tensors() {
		if err := c.tensors[want.Name].Check(); err != nil {
			return fmt.Errorf("engine: %s: %w", c.ref, err)
		}
	}
	return nil
}

// Close unmaps the files. No tensor may be read after it; the configuration, and a digest, a
// tokenizer and a vocabulary already read, stay usable.
func (c *Checkpoint) Close() error { return c.close() }
