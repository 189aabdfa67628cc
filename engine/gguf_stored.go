package engine

import (
	"fmt"
	"strings"
)

// Metadata is a key of a GGUF file.
type Metadata struct {
	Key   string
	Value []byte // as it lies in the file: a 32-bit number for the type, then the value; must not be changed
}

// Metadata lists the keys of a GGUF file in its order, tokenizer and all; nil where the model is a folder. Values
// are valid until the checkpoint is closed.
func (c *Checkpoint) Metadata() []Metadata { return c.meta }

// Row is a row of a matrix as it is stored, in whole blocks of [Tensor.Type]. Rows are numbered as DecodeRows does it,
// whatever their order in the file. It must not be changed. It panics if r is out of range.
func (t Tensor) Row(r int) []byte {
	if len(t.Shape) != 2 || r < 0 || r >= t.Shape[0] {
		panic(fmt.Sprintf("engine: row %d of tensor %s of shape %v", r, t.Name, t.Shape))
	}
	if t.pairs > 0 {
		r = t.source(r)
	}
	stride := t.format.size(t.Shape[1])
	return t.data[r*stride : (r+1)*stride : (r+1)*stride]
}

// GGUFName is the name that a tensor has in GGUF files, empty for one that these have no name for.
func GGUFName(name string) string {
	prefix := ""
	if rest, ok := strings.CutPrefix(name, "model.layers."); ok {
		number, part, _ := strings.Cut(rest, ".")
		prefix, name = "blk."+number+".", part
	}
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return ""
	}
	for from, to := range ggufNames {
		if to == name[:dot] {
			return prefix + from + name[dot:]
		}
	}
	return ""
}
