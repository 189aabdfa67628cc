package bank

import (
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
)

// TestGGMLLevels: blocks of every type of ggml come back as they were put.
func TestGGMLLevels(t *testing.T) {
	dir := t.TempDir()
	b, err := Create(dir, header)
	if err != nil {
		t.Fatal(err)
	}
	const rows, cols = 3, 512
	var all []Entry
	for _, typ := range kernel.GGMLTypes() {
		data := make([]byte, typ.Bytes(rows, cols))
		for i := range data {
			data[i] = byte(i*37) & 0x3f // no exponent is that of an infinity
		}
		p, err := kernel.NewGGML(typ, rows, cols, data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Entry{Level: typ.String(), Weights: p})
	}
	put(t, b, unitName, all...)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, e := range all {
		same(t, b, unitName, e.Level, e.Weights)
	}
}
