package obs_test

import (
	"fmt"
	"log"

	"github.com/paretopress/paretopress/internal/obs"
)

// drop removes the first column and keeps the others.
type drop struct{}

func (drop) Begin([]float32, int, int) {}

func (drop) Round(row, col int, w float32) float32 {
	if col == 0 {
		return 0
	}
	fmt.Printf("column %d is now %.1f\n", col, w)
	return w
}

func Example() {
	// The Gram matrix of three inputs, of which the first two are nearly the same.
	gram := []float32{
		100, 99, 0,
		99, 100, 0,
		0, 0, 100,
	}
	f, err := obs.New(gram, 3, 100)
	if err != nil {
		log.Fatal(err)
	}
	f.Sweep([]float32{1, 1, 1}, 1, 3, drop{})
	// Output:
	// column 1 is now 2.0
	// column 2 is now 1.0
}
