package quant

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/paretopress/paretopress/internal/kernel"
)

// reads /tmp/ggml/w.bin: rows, cols, w float32, importance float32
func TestZZ(t *testing.T) {
	data, err := os.ReadFile("/tmp/ggml/w.bin")
	if err != nil {
		t.Skip()
	}
	rows, cols := int(binary.LittleEndian.Uint32(data)), int(binary.LittleEndian.Uint32(data[4:]))
	f := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		data = data[4*n:]
		return out
	}
	data = data[8:]
	w := f(rows * cols)
	h := f(cols)
	imp := make([]float64, cols)
	for i := range imp {
		imp[i] = float64(h[i])
	}
	for _, typ := range kernel.GGMLTypes() {
		for _, im := range [][]float64{nil, imp} {
			q := newBlocks(typ, rows, cols, im)
			start := time.Now()
			q.plain(w)
			el := time.Since(start)
			if q.err != nil {
				t.Fatal(q.err)
			}
			name := fmt.Sprintf("/tmp/ggml/%v-%v.out", typ, im != nil)
			os.WriteFile(name, q.data, 0o644)
			t.Log(typ, im != nil, el)
		}
	}
}
