// Package export writes compressed models in files that runtimes load.
//
//	res, err := export.GGUF("model.gguf", ck, candidate, export.GGUFOptions{})
//
// writes a GGUF file of version 3 as llama.cpp reads it, with any mixture of ggml's types. A unit whose weights are in
// blocks of ggml ([kernel.GGML]) is written as these blocks are; what the candidate does not name keeps the type that a
// GGUF checkpoint has it in, and is in 16 bits otherwise; norms and biases are float32. [GGUFBytes] says beforehand, to
// the byte, how large the file will be.
//
// What llama.cpp cannot load is refused by an error that names what is nearest to it and loads. Files are written under
// a temporary name, synced, and given their name when they are whole; what has that name already is never replaced.
//
// The layout of the file: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Names of tensors and keys, and
// what a loader expects, are those of llama.cpp.
package export
