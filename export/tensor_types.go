package export

import (
	"bytes"
	"fmt"
	"regexp"
)

// TensorTypes is the list that llama-quantize --tensor-type-file takes to give the same tensors the same types: a line
// "regular expression=type" for each matrix. It applies where the type that llama-quantize is asked for is a quantized one, and
// to a model that has the same blocks.
func TensorTypes(tensors []Tensor) []byte {
	var b bytes.Buffer
	for _, t := range tensors {
		if t.Unit != "" {
			fmt.Fprintf(&b, "^%s$=%s\n", regexp.QuoteMeta(t.Name), t.Type)
		}
	}
	return b.Bytes()
}
