package kernel

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

// TestE4M3RoundsToNearest compares with a search among all finite values.
func TestE4M3RoundsToNearest(t *testing.T) {
	nearest := func(x float64) uint8 {
		best, code := math.Inf(1), uint8(0)
		for c := range uint8(0x7f) {
			d := math.Abs(float64(DecodeE4M3(c)) - math.Abs(x))
			if d < best || d == best && c&1 == 0 {
				best, code = d, c
			}
		}
		if math.Signbit(x) {
			code |= 0x80
		}
		return code
	}
	for b := uint32(0); b < 0x7f800000; b += 0x3fff1 {
		for _, bits := range []uint32{b, b | 1<<31} {
			x := math.Float32frombits(bits)
			if got, want := EncodeE4M3(x), nearest(float64(x)); got != want {
				t.Fatalf("%v becomes %#x = %v, want %#x = %v", x, got, DecodeE4M3(got), want, DecodeE4M3(want))
			}
		}
	}
	for c := range uint8(0x7f) { // values, and the points between them
		low, high := DecodeE4M3(c), DecodeE4M3(min(c+1, 0x7e))
		for _, x := range []float32{low, (low + high) / 2, math.Nextafter32((low+high)/2, 0), math.Nextafter32((low+high)/2, 1e9)} {
			if got, want := EncodeE4M3(x), nearest(float64(x)); got != want {
				t.Errorf("%v becomes %#x, want %#x", x, got, want)
			}
		}
	}
}

func TestE4M3Extremes(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		x    float32
		want uint8
	}{{448, 0x7e}, {465, 0x7e}, {1e30, 0x7e}, {inf, 0x7e}, {-inf, 0xfe}, {0x1p-9, 1}, {0x1p-10, 0}, {0x1.8p-10, 1}, {float32(math.Copysign(0, -1)), 0x80}, {float32(math.NaN()), 0x7f}} {
		if got := EncodeE4M3(c.x); got != c.want {
			t.Errorf("%v becomes %#x, want %#x", c.x, got, c.want)
		}
	}
	if x := DecodeE4M3(0x7f); x == x {
		t.Errorf("0x7f is %v, want NaN", x)
	}
}

func TestFP8(t *testing.T) {
	codes := []byte{0x38, 0xb8, 0x7e, 0x01, 0x00, 0x40} // 1 -1 448 2^-9 0 2
	scales := []byte{0x80, 0x3f, 0x00, 0x3f}            // 1 1/2
	f, err := NewFP8(2, 3, codes, scales)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 6)
	f.DecodeRows(0, 2, got)
	for i, want := range []float32{1, -1, 448, 0x1p-10, 0, 1} {
		if got[i] != want {
			t.Errorf("weight %d is %v, want %v", i, got[i], want)
		}
	}
	if f.Bytes() != 10 || f.NNZ() != 6 {
		t.Errorf("%d bytes and %d weights, want 10 and 6", f.Bytes(), f.NNZ())
	}
	p, err := Unpack(f.Format(), 2, 3, f.Parts())
	if err != nil {
		t.Fatal(err)
	}
	if again := p.(*FP8); !bytes.Equal(again.codes, codes) || !bytes.Equal(again.scales, scales) {
		t.Error("unpacked to something else")
	}
	for name, bad := range map[string]struct {
		codes, scales []byte
		want          string
	}{
		"NaN":            {[]byte{0, 0, 0, 0, 0xff, 0}, scales, "row 1, column 1"},
		"short":          {codes[:5], scales, "5 bytes of codes"},
		"scales":         {codes, scales[:2], "2 of scales"},
		"infinite scale": {codes, []byte{0x80, 0x3f, 0x80, 0x7f}, "scale 1"},
	} {
		if _, err := NewFP8(2, 3, bad.codes, bad.scales); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want one with %q", name, err, bad.want)
		}
	}
}
