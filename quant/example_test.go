package quant_test

import (
	"fmt"
	"log"

	"github.com/paretopress/paretopress/quant"
)

func Example() {
	spec, err := quant.Parse("rtn-2b-g4")
	if err != nil {
		log.Fatal(err)
	}
	packed, err := spec.Build([]float32{-1, 0.1, 0.6, 2}, 1, 4, nil)
	if err != nil {
		log.Fatal(err)
	}
	w := make([]float32, 4)
	packed.DecodeRows(0, 1, w)
	fmt.Printf("%v takes %d bytes: %v\n", spec, spec.Bytes(1, 4), w)
	// Output: rtn-2b-g4 takes 4 bytes: [-1 0 1 2]
}
