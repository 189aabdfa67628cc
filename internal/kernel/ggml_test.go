package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// randomGGML returns a matrix of random blocks with finite scales.
func randomGGML(r *rand.Rand, t GGMLType, rows, blocks int) *GGML {
	data := make([]byte, t.Bytes(rows, blocks*t.Block()))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	for at := 0; at < len(data); at += t.BlockBytes() {
		for _, h := range t.form().halves {
			data[at+h+1] &^= 0x40
		}
		if t == MXFP4 {
			data[at] %= maxE8M0 + 1
		}
	}
	g, err := NewGGML(t, rows, blocks*t.Block(), data)
	if err != nil {
		panic(err)
	}
	return g
}

// golden reads random blocks of a type and what the gguf package for Python makes of them (testdata/README.md).
func golden(t *testing.T, typ GGMLType) (src []byte, want []float32) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "ggml", strings.ToUpper(typ.String())+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	one := typ.BlockBytes() + 4*typ.Block()
	blocks := len(data) / one
	if blocks == 0 || len(data)%one != 0 {
		t.Fatalf("%d bytes are not whole blocks", len(data))
	}
	src = data[:blocks*typ.BlockBytes()]
	for b := data[len(src):]; len(b) > 0; b = b[4:] {
		want = append(want, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return src, want
}

// TestGGMLDecode compares every type with the gguf package, bit for bit, whatever rows are asked for.
func TestGGMLDecode(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		for _, typ := range GGMLTypes() {
			src, want := golden(t, typ)
			rows := len(want) / typ.Block()
			g, err := NewGGML(typ, rows, typ.Block(), fenced(t, src))
			if err != nil {
				t.Fatal(err)
			}
			for first := range rows {
				dst, intact := guarded((rows-first)*typ.Block(), first%5)
				g.DecodeRows(first, rows-first, dst)
				for i, w := range want[first*typ.Block():] {
					if math.Float32bits(dst[i]) != math.Float32bits(w) {
						t.Fatalf("%v: weight %d from row %d: %v, want %v", typ, i, first, dst[i], w)
					}
				}
				intact(t)
			}
		}
	})
}

func TestGGMLDecodeAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, typ := range GGMLTypes() {
		g := randomGGML(r, typ, 2, 2)
		dst := make([]float32, 2*g.cols)
		if n := testing.AllocsPerRun(10, func() { g.DecodeRows(0, 2, dst) }); n != 0 {
			t.Errorf("%v: %v allocations", typ, n)
		}
	}
}

// TestGGMLPack packs random numbers and compares what the block decodes to with the definitions.
func TestGGMLPack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, typ := range GGMLTypes() {
		for range 20 {
			b := randomBlock(r, typ)
			data := make([]byte, typ.BlockBytes())
			typ.Pack(data, b)
			got := make([]float32, typ.Block())
			typ.Decode(got, data)
			for i, g := range got {
				if want := blockValue(typ, b, i); math.Float32bits(g) != math.Float32bits(want) {
					t.Fatalf("%v: weight %d is %v, want %v", typ, i, g, want)
				}
			}
		}
	}
}

// randomBlock fills every place of a block to its last bit.
func randomBlock(r *rand.Rand, typ GGMLType) *GGMLBlock {
	codeBits := map[GGMLType]int{Q2K: 2, Q3K: 3, Q5_0: 5, Q5_1: 5, Q5K: 5, Q6K: 6, Q8_0: 8}[typ]
	if codeBits == 0 {
		codeBits = 4
	}
	scaleBits := map[GGMLType]int{Q2K: 4, Q6K: 8}[typ]
	if scaleBits == 0 {
		scaleBits = 6
	}
	b := &GGMLBlock{Scale: EncodeF16(r.Float32() - 0.5), Min: EncodeF16(r.Float32() - 0.5)}
	if typ == MXFP4 {
		b.Scale = uint16(r.IntN(maxE8M0 + 1))
	}
	for i := range b.Scales {
		b.Scales[i], b.Mins[i] = uint8(r.IntN(1<<scaleBits)), uint8(r.IntN(1<<scaleBits))
	}
	for i := range b.Codes {
		b.Codes[i] = uint8(r.IntN(1 << codeBits))
	}
	return b
}

// blockValue is what weight i of a block is worth, by the definition of its type.
func blockValue(typ GGMLType, b *GGMLBlock, i int) float32 {
	d, m, q := DecodeF16(b.Scale), DecodeF16(b.Min), float32(b.Codes[i])
	affine := func(sub int) float32 {
		return float32(float32(d*float32(b.Scales[i/sub]))*q) - float32(m*float32(b.Mins[i/sub]))
	}
	switch typ {
	case Q4_0:
		return d * (q - 8)
	case Q5_0:
		return d * (q - 16)
	case Q4_1, Q5_1:
		return float32(d*q) + m
	case Q8_0:
		return d * float32(int8(b.Codes[i]))
	case IQ4NL:
		return d * float32(IQ4NLValues[b.Codes[i]])
	case MXFP4:
		return HalfE8M0(uint8(b.Scale)) * float32(MXFP4Values[b.Codes[i]])
	case Q2K:
		return affine(16)
	case Q4K, Q5K:
		return affine(32)
	case Q3K:
		return float32(d*(float32(b.Scales[i/16])-32)) * (q - 4)
	case Q6K:
		return float32(d*float32(int8(b.Scales[i/16]))) * (q - 32)
	}
	panic(typ)
}

func TestGGMLNames(t *testing.T) {
	var names []string
	for _, typ := range GGMLTypes() {
		names = append(names, typ.String())
		if got, ok := ParseGGMLType(typ.String()); !ok || got != typ {
			t.Errorf("%v parses as %v, %v", typ, got, ok)
		}
	}
	want := []string{"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "iq4_nl", "mxfp4"}
	if !slices.Equal(names, want) {
		t.Errorf("types %v, want %v", names, want)
	}
	for _, name := range []string{"", "f32", "Q4_K", "q4_k", "q8_K", "iq4_xs"} {
		if got, ok := ParseGGMLType(name); ok {
			t.Errorf("%q parses as %v", name, got)
		}
	}
	for _, n := range []GGMLType{0, 1, 9, 30, 40, math.MaxUint32} {
		if n.Known() || !strings.Contains(n.String(), fmt.Sprint(uint32(n))) {
			t.Errorf("type %d is known as %v", uint32(n), n)
		}
	}
}

func TestNewGGMLRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, typ := range GGMLTypes() {
		data := randomGGML(r, typ, 2, 1).Data()
		for name, c := range map[string]struct {
			t          GGMLType
			rows, cols int
			data       []byte
			want       string
		}{
			"unknown type": {7777, 2, typ.Block(), data, "ggml type 7777"},
			"no rows":      {typ, 0, typ.Block(), nil, "shape"},
			"huge":         {typ, math.MaxInt, math.MaxInt, data, "shape"},
			"part block":   {typ, 2, typ.Block() + 1, data, "no whole blocks"},
			"short":        {typ, 2, typ.Block(), data[1:], "bytes, want"},
			"long":         {typ, 1, typ.Block(), data, "bytes, want"},
		} {
			if g, err := NewGGML(c.t, c.rows, c.cols, c.data); err == nil || g != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %s: got %v, %v", typ, name, g, err)
			}
		}
		bad := slices.Clone(data)
		at := typ.BlockBytes() // of the second block
		if typ == MXFP4 {
			bad[at] = maxE8M0 + 1
		} else {
			binary.LittleEndian.PutUint16(bad[at+typ.form().halves[0]:], 0x7c00)
		}
		if _, err := NewGGML(typ, 2, typ.Block(), bad); err == nil || !strings.Contains(err.Error(), "block 1") {
			t.Errorf("%v: an infinite scale gives %v", typ, err)
		}
	}
}

func BenchmarkGGMLDecode(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, typ := range GGMLTypes() {
		g := randomGGML(r, typ, 16, 2048/typ.Block())
		dst := make([]float32, 16*2048)
		b.Run(typ.String(), func(b *testing.B) {
			b.SetBytes(4 * 16 * 2048)
			for b.Loop() {
				g.DecodeRows(0, 16, dst)
			}
		})
	}
}
