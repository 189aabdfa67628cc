package prune

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/internal/obs/obstest"
)

// dense is a row-major matrix as engine.Weights.
type dense struct {
	rows, cols int
	data       []float32
}

func (d dense) Shape() (rows, cols int) { return d.rows, d.cols }
func (d dense) DecodeRows(first, n int, dst []float32) {
	copy(dst, d.data[first*d.cols:(first+n)*d.cols])
}

func TestParseWidth(t *testing.T) {
	for _, name := range []string{"width-1", "width-1024"} {
		if w, err := ParseWidth(name); err != nil || w.String() != name {
			t.Errorf("%s: %v, %v", name, w, err)
		}
	}
	for _, name := range []string{"", "width", "width-", "width-0", "width--1", "width-+1", "width-01", "width-1.5", "width-99999999999999999999", "widths-1", "1024"} {
		if _, err := ParseWidth(name); err == nil || !strings.Contains(err.Error(), "width-1024") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestImportance compares with ranges of sorted rows, across what is decoded at a time.
func TestImportance(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, shape := range [][2]int{{1, 1}, {5, 3}, {130, 70}, {64, 129}} {
		channels, hidden := shape[0], shape[1]
		gate := dense{channels, hidden, obstest.Weights(r, channels*hidden)}
		up := dense{channels, hidden, obstest.Weights(r, channels*hidden)}
		for i := range hidden {
			gate.data[i] = 1 + float32(math.Abs(float64(gate.data[i]))) // of one sign
		}
		got, err := Importance(gate, up)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range got {
			want := 0.0
			for _, w := range []dense{gate, up} {
				row := slices.Sorted(slices.Values(w.data[i*hidden:][:hidden]))
				want += float64(row[hidden-1]) - float64(row[0])
			}
			if x != want {
				t.Errorf("%v, channel %d: %v, want %v", shape, i, x, want)
			}
		}
		up.data[len(up.data)-1] = float32(math.NaN())
		if _, err := Importance(gate, up); err == nil {
			t.Error("a NaN has an importance")
		}
	}
}

// TestKeep holds the channels that are kept against all sets of as many: none has a larger sum. Ties go to the first, and narrower levels
// are within wider ones.
func TestKeep(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 200 {
		importance := make([]float64, 1+r.IntN(9))
		for i := range importance {
			importance[i] = float64(r.IntN(4))
		}
		var wider []int
		for n := len(importance); n > 0; n-- {
			got := Width{n}.Keep(importance)
			if !slices.IsSorted(got) || len(got) != n {
				t.Fatalf("%d of %v: %v", n, importance, got)
			}
			best, first := -1.0, 0 // of all sets, the bits of the one that comes first
			for set := range 1 << len(importance) {
				sum, size, bits := 0.0, 0, 0
				for i, x := range importance {
					if set>>i&1 == 1 {
						sum, size, bits = sum+x, size+1, bits|1<<(len(importance)-i)
					}
				}
				if size == n && (sum > best || sum == best && bits > first) {
					best, first = sum, bits
				}
			}
			bits := 0
			for _, i := range got {
				bits |= 1 << (len(importance) - i)
			}
			if bits != first {
				t.Errorf("%d of %v: %v", n, importance, got)
			}
			for _, i := range got {
				if wider != nil && !slices.Contains(wider, i) {
					t.Errorf("%d of %v: %v is not within %v", n, importance, got, wider)
				}
			}
			wider = got
		}
	}
}
