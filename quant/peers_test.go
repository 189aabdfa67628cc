package quant

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
)

// TestPeerBlocks rounds the matrices of a folder to every type, for bench/peers/quantizer_errors.py to compare: list.json has their names and shapes, NAME.f32
// their weights and NAME.importance what their columns weigh. The blocks go to NAME.TYPE.
func TestPeerBlocks(t *testing.T) {
	dir := os.Getenv("PARETOPRESS_QUANTIZER_DIR")
	if dir == "" {
		t.Skip("PARETOPRESS_QUANTIZER_DIR names no folder of matrices: see bench/peers/quantizer_errors.py")
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	numbers := func(name string) []float32 {
		data := read(name)
		x := make([]float32, len(data)/4)
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		return x
	}
	var list []struct {
		Name       string
		Rows, Cols int
	}
	if err := json.Unmarshal(read("list.json"), &list); err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		w, importance := numbers(m.Name+".f32"), make([]float64, m.Cols)
		for j, v := range numbers(m.Name + ".importance") {
			importance[j] = float64(v)
		}
		for _, typ := range kernel.GGMLTypes() {
			if m.Cols%typ.Block() != 0 {
				continue
			}
			q := &blocks{form: forms[typ], rows: m.Rows, cols: m.Cols, size: typ.Block(), data: make([]byte, typ.Bytes(m.Rows, m.Cols)), importance: importance}
			q.plain(w)
			if q.err != nil {
				t.Fatal(q.err)
			}
			if err := os.WriteFile(filepath.Join(dir, m.Name+"."+typ.String()), q.data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
