package engine

import "github.com/paretopress/paretopress/internal/safetensors"

// safetensorsFormats are the types that can be decoded.
var safetensorsFormats = map[string]*format{"F32": formatF32, "F16": formatF16, "BF16": formatBF16}

// parseSafetensors reads a safetensors file. The tensors are in the order of the file, and those of a type that cannot be
// decoded have no format.
func parseSafetensors(data []byte) ([]Tensor, error) {
	_, list, err := safetensors.Parse(data)
	if err != nil {
		return nil, malformed("%v", err)
	}
	tensors := make([]Tensor, len(list))
	for i, t := range list {
		tensors[i] = Tensor{Name: t.Name, Shape: t.Shape, Type: t.Type, format: safetensorsFormats[t.Type], data: t.Data}
	}
	return tensors, nil
}
