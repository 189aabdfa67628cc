package kernel

import (
	"fmt"
	"math"
	"testing"
)

// guardedBF16 is guarded for bfloat16 numbers.
func guardedBF16(n, offset int) (s []uint16, check func(t *testing.T)) {
	const margin = 80
	const canary = 0x7fed
	all := make([]uint16, offset+n+2*margin)
	for i := range all {
		all[i] = canary
	}
	first := offset + margin
	return all[first : first+n : first+n], func(t *testing.T) {
		t.Helper()
		for i, h := range all {
			if (i < first || i >= first+n) && h != canary {
				t.Fatalf("element %d of %d was written", i-first, n)
			}
		}
	}
}

func TestRoundBF16(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		forms(t, func(t *testing.T, r source, n int, fill func([]float32)) {
			x, _ := guarded(n, r.IntN(16))
			fill(x)
			got, check := guardedBF16(n, r.IntN(32))
			RoundBF16(got, x)
			for i, x := range x {
				if want := EncodeBF16(x); got[i] != want {
					t.Fatalf("%v (%08x) of %d rounds to %04x, want %04x", x, math.Float32bits(x), n, got[i], want)
				}
			}
			check(t)
		})
	})
}

// TestRoundBF16Ties rounds every bfloat16 number, the middle between it and the next, and the numbers beside the middle.
func TestRoundBF16Ties(t *testing.T) {
	var x []float32
	for h := range uint32(1 << 16) {
		for _, low := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff} {
			x = append(x, math.Float32frombits(h<<16|low))
		}
	}
	got := make([]uint16, len(x))
	eachVariant(t, func(t *testing.T) {
		RoundBF16(got, x)
		for i, x := range x {
			if want := EncodeBF16(x); got[i] != want {
				t.Fatalf("%08x rounds to %04x, want %04x", math.Float32bits(x), got[i], want)
			}
		}
	})
}

func TestPackBF16(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		r := newSource(6)
		for _, rows := range []int{0, 1, 31, 32, 33, 64, 70} {
			for _, cols := range []int{0, 1, 2, 15, 31, 32, 33, 64, 127, 129, 160, 289} {
				ld := cols + r.IntN(5)
				src := r.matrix(rows, cols, ld, r.wild)
				w := PanelsBF16{Rows: rows, Cols: cols}
				depth := w.Depth()
				data, check := guardedBF16(w.Panels()*depth*PanelWidth, r.IntN(32))
				w.Data = data
				w.PackStrided(0, src[:max(0, (rows-1)*ld+cols)], ld, rows)
				want := make([]uint16, len(data))
				for j := range rows {
					for k := range cols {
						want[((j/32*depth/2+k/2)*32+j%32)*2+k%2] = EncodeBF16(src[j*ld+k])
					}
				}
				if rows == 0 || cols == 0 {
					check(t)
					continue
				}
				for i := range want {
					if data[i] != want[i] {
						t.Fatalf("%d x %d: element %d: %04x, want %04x", rows, cols, i, data[i], want[i])
					}
				}
				check(t)
			}
		}
	})
}

// TestPackBF16Parts packs panels in an order of its own, over what was there.
func TestPackBF16Parts(t *testing.T) {
	r := newSource(8)
	src := r.matrix(90, 20, 20, r.wild)
	whole, parts := NewPanelsBF16(90, 20), NewPanelsBF16(90, 20)
	whole.Pack(0, src, 90)
	for i := range parts.Data {
		parts.Data[i] = 0x7fed
	}
	parts.Pack(64, src[64*20:], 26)
	parts.Pack(0, src, 64)
	if got, want := fmt.Sprint(parts.Data), fmt.Sprint(whole.Data); got != want {
		t.Error("panels packed in parts differ from those packed at once")
	}
}
