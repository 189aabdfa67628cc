package cli

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/search"
)

// cacheMemory is the flag --cache-memory, in the form of evalworker.Options.Cache: 0 while it is not
// given, negative for none.
type cacheMemory struct{ bytes int64 }

// flag adds --cache-memory to a command that computes.
func (c *cacheMemory) flag(f *pflag.FlagSet) {
	f.Var(c, "cache-memory", "memory for decoded weights and shared hidden states, like 0, 800MB or 4GiB (default: a quarter of the machine's; no influence on results)")
}

// String implements pflag.Value.
func (c *cacheMemory) String() string {
	switch {
	case c.bytes == 0:
		return ""
	case c.bytes < 0:
		return "0"
	}
	return fmt.Sprint(c.bytes)
}

// Type implements pflag.Value.
func (c *cacheMemory) Type() string { return "size" }

// Set implements pflag.Value.
func (c *cacheMemory) Set(text string) error {
	n, err := search.ParseSize(text)
	if err != nil {
		return err
	}
	if have := evalworker.MachineMemory(); n > have {
		return fmt.Errorf("this machine has %s of memory", megabytes(have))
	}
	if c.bytes = n; n == 0 {
		c.bytes = -1
	}
	return nil
}
