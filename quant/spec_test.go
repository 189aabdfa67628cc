package quant

import (
	"strings"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
)

func TestParse(t *testing.T) {
	for level, want := range map[string]Spec{
		"rtn-4b-g64":       {RTN, kernel.Layout{Bits: 4, Group: 64}, 0},
		"gptq-3b-g64":      {GPTQ, kernel.Layout{Bits: 3, Group: 64}, 0},
		"gptq-2b-g128-sym": {GPTQ, kernel.Layout{Bits: 2, Group: 128, Symmetric: true}, 0},
		"rtn-8b-gall":      {RTN, kernel.Layout{Bits: 8}, 0},
		"rtn-8b-gall-sym":  {RTN, kernel.Layout{Bits: 8, Symmetric: true}, 0},
		"gptq-5b-g1":       {GPTQ, kernel.Layout{Bits: 5, Group: 1}, 0},
		"q4_K":             {RTN, kernel.Layout{}, kernel.Q4K},
		"iq4_nl":           {RTN, kernel.Layout{}, kernel.IQ4NL},
		"imatrix-mxfp4":    {Imatrix, kernel.Layout{}, kernel.MXFP4},
		"gptq-q8_0":        {GPTQ, kernel.Layout{}, kernel.Q8_0},
	} {
		got, err := Parse(level)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", level, got, err)
		}
		if got.String() != level {
			t.Errorf("%s prints as %s", level, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, level := range []string{
		"", "rtn", "rtn-4b", "rtn-4b-64", "rtn-4-g64", "rtn-b-g64", "rtn-4b-g", "rtn-1b-g64", "rtn-9b-g64", "rtn-04b-g64", "rtn-4b-g064",
		"rtn-4b-g0", "rtn-4b-g-1", "rtn-4b-g64-", "rtn-4b-g64-asym", "rtn-4b-g64-sym-sym", "awq-4b-g64", "RTN-4b-g64", "rtn-4b-gALL",
		"rtn-+4b-g64", "rtn-4.5b-g64", "rtn-4b-g99999999999999999999", "rtn-4b-g1048577", " rtn-4b-g64", "rtn-4b-all", "gptq-3b-g64-ao",
		"rtn-q4_K", "q4_k", "Q4_K", "q4_K-", "gptq-", "imatrix", "imatrix-", "imatrix-4b-g64", "imatrix-gptq-q4_K", "gptq-q8_K", "iq4_xs", "f16",
	} {
		if s, err := Parse(level); err == nil {
			t.Errorf("%q parsed as %v", level, s)
		} else if !strings.Contains(err.Error(), `"`+level+`"`) {
			t.Errorf("%q: the error does not name it: %v", level, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("gptq-3b-g64")
	f.Add("rtn-8b-gall-sym")
	f.Fuzz(func(t *testing.T, level string) {
		s, err := Parse(level)
		if err != nil {
			return
		}
		if s.String() != level {
			t.Fatalf("%q prints as %q", level, s)
		}
		if s.Bytes(3, 5) <= 0 {
			t.Fatalf("%q takes %d bytes", level, s.Bytes(3, 5))
		}
	})
}
