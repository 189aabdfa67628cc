package bank

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/kernel"
)

var _ engine.Weights = kernel.Packed(nil) // what Bank.Weights returns, a model takes

var header = Header{Model: "aa11", Calibration: "bb22", Operators: "magnitude/1 rtn/1"}

const unitName = "model.layers.0.mlp.down_proj"

// sparse returns a matrix with a bitmask; seed makes it differ.
func sparse(t testing.TB, rows, cols int, seed uint64) kernel.Packed {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	w, keep := make([]float32, rows*cols), make([]bool, rows*cols)
	for i := range w {
		w[i], keep[i] = float32(r.NormFloat64()), r.IntN(2) == 0
	}
	p, err := kernel.PackBitmask(rows, cols, w, keep, seed%2 == 1)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// grouped returns a matrix of integers.
func grouped(t testing.TB, rows, cols, bits int, symmetric bool) kernel.Packed {
	t.Helper()
	l := kernel.Layout{Bits: bits, Group: 8, Symmetric: symmetric}
	r := rand.New(rand.NewPCG(uint64(bits), 2))
	codes, scales := make([]uint8, rows*cols), make([]uint16, rows*l.Groups(cols))
	var zeros []uint8
	for i := range codes {
		codes[i] = uint8(r.IntN(1 << bits))
	}
	for i := range scales {
		scales[i] = kernel.EncodeF16(r.Float32())
	}
	if !symmetric {
		zeros = make([]uint8, len(scales))
	}
	p, err := kernel.PackGrouped(rows, cols, l, codes, scales, zeros)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func create(t testing.TB, dir string) *Bank {
	t.Helper()
	b, err := Create(dir, header)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func put(t testing.TB, b *Bank, unit string, levels ...Entry) {
	t.Helper()
	if err := b.Put(unit, levels); err != nil {
		t.Fatal(err)
	}
}

// same fails unless a bank has these weights.
func same(t testing.TB, b *Bank, unit, level string, want kernel.Packed) {
	t.Helper()
	got, err := b.Weights(unit, level)
	if err != nil {
		t.Fatal(err)
	}
	if digest(got) != digest(want) {
		t.Fatalf("%s of %s is another matrix", level, unit)
	}
	rows, cols := want.Shape()
	x, y := make([]float32, rows*cols), make([]float32, rows*cols)
	got.DecodeRows(0, rows, x)
	want.DecodeRows(0, rows, y)
	if !slices.Equal(x, y) {
		t.Fatalf("%s of %s decodes to other weights", level, unit)
	}
}

// entries are levels of all forms.
func entries(t testing.TB) []Entry {
	return []Entry{
		{"rtn-3b-g8", grouped(t, 6, 20, 3, false), []int{3}},
		{"magnitude-0.50", sparse(t, 6, 20, 0), []int{-1, 0}},
		{"rtn-5b-g8-sym", grouped(t, 6, 20, 5, true), nil},
		{"magnitude-0.25", sparse(t, 6, 20, 1), nil},
	}
}

func TestEmptyLevels(t *testing.T) {
	dir := t.TempDir()
	b := create(t, dir)
	none, err := kernel.PackBitmask(6, 20, make([]float32, 120), make([]bool, 120), false)
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, unitName, Entry{"magnitude-1.00", none, nil}, Entry{"sparsegpt-1.00", none, nil})
	put(t, b, unitName, entries(t)...)
	same(t, b, unitName, "magnitude-1.00", none)
	same(t, b, unitName, "sparsegpt-1.00", none)
	if err := b.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestPutAndReadBack(t *testing.T) {
	dir := t.TempDir()
	b := create(t, dir)
	all := entries(t)
	if b.Has(unitName, all[0].Level) {
		t.Fatal("an empty bank has a level")
	}
	put(t, b, unitName, all[:2]...)
	for _, e := range all[:2] {
		same(t, b, unitName, e.Level, e.Weights)
	}
	if _, err := b.Weights(unitName, all[2].Level); !errors.Is(err, ErrNotFound) {
		t.Fatalf("a missing level: %v", err)
	}
	early, err := b.Weights(unitName, all[0].Level)
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, unitName, all[2:]...) // replaces the shard under the weights in use
	put(t, b, "lm_head", all[0])
	if digest(early) != digest(all[0].Weights) {
		t.Fatal("weights in use changed")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Weights(unitName, all[0].Level); err == nil {
		t.Fatal("a closed bank gives weights")
	}
	if b, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Header() != header || b.Dir() != dir {
		t.Errorf("header %+v in %s", b.Header(), b.Dir())
	}
	for _, e := range all {
		if !b.Has(unitName, e.Level) {
			t.Errorf("no %s after reopening", e.Level)
		}
		same(t, b, unitName, e.Level, e.Weights)
	}
	var seen []int64
	if err := b.Verify(t.Context(), func(done, total int64) { seen = append(seen, done, total) }); err != nil {
		t.Error(err)
	}
	if len(seen) != 4 || seen[2] != seen[3] || seen[0] >= seen[1] {
		t.Errorf("progress %v", seen)
	}
	units, err := b.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(units) != 2 || units[0].Name != "lm_head" || units[1].Name != unitName || units[1].Rows != 6 || units[1].Cols != 20 {
		t.Fatalf("listed %+v", units)
	}
	for i, name := range []string{"magnitude-0.25", "magnitude-0.50", "rtn-3b-g8", "rtn-5b-g8-sym"} {
		l := units[1].Levels[i]
		e := all[slices.IndexFunc(all, func(e Entry) bool { return e.Level == name })]
		if l.Name != name || l.Bytes != e.Weights.Bytes() || l.NNZ != e.Weights.NNZ() || l.Digest != digest(e.Weights) || l.Form != e.Weights.Format() {
			t.Errorf("level %d is %+v", i, l)
		}
	}
}

func TestAliases(t *testing.T) {
	b := create(t, t.TempDir())
	all := entries(t)
	put(t, b, unitName, all...)
	for number, want := range map[int]string{3: "rtn-3b-g8", -1: "magnitude-0.50", 0: "magnitude-0.50", 5: ""} {
		if got, ok := b.Alias(unitName, number); got != want || ok != (want != "") {
			t.Errorf("%d stands for %q, %v", number, got, ok)
		}
	}
	if _, ok := b.Alias("lm_head", 3); ok {
		t.Error("a unit without levels has an alias")
	}
	put(t, b, unitName, Entry{"rtn-5b-g8-sym", all[2].Weights, []int{5}}) // a stored level gets a name
	if got, ok := b.Alias(unitName, 5); !ok || got != "rtn-5b-g8-sym" {
		t.Errorf("5 stands for %q", got)
	}
	err := b.Put(unitName, []Entry{{"rtn-4b-g8", grouped(t, 6, 20, 4, false), []int{3}}})
	if err == nil || !strings.Contains(err.Error(), "alias 3") || b.Has(unitName, "rtn-4b-g8") {
		t.Errorf("a second level with alias 3: %v", err)
	}
}

// TestPutNeverRewrites: what exists under a name stays, down to the file.
func TestPutNeverRewrites(t *testing.T) {
	dir := t.TempDir()
	b := create(t, dir)
	all := entries(t)
	put(t, b, unitName, all...)
	steps := 0
	durable.Fault = func(string, string) error { steps++; return nil }
	defer func() { durable.Fault = nil }()
	put(t, b, unitName, all[1], all[0])
	put(t, b, unitName, Entry{all[1].Level, sparse(t, 6, 20, 99), nil})
	put(t, b, unitName)
	if steps > 0 {
		t.Errorf("the shard was written again, in %d steps", steps)
	}
	same(t, b, unitName, all[1].Level, all[1].Weights)
}

// TestOrderOfPutsDoesNotMatter: the bytes of a bank follow from its levels.
func TestOrderOfPutsDoesNotMatter(t *testing.T) {
	all := entries(t)
	var want []byte
	for _, order := range [][][]Entry{{all}, {all[2:], all[:2]}, {all[3:], all[2:3], all[:2]}} {
		b := create(t, t.TempDir())
		for _, levels := range order {
			put(t, b, unitName, levels...)
		}
		got, err := os.ReadFile(b.path(unitName))
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		} else if !bytes.Equal(got, want) {
			t.Error("another order of puts gave another file")
		}
	}
}

// TestManyWriters puts from many open banks at once, as processes would, into units they share.
func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	const writers, units, levels = 6, 3, 4
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			b, err := Create(dir, header)
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			for i := range units * levels {
				k := (i + w*5) % (units * levels)
				unit, level := fmt.Sprint("unit", k%units), fmt.Sprint("level", k/units)
				if err := b.Put(unit, []Entry{{level, sparse(t, 4, 9, uint64(k)), nil}}); err != nil {
					t.Error(err)
				}
				if !b.Has(unit, level) {
					t.Errorf("%s of %s is missing right after Put", level, unit)
				}
			}
		})
	}
	wg.Wait()
	b := create(t, dir)
	for k := range units * levels {
		same(t, b, fmt.Sprint("unit", k%units), fmt.Sprint("level", k/units), sparse(t, 4, 9, uint64(k)))
	}
	if err := b.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestOtherBanks(t *testing.T) {
	dir := t.TempDir()
	b := create(t, dir)
	put(t, b, unitName, entries(t)...)
	model, build := header, header
	model.Model, build.Calibration = "ffff", "cc33"
	if _, err := Create(dir, model); !errors.Is(err, ErrOtherModel) || !strings.Contains(err.Error(), dir) {
		t.Errorf("another model: %v", err)
	}
	if _, err := Create(dir, build); !errors.Is(err, ErrOtherBuild) || errors.Is(err, ErrOtherModel) {
		t.Errorf("another calibration: %v", err)
	}
	if err := b.Match("ffff"); !errors.Is(err, ErrOtherModel) {
		t.Errorf("Match: %v", err)
	}
	if err := b.Match(header.Model); err != nil {
		t.Errorf("Match: %v", err)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrNotFound) {
		t.Errorf("an empty folder: %v", err)
	}
	// A shard of one bank in the folder of another.
	for h, want := range map[Header]error{model: ErrOtherModel, build: ErrOtherBuild} {
		other, err := Create(t.TempDir(), h)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(b.path(unitName))
		if err == nil {
			err = os.WriteFile(other.path(unitName), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Weights(unitName, "rtn-3b-g8"); !errors.Is(err, want) || !strings.Contains(err.Error(), other.path(unitName)) {
			t.Errorf("weights from a foreign shard: %v", err)
		}
		if err := other.Verify(t.Context(), nil); !errors.Is(err, want) {
			t.Errorf("verifying a foreign shard: %v", err)
		}
		if err := other.Put(unitName, entries(t)); !errors.Is(err, want) {
			t.Errorf("adding to a foreign shard: %v", err)
		}
		other.Close()
	}
}

func TestBadEntries(t *testing.T) {
	b := create(t, t.TempDir())
	w := sparse(t, 3, 9, 1)
	for _, unit := range []string{"", ".", "..", ".hidden", "a/b", `a\b`, "a b", "a\x00", "ü", strings.Repeat("x", 201), "a:b"} {
		if err := b.Put(unit, []Entry{{"level", w, nil}}); err == nil || b.Has(unit, "level") {
			t.Errorf("unit %q: %v", unit, err)
		}
	}
	for _, level := range []string{"", "a/b", "a b", ".x", "é"} {
		if err := b.Put("unit", []Entry{{level, w, nil}}); err == nil {
			t.Errorf("level %q was taken", level)
		}
	}
	put(t, b, "unit", Entry{"wanda-2:4", w, nil})
	if err := b.Put("unit", []Entry{{"other", sparse(t, 9, 3, 1), nil}}); err == nil || !strings.Contains(err.Error(), "9 x 3") {
		t.Errorf("another shape: %v", err)
	}
}

// TestFaults fails each step of a write: the error names the file, the bank stays as it was, and nothing
// is left behind.
func TestFaults(t *testing.T) {
	full := errors.New("no space left on device")
	all := entries(t)
	for _, at := range []string{"create", "write", "sync", "rename", "syncdir"} {
		t.Run(at, func(t *testing.T) {
			b := create(t, t.TempDir())
			put(t, b, unitName, all[0])
			durable.Fault = func(step, _ string) error {
				if step == at {
					return full
				}
				return nil
			}
			err := b.Put(unitName, all)
			durable.Fault = nil
			if !errors.Is(err, full) {
				t.Fatalf("got %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(b.dir, unitsDir, ".tmp*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			same(t, b, unitName, all[0].Level, all[0].Weights)
			if err := b.Verify(t.Context(), nil); err != nil {
				t.Error(err)
			}
			put(t, b, unitName, all...)
			same(t, b, unitName, all[3].Level, all[3].Weights)
		})
	}
}

func TestVerifyCanBeStopped(t *testing.T) {
	b := create(t, t.TempDir())
	put(t, b, unitName, entries(t)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Verify(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestShardIsAligned: arrays of 16-bit numbers lie at even addresses, and nothing is copied.
func TestShardIsAligned(t *testing.T) {
	b := create(t, t.TempDir())
	put(t, b, unitName, entries(t)...)
	data, err := os.ReadFile(b.path(unitName))
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseShard("shard", data)
	if err != nil {
		t.Fatal(err)
	}
	base := &data[0]
	n := 0
	for _, parts := range s.parts {
		for _, p := range parts {
			n++
			if len(p.Data) == 0 {
				t.Errorf("part %s is empty", p.Name)
				continue
			}
			at := bytes.Index(data, p.Data)
			if &data[at] != &p.Data[0] || base != &data[0] {
				t.Errorf("part %s is a copy", p.Name)
			}
			if p.Type != "U8" && at%2 != 0 {
				t.Errorf("part %s lies at %d", p.Name, at)
			}
		}
	}
	if n != 9 {
		t.Errorf("%d parts, want 9", n)
	}
}
