package export

import "fmt"

// ggufTokenizer adds the tokenizer of a GGUF file.
func (e *hfExport) ggufTokenizer(o *object, files map[string][]byte) error {
	return fmt.Errorf("no tokenizer yet")
}
