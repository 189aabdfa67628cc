package sparseft

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// TestBits holds the state at the end of trainings to digests that were computed on amd64: no CPU may differ, whether its
// compiler fuses products with sums (GOAMD64=v3, arm64) or not. A change of what is computed changes them. Rounding to float32
// hides most of what fusing would change, so that this test finds gross differences only.
func TestBits(t *testing.T) {
	want := map[string]string{
		"dsee":                      "2ea5319d20cf464d",
		"full":                      "0e7095b13ed78d35",
		"lora":                      "572051ede6706041",
		"spiel-ag first-microbatch": "69b292ab32480eaa",
		"spiel-ag":                  "53df56ba8257593d",
		"spiel-ma":                  "ad09c95894b4be6b",
		"static-grad":               "8e7702c94a708af6",
		"static-random":             "3b8a43bb7fcbf0a5",
	}
	for name, o := range variants() {
		if o.LowRank == MergedMasked && o.Method == DSEE {
			continue // as dsee
		}
		var targets []Target
		shapes := [][2]int{{12, 10}, {9, 14}}
		for i, s := range shapes {
			targets = append(targets, Target{Name: string(rune('a' + i)), Rows: s[0], Cols: s[1], Base: Dense{draw(uint64(i), s[0]*s[1]), s[1]}})
		}
		tr, err := New(targets, o)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		for n := uint64(0); !tr.Done(); n++ {
			for i, s := range shapes {
				if err := tr.Add(i, Dense{draw(7*n+uint64(i), s[0]*s[1]), s[1]}); err != nil {
					t.Fatal(err)
				}
			}
			if err := tr.EndMicrobatch(1, 1); err != nil {
				t.Fatal(err)
			}
			if tr.Due() {
				if _, err := tr.Step(); err != nil {
					t.Fatal(err)
				}
			}
		}
		v := &arrays{}
		for i, u := range tr.tuners {
			u.arrays(v)
			w := make([]float32, shapes[i][0]*shapes[i][1])
			tr.Weights(i, w, 0, shapes[i][0])
			v.floats("weights", &w)
		}
		for _, e := range v.entries {
			if err := writeData(h, e.data); err != nil {
				t.Fatal(err)
			}
		}
		if got := hex.EncodeToString(h.Sum(nil))[:16]; got != want[name] {
			t.Errorf("%q: %q,", name, got)
		}
	}
}
