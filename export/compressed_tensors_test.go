package export

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/safetensors"
)

// goldenTensors reads what bench/peers/golden_compressed_tensors.py wrote.
func goldenTensors(t *testing.T) map[string]safetensors.Tensor {
	t.Helper()
	data, err := os.ReadFile("../engine/testdata/compressed/cases.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	_, tensors, err := safetensors.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]safetensors.Tensor{}
	for _, x := range tensors {
		all[x.Name] = x
	}
	return all
}

// TestCompressedIsWhatThePackagePacks, bit for bit.
func TestCompressedIsWhatThePackagePacks(t *testing.T) {
	golden := goldenTensors(t)
	cases := 0
	for name, codes := range golden {
		unit, ok := strings.CutSuffix(name, ".codes")
		if !ok {
			continue
		}
		cases++
		rows, cols := codes.Shape[0], codes.Shape[1]
		scales := golden[unit+".weight_scale"]
		var w kernel.Packed
		var err error
		if scales.Type == "BF16" {
			w, err = kernel.NewFP8(rows, cols, codes.Data, scales.Data)
		} else {
			l := kernel.Layout{Bits: 4, Symmetric: true}
			if scales.Shape[1] > 1 {
				l.Group = cols / scales.Shape[1]
			}
			if x, ok := golden[unit+".weight_packed"]; !ok || 4*x.Shape[1] > cols*6/8 {
				l.Bits = 8
			}
			var zeros []uint8
			if z, ok := golden[unit+".zeros"]; ok {
				l.Symmetric, zeros = false, z.Data
			}
			half := make([]uint16, len(scales.Data)/2)
			for i := range half {
				half[i] = binary.LittleEndian.Uint16(scales.Data[2*i:])
			}
			w, err = kernel.PackGrouped(rows, cols, l, codes.Data, half, zeros)
		}
		if err != nil {
			t.Fatal(err)
		}
		s, ok := schemeOf(w, unit == "int8")
		if !ok {
			t.Errorf("%s has no scheme", unit)
			continue
		}
		arrays := compressedArrays(unit, w, s)
		for _, a := range arrays {
			want, ok := golden[a.name]
			var got bytes.Buffer
			if err := a.write(&got); err != nil {
				t.Fatal(err)
			}
			if !ok || a.dtype != want.Type || len(a.shape) != len(want.Shape) || a.bytes() != int64(len(want.Data)) || !bytes.Equal(got.Bytes(), want.Data) {
				t.Errorf("%s is %s %v, want %s %v; bytes equal: %v", a.name, a.dtype, a.shape, want.Type, want.Shape, bytes.Equal(got.Bytes(), want.Data))
			}
		}
		stored := 0
		for name := range golden {
			if strings.HasPrefix(name, unit+".weight") {
				stored++
			}
		}
		if stored != len(arrays) {
			t.Errorf("%s has %d tensors, want %d", unit, len(arrays), stored)
		}
	}
	if cases != 11 {
		t.Errorf("%d cases, want 11", cases)
	}
}

// TestSchemes: what has no scheme goes out dense.
func TestSchemes(t *testing.T) {
	make4 := func(l kernel.Layout, cols int) kernel.Packed {
		n := l.Groups(cols)
		zeros := make([]uint8, n)
		if l.Symmetric {
			zeros = nil
		}
		p, err := kernel.PackGrouped(1, cols, l, make([]uint8, cols), make([]uint16, n), zeros)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, c := range map[string]struct {
		w    kernel.Packed
		want scheme
		ok   bool
	}{
		"groups":   {make4(kernel.Layout{Bits: 4, Group: 32}, 64), scheme{format: formatPacked, bits: 4, group: 32}, true},
		"row":      {make4(kernel.Layout{Bits: 8, Symmetric: true}, 64), scheme{format: formatPacked, bits: 8, symmetric: true}, true},
		"as long":  {make4(kernel.Layout{Bits: 4, Group: 64}, 64), scheme{format: formatPacked, bits: 4, group: 64}, true},
		"longer":   {make4(kernel.Layout{Bits: 4, Group: 128}, 64), scheme{format: formatPacked, bits: 4}, true},
		"3 bits":   {make4(kernel.Layout{Bits: 3, Group: 32}, 64), scheme{}, false},
		"uneven":   {make4(kernel.Layout{Bits: 4, Group: 32}, 72), scheme{}, false},
		"6 bits":   {make4(kernel.Layout{Bits: 6}, 64), scheme{}, false},
		"8 groups": {make4(kernel.Layout{Bits: 8, Group: 32, Symmetric: true}, 64), scheme{format: formatPacked, bits: 8, group: 32, symmetric: true}, true},
	} {
		if got, ok := schemeOf(c.w, false); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, ok, c.want, c.ok)
		}
	}
}
