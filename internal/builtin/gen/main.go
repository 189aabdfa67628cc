// Gen writes generated text to standard output, and its entropy to standard error.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/paretopress/paretopress/internal/builtin"
)

func main() {
	seed := flag.Uint64("seed", 1, "`seed` of the text")
	bytes := flag.Int("bytes", 1<<20, "`length` of the text")
	flag.Parse()
	text, nats := builtin.TextEntropy(*seed, *bytes)
	if _, err := os.Stdout.Write(text); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "gen: seed %d, %d bytes, %.6f nats a byte\n", *seed, len(text), nats/float64(max(1, len(text))))
}
