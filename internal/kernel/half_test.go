package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// halfValue is the definition of a binary format with e exponent and f fraction bits, in float64.
func halfValue(h uint16, e, f int) float64 {
	sign := 1 - 2*float64(h>>15)
	exp, frac := int(h>>f)&(1<<e-1), float64(int(h)&(1<<f-1))
	bias := 1<<(e-1) - 1
	switch exp {
	case 0:
		return sign * math.Ldexp(frac, 1-bias-f)
	case 1<<e - 1:
		if frac == 0 {
			return math.Inf(int(sign))
		}
		return math.NaN()
	}
	return sign * math.Ldexp(frac+math.Ldexp(1, f), exp-bias-f)
}

var halves = []struct {
	name               string
	exponent, fraction int
	encode             func(float32) uint16
	decode             func(uint16) float32
}{
	{"f16", 5, 10, EncodeF16, DecodeF16},
	{"bf16", 8, 7, EncodeBF16, DecodeBF16},
}

func TestHalfEveryNumber(t *testing.T) {
	for _, f := range halves {
		for i := range 1 << 16 {
			h := uint16(i)
			want := halfValue(h, f.exponent, f.fraction)
			got := f.decode(h)
			if math.IsNaN(want) {
				if got == got || f.encode(got)>>f.fraction&(1<<f.exponent-1) != 1<<f.exponent-1 || !math.IsNaN(float64(f.decode(f.encode(got)))) {
					t.Fatalf("%s: %#x decodes to %v and back to %#x, want NaN", f.name, h, got, f.encode(got))
				}
				continue
			}
			if float64(got) != want || math.Signbit(float64(got)) != math.Signbit(want) {
				t.Fatalf("%s: %#x decodes to %v, want %v", f.name, h, got, want)
			}
			if back := f.encode(got); back != h {
				t.Fatalf("%s: %v encodes to %#x, want %#x", f.name, got, back, h)
			}
		}
	}
}

// TestHalfRounding checks the middle between neighbours and the numbers beside it.
func TestHalfRounding(t *testing.T) {
	for _, f := range halves {
		infinity := uint16(1<<f.exponent-1) << f.fraction
		for h := uint16(0); h < infinity; h++ {
			low := halfValue(h, f.exponent, f.fraction)
			high := halfValue(h+1, f.exponent, f.fraction)
			if h+1 == infinity { // as if the exponent went on
				high = 2*low - halfValue(h-1, f.exponent, f.fraction)
			}
			middle := float32((low + high) / 2)
			even := h + h&1
			for _, c := range []struct {
				x    float32
				want uint16
			}{{math.Nextafter32(middle, 0), h}, {middle, even}, {math.Nextafter32(middle, float32(math.Inf(1))), h + 1}} {
				if float64(c.x) == math.Inf(1) {
					c.want = infinity
				}
				if got := f.encode(c.x); got != c.want {
					t.Fatalf("%s: %v encodes to %#x, want %#x", f.name, c.x, got, c.want)
				}
				if got := f.encode(-c.x); got != c.want|0x8000 {
					t.Fatalf("%s: %v encodes to %#x, want %#x", f.name, -c.x, got, c.want|0x8000)
				}
			}
		}
	}
}

func TestHalfIsMonotone(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, f := range halves {
		for range 100_000 {
			a := math.Float32frombits(r.Uint32() % 0x7f800000)
			b := math.Float32frombits(r.Uint32() % 0x7f800000)
			if a > b {
				a, b = b, a
			}
			if f.encode(a) > f.encode(b) {
				t.Fatalf("%s: %v <= %v but %#x > %#x", f.name, a, b, f.encode(a), f.encode(b))
			}
		}
	}
}
