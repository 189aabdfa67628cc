package hub

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, tt := range []struct {
		in   string
		want Ref
	}{
		{"hf:owner/name", Ref{Owner: "owner", Name: "name"}},
		{"hf:Owner-1/Name_2.5-B", Ref{Owner: "Owner-1", Name: "Name_2.5-B"}},
		{"hf:o/n@main", Ref{Owner: "o", Name: "n", Revision: "main"}},
		{"hf:o/n@v1.0", Ref{Owner: "o", Name: "n", Revision: "v1.0"}},
		{"hf:o/n@" + commit, Ref{Owner: "o", Name: "n", Revision: commit}},
		{"hf:o/n@refs/pr/3", Ref{Owner: "o", Name: "n", Revision: "refs/pr/3"}},
		{"hf:o/n@branch/of/mine", Ref{Owner: "o", Name: "n", Revision: "branch/of/mine"}},
		{"hf:o/n/m.gguf", Ref{Owner: "o", Name: "n", File: "m.gguf"}},
		{"hf:o/n/Q4_K_M/m.GGUF", Ref{Owner: "o", Name: "n", File: "Q4_K_M/m.GGUF"}},
		{"hf:o/n@dev/m.gguf", Ref{Owner: "o", Name: "n", Revision: "dev", File: "m.gguf"}},
		{"hf:o/n@dev/sub/m.gguf", Ref{Owner: "o", Name: "n", Revision: "dev", File: "sub/m.gguf"}},
		{"hf:o/n@refs/pr/3/sub/m.gguf", Ref{Owner: "o", Name: "n", Revision: "refs/pr/3", File: "sub/m.gguf"}},
	} {
		got, err := Parse(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
		if got.String() != tt.in {
			t.Errorf("%q came back as %q", tt.in, got)
		}
		if !IsRef(tt.in) {
			t.Errorf("IsRef(%q) is false", tt.in)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", "owner/name", "hf:", "hf:gpt2", "hf:/name", "hf:owner/", "hf:../name", "hf:owner/..", "hf:o--p/n", "hf:o/n.git", "hf:o/-n", "hf:o/n@", "hf:o/n/",
		"hf:o/n@../x", "hf:o/n@a/../b", "hf:o/n@/x", "hf:o/n@a//b", "hf:o/n@x y", "hf:o/n@~1", "hf:o/n/model.safetensors", "hf:o/n/../x.gguf", "hf:o/n//x.gguf",
		"hf:o/n/a/../../x.gguf", `hf:o/n/a\x.gguf`, "hf:o/n/c:x.gguf", "hf:o/n/a\x00.gguf", "hf:o/n@dev/../x.gguf", "hf:o/" + strings.Repeat("n", 97), "hf:o/n?x", "hf:ö/n",
	} {
		if got, err := Parse(in); err == nil || !errors.Is(err, ErrPermanent) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Parse(%q) = %+v, %v; want an error of one line", in, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"hf:o/n", "hf:o/n@refs/pr/1/x.gguf", "hf:o/n/a/b.gguf", "hf:@/", "hf:o/n@a/../b.gguf"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again != r {
			t.Fatalf("%q is %+v, which is read as %+v, %v", s, r, again, err)
		}
		if strings.Contains(r.repo()+r.Revision+r.File, "/../") || strings.ContainsAny(s, "\n\\") {
			t.Fatalf("%q was let through", s)
		}
	})
}
