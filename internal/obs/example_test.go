package obs_test

import (
	"fmt"
	"log"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
)

// drop removes the first column and keeps the others.
type drop struct{}

func (drop) Begin(*kernel.Panels, int, int) {}

func (drop) Round(q, x []float32, row, col int) {
	copy(q, x)
	if col == 0 {
		q[0] = 0
		return
	}
	fmt.Printf("column %d is now %.1f\n", col, x[0])
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
	w := kernel.NewPanels(1, 3)
	w.Pack(0, []float32{1, 1, 1}, 1)
	f.Sweep(w, 3, drop{})
	// Output:
	// column 1 is now 2.0
	// column 2 is now 1.0
}
