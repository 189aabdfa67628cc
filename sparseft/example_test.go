package sparseft_test

import (
	"fmt"
	"log"

	"github.com/paretopress/paretopress/sparseft"
)

// A model of one tensor, y = W·x, is tuned in two of its twelve weights. Its pruned weights stay zero.
func Example() {
	base := []float32{
		1, 0, 2, 0,
		0, 1, 0, 2,
		1, 2, 0, 0,
	}
	goal := []float32{
		1, 0, 2, 0,
		0, 3, 0, 2,
		-1, 2, 0, 0,
	}
	mask := sparseft.NewMask(12)
	for i, w := range base {
		if w != 0 {
			mask.Keep(i)
		}
	}
	targets := []sparseft.Target{{Name: "model.layers.0.mlp.down_proj", Rows: 3, Cols: 4, Base: sparseft.Dense{Data: base, Cols: 4}, Mask: mask}}

	o := sparseft.Defaults(sparseft.SpIELAG)
	o.NumTunableWeights, o.Steps, o.LearningRate, o.Accumulation = 2, 100, 0.1, 4
	t, err := sparseft.New(targets, o)
	if err != nil {
		log.Fatal(err)
	}
	work := append([]float32{}, base...)
	for !t.Done() {
		step, microbatch := t.Cursor()
		x := [4]float32{1, -1, 1, 1} // the data of microbatch 4·step + microbatch
		x[(4*step+microbatch)%4] *= -1
		loss, dW := float32(0), make([]float32, 12)
		for r := range 3 {
			d := float32(0) // dL/dy of ½(y-y*)²
			for c := range 4 {
				d += (work[4*r+c] - goal[4*r+c]) * x[c]
			}
			loss += d * d / 2
			for c := range 4 {
				dW[4*r+c] = d * x[c]
			}
		}
		if err := t.Add(0, sparseft.Dense{Data: dW, Cols: 4}); err != nil {
			log.Fatal(err)
		}
		if err := t.EndMicrobatch(float64(loss), 1); err != nil {
			log.Fatal(err)
		}
		if !t.Due() {
			continue
		}
		patches, err := t.Step()
		if err != nil {
			log.Fatal(err) // the last checkpoint is good
		}
		t.Apply(patches, [][]float32{work})
	}
	d := t.Delta()
	fmt.Println(d.Tensors[0].Indices, d.Bytes(), "bytes")
	fmt.Printf("%.1f\n", work)
	// Output:
	// [5 8] 16 bytes
	// [1.0 0.0 2.0 0.0 0.0 3.0 0.0 2.0 -1.0 2.0 0.0 0.0]
}

// A delta is merged into weights, and they are what they were when it is taken out again.
func ExampleSaved_Unmerge() {
	w := []float32{0.1, 0.2, 0.3, 0.4}
	d := sparseft.TensorDelta{Name: "model.layers.0.mlp.up_proj", Rows: 2, Cols: 2, Indices: []int32{1, 2}, Values: []float32{1e8, 0.25}}
	saved := d.Merge(w)
	fmt.Println(w, w[1]-1e8)
	saved.Unmerge(w)
	fmt.Println(w)
	// Output:
	// [0.1 1e+08 0.55 0.4] 0
	// [0.1 0.2 0.3 0.4]
}
