package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Companion reads a file that lies beside the weights of a Hugging Face folder, such as config.json or
// tokenizer_config.json, by its name. Where there is none, and always where the model is a GGUF file, the
// error is fs.ErrNotExist. A companion without a byte is no error.
func (c *Checkpoint) Companion(name string) ([]byte, error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	if name != path.Base(name) || strings.ContainsAny(name, `/\:`) || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("engine: %q is no name of a file beside a model", name)
	}
	if c.beside == nil {
		return nil, fmt.Errorf("engine: %s: no %s: %w", c.ref, name, fs.ErrNotExist)
	}
	f, err := c.beside(name)
	if errors.Is(err, ErrMalformed) { // which mapping calls an empty file
		return []byte{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("engine: %s: %w", c.ref, err)
	}
	data := bytes.Clone(f.data)
	return data, errors.Join(f.release())
}
