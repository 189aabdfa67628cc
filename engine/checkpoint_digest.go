package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"sync"
)

// Digest is the SHA-256 of the content of the model, in hexadecimal. That of a GGUF file is the
// digest of the file. That of a folder is the digest of the lines "digest  name", sorted by name,
// of config.json, tokenizer.json and the weight files with their index: what
// sha256sum config.json model.safetensors tokenizer.json | sha256sum prints. In the place of
// tokenizer.json may be tokenizer.model, with added_tokens.json and tokenizer_config.json where
// they are. It is computed once in a process for each file.
func (c *Checkpoint) Digest() (string, error) { return c.digest() }

func (c *Checkpoint) sum() (string, error) {
	if err := c.open(); err != nil {
		return "", err
	}
	if c.single {
		return c.files[0].sum(), nil
	}
	h := sha256.New()
	for _, f := range c.files {
		fmt.Fprintf(h, "%s  %s\n", f.sum(), filepath.Base(f.name))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sums keeps the digests of files that this process has read, by file.id.
var sums sync.Map

func (f *file) sum() string {
	if f.id != "" {
		if s, ok := sums.Load(f.id); ok {
			return s.(string)
		}
	}
	h := sha256.Sum256(f.data)
	s := hex.EncodeToString(h[:])
	if f.id != "" {
		sums.Store(f.id, s)
	}
	return s
}

// compareBase orders files by the last element of their names.
func compareBase(a, b string) int { return cmp.Compare(filepath.Base(a), filepath.Base(b)) }
