package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// eachVariant runs a test once for every variant of this processor, all in this binary.
func eachVariant(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	before := Active()
	defer func() {
		if err := Use(before); err != nil {
			t.Fatal(err)
		}
	}()
	for _, name := range Variants() {
		t.Run(name, func(t *testing.T) {
			if err := Use(name); err != nil {
				t.Fatal(err)
			}
			f(t)
		})
	}
}

// canary fills what a kernel must neither write nor let into a result: a NaN with a payload that no operation makes.
var canary = math.Float32frombits(0x7fedbeef)

// guarded returns n numbers with canaries before and after, offset numbers from the start of an allocation, and a check of the canaries.
func guarded(n, offset int) (s []float32, check func(t *testing.T)) {
	const margin = 40
	all := make([]float32, offset+n+2*margin)
	for i := range all {
		all[i] = canary
	}
	first := offset + margin
	return all[first : first+n : first+n], func(t *testing.T) {
		t.Helper()
		for i, x := range all {
			if (i < first || i >= first+n) && math.Float32bits(x) != math.Float32bits(canary) {
				t.Fatalf("element %d of %d was written", i-first, n)
			}
		}
	}
}

// same tells whether two results are the same bits, or both NaN.
func same(x, y float32) bool {
	return math.Float32bits(x) == math.Float32bits(y) || x != x && y != y
}

func requireSame(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if !same(got[i], want[i]) {
			t.Fatalf("%s: element %d of %d: %v (%08x), want %v (%08x)", what, i, len(want), got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// source draws test inputs.
type source struct{ *rand.Rand }

func newSource(seed uint64) source { return source{rand.New(rand.NewPCG(seed, 1))} }

// specials are where arithmetic has edges.
var specials = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0.5, 88.72, 88.73, -87.4, -103.9, -104.1, 1e-30, -1e-30, 3e38, -3e38,
	math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0x1p-126, 0x1.fffffep-127, math.MaxFloat32, -math.MaxFloat32,
	float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
}

// normal fills s with numbers as activations are: normal, of a scale.
func (r source) normal(s []float32, scale float64) {
	for i := range s {
		s[i] = float32(r.NormFloat64() * scale)
	}
}

// wild fills s with numbers of every exponent and, now and then, special ones.
func (r source) wild(s []float32) {
	for i := range s {
		switch r.IntN(4) {
		case 0:
			s[i] = specials[r.IntN(len(specials))]
		case 1:
			s[i] = math.Float32frombits(r.Uint32())
		default:
			s[i] = float32(r.NormFloat64() * 20)
		}
	}
}

// lengths are every tail 0 … 67, and a length that takes several assembly calls.
func lengths() []int {
	var n []int
	for i := range 68 {
		n = append(n, i)
	}
	return append(n, callBlocks*lanes+37)
}

// forms runs f for every length, on numbers of both kinds, at changing offsets.
func forms(t *testing.T, f func(t *testing.T, r source, n int, fill func([]float32))) {
	t.Helper()
	r := newSource(7)
	for _, n := range lengths() {
		f(t, r, n, func(s []float32) { r.normal(s, 3) })
		f(t, r, n, r.wild)
	}
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if v := fmt.Sprint(recover()); !strings.HasPrefix(v, "kernel: ") {
			t.Errorf("%s: recovered %s", what, v)
		}
	}()
	f()
}

func TestVariants(t *testing.T) {
	names := Variants()
	if names[len(names)-1] != "go" {
		t.Errorf("the last of %v is not go", names)
	}
	before := Active()
	for _, name := range names {
		if err := Use(name); err != nil {
			t.Error(err)
		}
		if Active() != name {
			t.Errorf("Use(%q) made %q active", name, Active())
		}
	}
	for _, name := range []string{"", "AVX2", "sse2"} {
		if err := Use(name); err == nil {
			t.Errorf("Use(%q) succeeded", name)
		}
	}
	if err := Use(before); err != nil {
		t.Error(err)
	}
}

func TestSelectAtStart(t *testing.T) {
	before, beforeErr := Active(), initErr
	defer func() {
		initErr = beforeErr
		if err := Use(before); err != nil {
			t.Fatal(err)
		}
	}()
	for _, c := range []struct {
		env, active string
		fails       bool
	}{
		{env: "", active: variantNames[best()]},
		{env: "go", active: "go"},
		{env: "mmx", active: variantNames[best()], fails: true},
	} {
		selectAtStart(c.env)
		if Active() != c.active || (Init() != nil) != c.fails {
			t.Errorf("%s=%q: active %q, error %v", EnvKernel, c.env, Active(), Init())
		}
	}
}

func ExampleMatMul() {
	// C = A · Wᵀ for a W of 2 rows.
	w := NewPanels(2, 3)
	w.Pack(0, []float32{
		1, 2, 3,
		4, 5, 6,
	}, 2)
	a := []float32{1, 0, -1}
	c := make([]float32, 2)
	MatMul(c, 2, a, 3, 1, w, 0, w.Panels(), false)
	fmt.Println(c)
	// Output: [-2 -2]
}
