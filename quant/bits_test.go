package quant

import (
	"testing"

	"github.com/paretopress/paretopress/internal/obs/obstest"
)

// TestBits holds levels to the last bit, on every architecture.
func TestBits(t *testing.T) {
	for level, want := range map[string]string{"gptq-3b-g32": "e18eb628feeeb86e", "gptq-4b-gall-sym": "2d8bc2f5fb0f4b31", "rtn-2b-g16": "ac8b2fe92617cdd9"} {
		spec, err := Parse(level)
		if err != nil {
			t.Fatal(err)
		}
		if got := obstest.Digest(t, spec.Build); got != want {
			t.Errorf("%s: %s, want %s", level, got, want)
		}
	}
}
