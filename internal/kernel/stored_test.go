package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// TestDecodeRows decodes matrices of every form and many shapes, whose parts end where memory ends, to places of every alignment, in
// every variant.
func TestDecodeRows(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		check := func(p Packed, want []float32) {
			rows, cols := p.Shape()
			parts := p.Parts()
			for i := range parts {
				parts[i].Data = fenced(t, parts[i].Data)
			}
			q, err := Unpack(p.Format(), rows, cols, parts)
			if err != nil {
				t.Fatal(err)
			}
			first := r.IntN(rows)
			n := 1 + r.IntN(rows-first)
			for _, span := range [][2]int{{0, rows}, {first, n}, {rows - 1, 1}} {
				dst, intact := guarded(span[1]*cols, r.IntN(16))
				q.DecodeRows(span[0], span[1], dst)
				requireSame(t, fmt.Sprintf("%s %dx%d, rows from %d on", p.Format(), rows, cols, span[0]), dst, want[span[0]*cols:][:len(dst)])
				intact(t)
			}
		}
		for i := range 200 {
			rows, cols := 1+r.IntN(6), 1+r.IntN(300)
			if i%3 == 0 {
				cols = 16 * (1 + r.IntN(20))
			}
			b, want := randomBitmask(r, rows, cols, []float64{0, 0.3, 0.5, 0.97, 1}[r.IntN(5)], r.IntN(2) == 0)
			check(b, want)
			for bits := 2; bits <= 8; bits++ {
				group := []int{0, 1, 5, 8, 16, 32, 48, 64, 128}[r.IntN(9)]
				g, want := randomGrouped(r, rows, cols, Layout{bits, group, r.IntN(2) == 0})
				check(g, want)
			}
		}
	})
}

// TestCodesEveryValue decodes every code with every zero.
func TestCodesEveryValue(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		for bits := 2; bits <= 8; bits++ {
			n := 1 << bits
			codes, zeros, scales := make([]uint8, n*n), make([]uint8, n*n/16+1), make([]uint16, n*n/16+1)
			rows, cols := n, n
			if n < 16 {
				rows, cols = n*n/16, 16
			}
			groups := rows * cols / 16
			for i := range codes {
				codes[i] = uint8(i % n)
			}
			for k := range groups {
				zeros[k] = uint8(k * 16 / cols * n / rows)
				scales[k] = EncodeF16(0x1.004p-3)
			}
			g, err := PackGrouped(rows, cols, Layout{Bits: bits, Group: 16}, codes, scales[:groups], zeros[:groups])
			if err != nil {
				t.Fatal(err)
			}
			got := make([]float32, rows*cols)
			g.DecodeRows(0, rows, got)
			for i, v := range got {
				if want := 0x1.004p-3 * float32(int(codes[i])-int(zeros[i/16])); v != want {
					t.Fatalf("%d bits: code %d with zero %d is %v, want %v", bits, codes[i], zeros[i/16], v, want)
				}
			}
		}
	})
}

// TestHalves decodes every number of 16 bits, and rounds numbers of every kind.
func TestHalves(t *testing.T) {
	every := make([]byte, 2<<16)
	f16, bf16 := make([]float32, 1<<16), make([]float32, 1<<16)
	for h := range 1 << 16 {
		binary.LittleEndian.PutUint16(every[2*h:], uint16(h))
		f16[h], bf16[h] = DecodeF16(uint16(h)), DecodeBF16(uint16(h))
	}
	eachVariant(t, func(t *testing.T) {
		for n := range 70 {
			for _, first := range []int{0, 1, 0x3c00, 0xfbf0, 1<<16 - n} {
				if first+n > 1<<16 {
					continue
				}
				src := fenced(t, every[2*first:2*(first+n)])
				dst, intact := guarded(n, n%5)
				DecodeF16s(dst, src)
				requireSame(t, "DecodeF16s", dst, f16[first:first+n])
				DecodeBF16s(dst, src)
				requireSame(t, "DecodeBF16s", dst, bf16[first:first+n])
				intact(t)
			}
		}
		got := make([]float32, 1<<16)
		DecodeF16s(got, every)
		requireSame(t, "DecodeF16s", got, f16)
		DecodeBF16s(got, every)
		requireSame(t, "DecodeBF16s", got, bf16)

		r := newSource(13)
		for n := range 70 {
			src, _ := guarded(n, n%3)
			for i := range src {
				switch i % 4 {
				case 0:
					src[i] = math.Float32frombits(r.Uint32())
				case 1: // halfway between two numbers, or beside it
					src[i] = math.Float32frombits(math.Float32bits(f16[r.IntN(1<<16)]) + 0xfff + uint32(r.IntN(3)))
				case 2: // subnormal
					src[i] = float32((r.Float64() - 0.5) * 0x1p-13)
				default:
					src[i] = float32(r.NormFloat64())
				}
			}
			want := make([]float32, n)
			for i, x := range src {
				want[i] = DecodeF16(EncodeF16(x))
			}
			dst, intact := guarded(n, n%7)
			RoundF16s(dst, src)
			requireSame(t, "RoundF16s", dst, want)
			intact(t)
			RoundF16s(src, src)
			requireSame(t, "RoundF16s in place", src, want)
		}
	})
}

func TestDecodeQ4_1(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		r := newSource(14)
		for blocks := range 12 {
			src := make([]byte, 20*blocks)
			for i := range src {
				src[i] = byte(r.Uint32())
			}
			var want []float32
			for b := src; len(b) > 0; b = b[20:] {
				d, m := DecodeF16(binary.LittleEndian.Uint16(b)), DecodeF16(binary.LittleEndian.Uint16(b[2:]))
				for j := range 32 {
					q := b[4+j%16] >> (j / 16 * 4) & 15
					want = append(want, float32(d*float32(q))+m)
				}
			}
			dst, intact := guarded(32*blocks, blocks%6)
			DecodeQ4_1(dst, fenced(t, src))
			requireSame(t, "DecodeQ4_1", dst, want)
			intact(t)
		}
	})
}

func TestStoredShapes(t *testing.T) {
	mustPanic(t, "binary16 numbers", func() { DecodeF16s(make([]float32, 3), make([]byte, 5)) })
	mustPanic(t, "bfloat16 numbers", func() { DecodeBF16s(make([]float32, 3), make([]byte, 5)) })
	mustPanic(t, "part of a block", func() { DecodeQ4_1(make([]float32, 33), make([]byte, 100)) })
	mustPanic(t, "short block", func() { DecodeQ4_1(make([]float32, 32), make([]byte, 19)) })
	mustPanic(t, "lengths", func() { RoundF16s(make([]float32, 3), make([]float32, 4)) })
	mustPanic(t, "row-major", func() { RowMajor(make([]float32, 33), make([]float32, 32), 33, 1) })
}

func TestRowMajorUndoesPack(t *testing.T) {
	r := newSource(15)
	for _, s := range [][2]int{{1, 1}, {31, 7}, {32, 16}, {33, 17}, {64, 48}, {95, 130}} {
		rows, cols := s[0], s[1]
		want := make([]float32, rows*cols)
		r.normal(want, 1)
		p := NewPanels(rows, cols)
		p.Pack(0, want, rows)
		got, intact := guarded(rows*cols, 3)
		RowMajor(got, p.Data, rows, cols)
		requireSame(t, fmt.Sprintf("%dx%d", rows, cols), got, want)
		intact(t)
	}
}

func BenchmarkStored(b *testing.B) {
	const n = 1 << 16
	dst, src := make([]float32, n), make([]byte, 2*n)
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"F16", func() { DecodeF16s(dst, src) }},
		{"BF16", func() { DecodeBF16s(dst, src) }},
		{"Q4_1", func() { DecodeQ4_1(dst, src) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				c.f()
			}
		})
	}
}
