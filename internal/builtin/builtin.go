package builtin

import (
	"embed"
	"io/fs"
)

//go:embed model
var files embed.FS

// FS is the folder of the embedded model in Hugging Face's layout: config.json, model.safetensors (BF16) and
// tokenizer.json at its root. It is read-only and safe for concurrent use.
func FS() fs.FS {
	sub, err := fs.Sub(files, "model")
	if err != nil {
		panic(err) // "model" is a valid path, so fs.Sub cannot fail.
	}
	return sub
}
