// Package safetensors reads and writes the headers of safetensors files: all that the format has beside the bytes of its
// tensors.
//
//	metadata, tensors, err := safetensors.Parse(data) // in the order of their bytes; refers to data
//
//	entries := []safetensors.Entry{{Name: "a", Type: "F32", Shape: []int{2, 3}}}
//	w.Write(safetensors.Header(map[string]string{"format": "pt"}, entries, 0, 8))
//	w.Write(bytesOfA) // entries[0].Bytes() of them, little-endian
//
// A file is the length of its header as 8 bytes, little-endian, then the header, then the bytes of the tensors. The header is a
// JSON object from names to type, shape and place among those bytes, where "__metadata__" may map names to texts.
//
// https://huggingface.co/docs/safetensors
package safetensors
