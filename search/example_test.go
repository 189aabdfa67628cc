package search_test

import (
	"fmt"

	"github.com/paretopress/paretopress/search"
)

// A search over two levels of four modules, where the modules with an even number are the ones that
// matter.
func Example() {
	space := &search.Space{Kind: search.Quant}
	for i := range 4 {
		space.Units = append(space.Units, search.Unit{
			Name: fmt.Sprintf("model.layers.%d.mlp.down_proj", i), Group: "down", Params: 64,
			Levels: []search.Level{{Name: "rtn-4b-g64", Bytes: 35}, {Name: "rtn-2b-g64", Bytes: 19}},
		})
	}
	target, err := search.ParseTarget("bpw=3.5")
	if err != nil {
		fmt.Println(err)
		return
	}
	const budget = 2000
	opt, err := search.New("evopress", search.Job{Space: space, Target: target, Seed: 1, Budget: budget, SeqLen: 16, Windows: 4})
	if err != nil {
		fmt.Println(err)
		return
	}
	for trials := opt.Ask(budget); trials != nil; trials = opt.Ask(budget) {
		var results []search.Result
		for _, t := range trials {
			kl := 0.0
			for unit, level := range t.Candidate {
				kl += float64(level * (1 + 9*((unit+1)%2)))
			}
			results = append(results, search.Result{ID: t.ID, KL: kl})
		}
		if err := opt.Tell(results); err != nil {
			fmt.Println(err)
			return
		}
	}
	best := opt.Progress().Incumbents[0]
	for _, line := range space.Config(best) {
		fmt.Printf("%s: %s\n", line[0], line[1])
	}
	fmt.Printf("%.2f bits a weight\n", space.BitsPerWeight(best))
	// Output:
	// model.layers.0.mlp.down_proj: rtn-4b-g64
	// model.layers.1.mlp.down_proj: rtn-2b-g64
	// model.layers.2.mlp.down_proj: rtn-4b-g64
	// model.layers.3.mlp.down_proj: rtn-2b-g64
	// 3.38 bits a weight
}
