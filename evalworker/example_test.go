package evalworker_test

import (
	"fmt"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/evalworker"
)

// A drop file of EvoPress, which has a line for each block, reads as levels of sub-blocks.
func ExampleParseConfig() {
	c := engine.Config{Arch: "llama", Layers: 3, Hidden: 64, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 128, Vocab: 300}
	levels, err := evalworker.ParseConfig("drop.txt", []byte("none\nattn\nattn+mlp\n"), c, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(evalworker.FormatConfig(levels)))
	// Output:
	// model.layers.1.self_attn: drop
	// model.layers.2.self_attn: drop
	// model.layers.2.mlp: drop
}
