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
		kernel.Q4_1:  {"6032c2c7ecb09c85", "478f81e88bb8a7e3", "7400a91a22504682"},
		kernel.Q5_0:  {"74d2eac998382b62", "ceae40f2b5c3a8d9", "b70b8e6c95144e0b"},
		kernel.Q5_1:  {"44494c7dac45bbfb", "0c1b4ce35fb12198", "88896ce6a739a355"},
		kernel.Q8_0:  {"cb859fce506015f3", "a819aaf3be3669a7", "7bcc40d13c351874"},
		kernel.Q2K:   {"9be1003546d23b26", "027ebf78581f157d", "a9af82024e67362f"},
		kernel.Q3K:   {"cb99cf1b5e1d9d13", "6da27635b1f3dcc5", "669124be3c1b0d82"},
		kernel.Q4K:   {"f0f618aaea6f8b79", "fb8d982a289cc2aa", "9870ae9cca76e65e"},
		kernel.Q5K:   {"417a68d8636ea139", "aaf6b5f8d77d0278", "ceb15490e8421553"},
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
