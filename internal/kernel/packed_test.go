package kernel

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomBitmask returns a matrix with about the given share of weights removed, and what it decodes to.
func randomBitmask(r *rand.Rand, rows, cols int, sparsity float64, bf16 bool) (*Bitmask, []float32) {
	w := make([]float32, rows*cols)
	keep := make([]bool, len(w))
	want := make([]float32, len(w))
	for i := range w {
		w[i] = float32(r.NormFloat64() * math.Exp2(float64(r.IntN(30)-25)))
		if keep[i] = r.Float64() >= sparsity; keep[i] {
			want[i] = DecodeF16(EncodeF16(w[i]))
			if bf16 {
				want[i] = DecodeBF16(EncodeBF16(w[i]))
			}
		}
	}
	b, err := PackBitmask(rows, cols, w, keep, bf16)
	if err != nil {
		panic(err)
	}
	return b, want
}

// randomGrouped returns a matrix of random codes, scales and zeros, and what it decodes to.
func randomGrouped(r *rand.Rand, rows, cols int, l Layout) (*Grouped, []float32) {
	groups := l.Groups(cols)
	codes := make([]uint8, rows*cols)
	scales := make([]uint16, rows*groups)
	var zeros []uint8
	for i := range codes {
		codes[i] = uint8(r.IntN(1 << l.Bits))
	}
	for i := range scales {
		scales[i] = EncodeF16(float32(math.Exp2(8*r.Float64() - 12)))
	}
	if !l.Symmetric {
		zeros = make([]uint8, len(scales))
		for i := range zeros {
			zeros[i] = uint8(r.IntN(1 << l.Bits))
		}
	}
	g, err := PackGrouped(rows, cols, l, codes, scales, zeros)
	if err != nil {
		panic(err)
	}
	want := make([]float32, len(codes))
	for i := range want {
		k := i/cols*groups + i%cols/l.Span(cols)
		zero := 1 << (l.Bits - 1)
		if zeros != nil {
			zero = int(zeros[k])
		}
		want[i] = DecodeF16(scales[k]) * float32(int(codes[i])-zero)
	}
	return g, want
}

// eachPacked calls f with matrices of all forms and many shapes.
func eachPacked(t *testing.T, f func(t *testing.T, p Packed, want []float32)) {
	shapes := [][2]int{{1, 1}, {1, 7}, {3, 8}, {2, 9}, {5, 63}, {4, 64}, {3, 65}, {2, 130}, {7, 96}, {33, 129}}
	r := rand.New(rand.NewPCG(3, 4))
	for _, s := range shapes {
		for _, bf16 := range []bool{false, true} {
			for _, sparsity := range []float64{0, 0.5, 0.9, 1} {
				p, want := randomBitmask(r, s[0], s[1], sparsity, bf16)
				t.Run(fmt.Sprintf("%s/%dx%d/%v", p.Format(), s[0], s[1], sparsity), func(t *testing.T) { f(t, p, want) })
			}
		}
		for bits := 2; bits <= 8; bits++ {
			for _, group := range []int{0, 1, 5, 8, 32, 64} {
				p, want := randomGrouped(r, s[0], s[1], Layout{bits, group, r.IntN(2) == 0})
				t.Run(fmt.Sprintf("%s/%dx%d", p.Format(), s[0], s[1]), func(t *testing.T) { f(t, p, want) })
			}
		}
	}
	for _, typ := range GGMLTypes() {
		for _, s := range [][2]int{{1, 1}, {5, 2}} {
			p := randomGGML(r, typ, s[0], s[1])
			want := make([]float32, p.rows*p.cols)
			typ.Decode(want, p.data)
			t.Run(fmt.Sprintf("%s/%dx%d", p.Format(), p.rows, p.cols), func(t *testing.T) { f(t, p, want) })
		}
	}
}

func TestPackedDecodesWhatWasPacked(t *testing.T) {
	eachPacked(t, func(t *testing.T, p Packed, want []float32) {
		rows, cols := p.Shape()
		for _, split := range [][]int{{0, rows}, {0, rows / 2, rows}, {0, rows / 3, rows - 1, rows}} {
			for i := range split[1:] {
				first, n := split[i], split[i+1]-split[i]
				dst := make([]float32, n*cols+1)
				dst[n*cols] = 77
				for k := range n * cols { // decoding overwrites
					dst[k] = float32(math.NaN())
				}
				p.DecodeRows(first, n, dst)
				if !slices.Equal(dst[:n*cols], want[first*cols:(first+n)*cols]) {
					t.Fatalf("rows %d to %d decode to\n%v, want\n%v", first, first+n, dst[:n*cols], want[first*cols:(first+n)*cols])
				}
				if dst[n*cols] != 77 {
					t.Fatal("wrote past the end")
				}
			}
		}
	})
}

func TestPackedPartsGiveTheMatrixBack(t *testing.T) {
	eachPacked(t, func(t *testing.T, p Packed, want []float32) {
		rows, cols := p.Shape()
		size := int64(0)
		for _, part := range p.Parts() {
			n := map[string]int{"U8": 1, "F16": 2, "BF16": 2}[part.Type]
			for _, d := range part.Shape {
				n *= d
			}
			if n != len(part.Data) {
				t.Errorf("%s of type %s and shape %v has %d bytes", part.Name, part.Type, part.Shape, len(part.Data))
			}
			size += int64(n)
		}
		if size != p.Bytes() {
			t.Errorf("parts have %d bytes, Bytes is %d", size, p.Bytes())
		}
		q, err := Unpack(p.Format(), rows, cols, p.Parts())
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, rows*cols)
		q.DecodeRows(0, rows, got)
		if !slices.Equal(got, want) || q.Format() != p.Format() || q.NNZ() != p.NNZ() || q.Bytes() != p.Bytes() {
			t.Fatalf("%s of %d bytes became %s of %d", p.Format(), p.Bytes(), q.Format(), q.Bytes())
		}
	})
}

// TestPackedSize compares with what the numbers take without any overhead.
func TestPackedSize(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, s := range [][2]int{{576, 1536}, {192, 576}, {31, 200}} {
		rows, cols := s[0], s[1]
		b, _ := randomBitmask(r, rows, cols, 0.7, false)
		n := float64(rows * cols)
		if ideal := n/8 + 2*float64(b.NNZ()); float64(b.Bytes()) > 1.05*ideal || b.Bytes() != BitmaskBytes(rows, cols, b.NNZ()) {
			t.Errorf("bitmask %dx%d: %d bytes, ideal %.0f", rows, cols, b.Bytes(), ideal)
		}
		for bits := 2; bits <= 8; bits++ {
			for _, group := range []int{0, 32, 64, 128} {
				for _, sym := range []bool{false, true} {
					l := Layout{bits, group, sym}
					g, _ := randomGrouped(r, rows, cols, l)
					perGroup := 16 + float64(bits)
					if sym {
						perGroup = 16
					}
					ideal := (n*float64(bits) + float64(rows*l.Groups(cols))*perGroup) / 8
					if float64(g.Bytes()) > 1.01*ideal || g.Bytes() != l.Bytes(rows, cols) {
						t.Errorf("%v %dx%d: %d bytes, ideal %.0f", l, rows, cols, g.Bytes(), ideal)
					}
				}
			}
		}
	}
}

func TestPackedRefusesWhatCannotBe(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	b, _ := randomBitmask(r, 3, 13, 0.5, false)
	g, _ := randomGrouped(r, 3, 13, Layout{3, 4, false})
	k := randomGGML(r, Q4K, 2, 1)
	cut := func(p Packed, i, by int) []Part {
		parts := slices.Clone(p.Parts())
		parts[i].Data = parts[i].Data[:len(parts[i].Data)-by]
		return parts
	}
	set := func(p Packed, i, at int, v ...byte) []Part {
		parts := slices.Clone(p.Parts())
		parts[i].Data = bytes.Clone(parts[i].Data)
		copy(parts[i].Data[at:], v)
		return parts
	}
	for name, c := range map[string]struct {
		format     string
		rows, cols int
		parts      []Part
	}{
		"unknown form":         {"bitmap", 3, 13, b.Parts()},
		"no rows":              {b.Format(), 0, 13, b.Parts()},
		"negative columns":     {b.Format(), 3, -13, b.Parts()},
		"huge":                 {b.Format(), math.MaxInt, math.MaxInt, b.Parts()},
		"other shape":          {b.Format(), 3, 17, b.Parts()},
		"short mask":           {b.Format(), 3, 13, cut(b, 0, 1)},
		"short values":         {b.Format(), 3, 13, cut(b, 1, 2)},
		"odd values":           {b.Format(), 3, 13, cut(b, 1, 1)},
		"missing part":         {b.Format(), 3, 13, b.Parts()[:1]},
		"wrong type":           {"bitmask-bf16", 3, 13, b.Parts()},
		"infinite value":       {b.Format(), 3, 13, set(b, 1, 0, 0, 0x7c)},
		"bit after the row":    {b.Format(), 3, 13, set(b, 0, 1, 0xff)},
		"short codes":          {g.Format(), 3, 13, cut(g, 0, 1)},
		"short scales":         {g.Format(), 3, 13, cut(g, 1, 2)},
		"short zeros":          {g.Format(), 3, 13, cut(g, 2, 1)},
		"NaN scale":            {g.Format(), 3, 13, set(g, 1, 2, 1, 0x7e)},
		"no zeros":             {g.Format(), 3, 13, g.Parts()[:2]},
		"zeros though unasked": {g.Format() + "-sym", 3, 13, g.Parts()},
		"1 bit":                {"grouped-1b-g4", 3, 13, g.Parts()},
		"9 bits":               {"grouped-9b-g4", 3, 13, g.Parts()},
		"group 0":              {"grouped-3b-g0", 3, 13, g.Parts()},
		"negative group":       {"grouped-3b-g-4", 3, 13, g.Parts()},
		"leading zero":         {"grouped-3b-g04", 3, 13, g.Parts()},
		"unknown ggml type":    {"ggml-q4_k", 2, 256, k.Parts()},
		"no ggml type":         {"ggml-", 2, 256, k.Parts()},
		"short blocks":         {k.Format(), 2, 256, cut(k, 0, 1)},
		"part of a block":      {k.Format(), 4, 128, k.Parts()},
		"infinite dmin":        {k.Format(), 2, 256, set(k, 0, 146, 0, 0x7c)},
		"blocks of another":    {"ggml-q5_K", 2, 256, k.Parts()},
		"huge group":           {"grouped-3b-g99999999999999999999", 3, 13, g.Parts()},
	} {
		if p, err := Unpack(c.format, c.rows, c.cols, c.parts); err == nil || p != nil {
			t.Errorf("%s: got %v, %v", name, p, err)
		}
	}
}

// FuzzUnpack checks that a matrix that Unpack accepts can be decoded.
func FuzzUnpack(f *testing.F) {
	f.Add("bitmask-f16", 2, 9, []byte{1, 1, 2, 0}, []byte{0, 1, 2, 3, 4, 5}, []byte{})
	f.Add("grouped-3b-g4", 2, 8, []byte{1, 2, 3, 4, 5, 6}, []byte{0, 1, 2, 3, 4, 5, 6, 7}, []byte{1, 2})
	f.Add("ggml-mxfp4", 1, 32, []byte("17 bytes of block"), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, format string, rows, cols int, a, b, c []byte) {
		values := "F16"
		if format == "bitmask-bf16" {
			values = "BF16"
		}
		parts := []Part{{Name: "bitmask", Type: "U8", Data: a}, {Name: "values", Type: values, Data: b}}
		if len(format) > 7 && format[:7] == "grouped" {
			parts = []Part{{Name: "codes", Type: "U8", Data: a}, {Name: "scales", Type: "F16", Data: b}}
			if len(c) > 0 {
				parts = append(parts, Part{Name: "zeros", Type: "U8", Data: c})
			}
		}
		if strings.HasPrefix(format, "ggml") {
			parts = []Part{{Name: "blocks", Type: "U8", Data: a}}
		}
		p, err := Unpack(format, rows, cols, parts)
		if err != nil {
			return
		}
		dst := make([]float32, rows*cols)
		p.DecodeRows(0, rows, dst)
		for i, v := range dst {
			if v-v != 0 {
				t.Fatalf("weight %d is %v", i, v)
			}
		}
	})
}

func BenchmarkDecodeRows(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 10))
	const rows, cols = 576, 1536
	w := make([]float32, rows*cols)
	keep := make([]bool, len(w))
	for i := range w {
		w[i] = float32(0.05 * r.NormFloat64())
		keep[i] = math.Abs(float64(w[i])) > 0.034 // about half
	}
	mask, err := PackBitmask(rows, cols, w, keep, false)
	if err != nil {
		b.Fatal(err)
	}
	packed := []Packed{mask}
	for _, bits := range []int{2, 3, 4, 8} {
		g, _ := randomGrouped(r, rows, cols, Layout{bits, 64, false})
		packed = append(packed, g)
	}
	dst := make([]float32, rows*cols)
	for _, p := range packed {
		b.Run(p.Format(), func(b *testing.B) {
			b.SetBytes(4 * rows * cols)
			for b.Loop() {
				p.DecodeRows(0, rows, dst)
			}
		})
		// 32 rows at a time into panels: what the switch of a unit to another level costs.
		b.Run(p.Format()+"/panels", func(b *testing.B) {
			panels := NewPanels(rows, cols)
			b.SetBytes(4 * rows * cols)
			for b.Loop() {
				for first := 0; first < rows; first += PanelWidth {
					p.DecodeRows(first, PanelWidth, dst)
					panels.Pack(first, dst, PanelWidth)
				}
			}
		})
		b.Run(p.Format()+"/panels-bf16", func(b *testing.B) {
			panels := NewPanelsBF16(rows, cols)
			b.SetBytes(4 * rows * cols)
			for b.Loop() {
				for first := 0; first < rows; first += PanelWidth {
					p.DecodeRows(first, PanelWidth, dst)
					panels.Pack(first, dst, PanelWidth)
				}
			}
		})
	}
}
