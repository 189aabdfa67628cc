package engine_test

import (
	"fmt"
	"log"

	"github.com/paretopress/paretopress/engine"
)

// Open a model, see what it is, and encode a text.
func Example() {
	ck, err := engine.Open(engine.Builtin)
	if err != nil {
		log.Fatal(err)
	}
	defer ck.Close()
	fmt.Println(ck.Config().Arch, ck.Config().Modules()[0].Name)
	tok, err := ck.Tokenizer()
	if err != nil {
		log.Fatal(err)
	}
	text := "a text of any kind"
	fmt.Println(string(tok.Decode(tok.Encode([]byte(text)))) == text)
	// Output:
	// llama model.layers.0.self_attn.q_proj
	// true
}
