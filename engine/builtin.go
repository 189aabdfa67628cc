package engine

import "github.com/paretopress/paretopress/internal/builtin"

// Builtin is the reference under which [Open] finds the small model that is embedded in the binary.
const Builtin = "builtin"

func openBuiltin() (*Checkpoint, error) { return OpenFS(builtin.FS(), Builtin) }
