package builtin_test

import (
	"fmt"

	"github.com/paretopress/paretopress/internal/builtin"
)

func ExampleText() {
	fmt.Printf("%s", builtin.Text(7, 240))
	// Output:
	// A scene of Bloackia and Lorvust.
	// The gimusk is in Moftton. The frupont is in Sontport. The fraivart is in Flodton. The blemp is in Tandport.
	// Lorvust: Where is the fraivart? It is in Flodton.
	// Bloackia: The smuft slorns for the geats prarly.
}
