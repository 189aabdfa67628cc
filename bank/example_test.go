package bank_test

import (
	"fmt"
	"log"
	"os"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/internal/kernel"
)

func Example() {
	dir, err := os.MkdirTemp("", "bank")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := bank.Create(dir, bank.Header{Model: "its digest", Operators: "magnitude/1"})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	const unit, level = "model.layers.0.mlp.up_proj", "magnitude-0.50"
	if !b.Has(unit, level) {
		w, err := kernel.PackBitmask(1, 4, []float32{1, 2, 3, 4}, []bool{false, false, true, true}, false)
		if err != nil {
			log.Fatal(err)
		}
		if err := b.Put(unit, []bank.Entry{{Level: level, Weights: w, Aliases: []int{5}}}); err != nil {
			log.Fatal(err)
		}
	}
	w, err := b.Weights(unit, level)
	if err != nil {
		log.Fatal(err)
	}
	row := make([]float32, 4)
	w.DecodeRows(0, 1, row)
	fmt.Println(row, w.Bytes(), "bytes")
	// Output: [0 0 3 4] 5 bytes
}
