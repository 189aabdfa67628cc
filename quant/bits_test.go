package quant

import (
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs/obstest"
)

// TestBits holds levels to the last bit, on every architecture.
func TestBits(t *testing.T) {
	for level, want := range map[string]string{"gptq-3b-g32": "e18eb628feeeb86e", "gptq-4b-gall-sym": "2d8bc2f5fb0f4b31", "rtn-2b-g16": "ac8b2fe92617cdd9"} {
		spec, err := Parse(level)
		if err != nil {
			t.Fatal(err)
		}
		if got := obstest.Digest(t, 80, spec.Build); got != want {
			t.Errorf("%s: %s, want %s", level, got, want)
		}
	}
}

// TestGGMLBits does so for ggml's types: the digests of each rounded by itself, with importances and with feedback.
func TestGGMLBits(t *testing.T) {
	want := map[kernel.GGMLType][3]string{
		kernel.Q4_0:  {"f5d79eee926e99c6", "35447161855f50d9", "24f62838848b01b3"},
		kernel.Q4_1:  {"35af81b2833cf796", "bed2a588d05cbaf8", "8a523041164dad9b"},
		kernel.Q5_0:  {"74d2eac998382b62", "ceae40f2b5c3a8d9", "b70b8e6c95144e0b"},
		kernel.Q5_1:  {"cf02005e1d860e14", "d3382ebff340953a", "a129ef99f66db078"},
		kernel.Q8_0:  {"cb859fce506015f3", "a819aaf3be3669a7", "7bcc40d13c351874"},
		kernel.Q2K:   {"96786df5b51a7250", "2b4f77d43550144f", "1c17883c09ef86d3"},
		kernel.Q3K:   {"cb99cf1b5e1d9d13", "6da27635b1f3dcc5", "669124be3c1b0d82"},
		kernel.Q4K:   {"9f9ece3038b61dde", "e4c8130f46fdf2ea", "370bf44f115002bc"},
		kernel.Q5K:   {"bb821dd8315311fd", "06060b4efc00faf8", "35f008cefe6c5ddd"},
		kernel.Q6K:   {"53a4acd80c53e03c", "b1b0ddc50c7b1b2e", "c2977c709a0ed806"},
		kernel.IQ4NL: {"7d002277865874e6", "4b1edd0afc8b66f3", "424042b00dab0354"},
		kernel.MXFP4: {"2242ec9a2b14dff5", "fcdb3574a55b17cf", "c88e59111e572679"},
	}
	eachType(t, func(t *testing.T, typ kernel.GGMLType) {
		for i, method := range []string{"", "imatrix-", "gptq-"} {
			spec, err := Parse(method + typ.String())
			if err != nil {
				t.Fatal(err)
			}
			if got := obstest.Digest(t, 256, spec.Build); got != want[typ][i] {
				t.Errorf("%v: %s, want %s", spec, got, want[typ][i])
			}
		}
	})
}
