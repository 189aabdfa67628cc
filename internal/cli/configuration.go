package cli

import (
	"os"

	"github.com/paretopress/paretopress/workflows"
)

// configuration is what eval and export are told about one model on a text.
type configuration struct {
	text, config, bank, numerics string
	seqLen                       int
}

// check reports the first flag that cannot be.
func (c configuration) check() error {
	switch {
	case c.seqLen < 2:
		return usagef("--seq-len: %d, want at least 2 tokens", c.seqLen)
	case c.numerics != workflows.NumericsExact && c.numerics != workflows.NumericsFast:
		return usagef("--numerics: %q is neither exact nor fast", c.numerics)
	case c.bank != "" && c.config == "":
		return usagef("--bank is of no use without --config")
	}
	for _, file := range []struct{ flag, path string }{{"--text", c.text}, {"--config", c.config}} {
		if file.path == "" {
			continue
		}
		if _, err := os.Stat(file.path); err != nil {
			return usagef("%s: %w", file.flag, err)
		}
	}
	return nil
}
