package prune

import (
	"testing"

	"github.com/paretopress/paretopress/internal/obs/obstest"
)

// TestBits holds levels to the last bit, on every architecture.
func TestBits(t *testing.T) {
	for level, want := range map[string]string{"sparsegpt-0.50": "6c418d324df15cc2", "sparsegpt-0.83": "325bcf61f52126ac", "magnitude-0.30": "f869915cb20db4cc"} {
		spec, err := Parse(level)
		if err != nil {
			t.Fatal(err)
		}
		if got := obstest.Digest(t, 80, spec.Build); got != want {
			t.Errorf("%s: %s, want %s", level, got, want)
		}
	}
}
