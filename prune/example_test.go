package prune_test

import (
	"fmt"
	"log"

	"github.com/paretopress/paretopress/internal/obs"
	"github.com/paretopress/paretopress/prune"
)

func Example() {
	spec, err := prune.Parse("sparsegpt-0.50")
	if err != nil {
		log.Fatal(err)
	}
	// Two inputs that are always equal: the second can do what the first did.
	f, err := obs.New([]float32{100, 100, 100, 100}, 2, 100)
	if err != nil {
		log.Fatal(err)
	}
	packed, err := spec.Build([]float32{0.25, 0.5}, 1, 2, f)
	if err != nil {
		log.Fatal(err)
	}
	w := make([]float32, 2)
	packed.DecodeRows(0, 1, w)
	fmt.Printf("%v takes %d bytes: %.2f\n", spec, spec.Bytes(1, 2), w)
	// Output: sparsegpt-0.50 takes 3 bytes: [0.00 0.75]
}
