package engine

import "fmt"

// Numerics is the arithmetic of a model. Scores of different numerics are never
// compared with each other.
type Numerics int

const (
	// Exact is float32 with every sum in one defined order: the same bits on every
	// CPU, for every number of threads and every split into calls.
	Exact Numerics = iota
	// Fast rounds the inputs of every product to bfloat16 and adds up in float32, in
	// the order of the kernel in use: the same bits for every number of threads
	// and every split into calls on one kind of CPU.
	Fast
)

var numericsNames = [...]string{Exact: "exact", Fast: "fast"}

// ParseNumerics reads "exact" or "fast".
func ParseNumerics(name string) (Numerics, error) {
	for n, s := range numericsNames {
		if s == name {
			return Numerics(n), nil
		}
	}
	return 0, fmt.Errorf("engine: unknown numerics %q, want exact or fast", name)
}

func (n Numerics) String() string { return numericsNames[n] }
