package kernel

import (
	"fmt"
	"testing"
)

// BenchmarkMatMulBF16 is BenchmarkMatMul for bfloat16, with two larger shapes.
func BenchmarkMatMulBF16(b *testing.B) {
	before := Active()
	defer func() {
		if err := Use(before); err != nil {
			b.Fatal(err)
		}
	}()
	shapes := append(benchShapes[:len(benchShapes):len(benchShapes)], []struct{ m, n, k int }{{128, 576, 576}, {512, 4096, 4096}, {512, 4096, 14336}}...)
	for _, name := range Variants() {
		for _, s := range shapes {
			if name == "go" && s.n > 192 {
				continue // minutes
			}
			b.Run(fmt.Sprintf("%s/%dx%dx%d", name, s.m, s.n, s.k), func(b *testing.B) {
				if err := Use(name); err != nil {
					b.Fatal(err)
				}
				r := newSource(1)
				w := NewPanelsBF16(s.n, s.k)
				row := make([]float32, s.k)
				for i := range w.Data {
					w.Data[i] = EncodeBF16(r.Float32() - 0.5)
				}
				a := make([]uint16, s.m*s.k)
				for i := range s.m {
					r.normal(row, 1)
					RoundBF16(a[i*s.k:][:s.k], row)
				}
				const step = 8
				ldc := min(s.n, 2048)
				c := make([]float32, s.m*ldc)
				for b.Loop() {
					for p := 0; p < w.Panels(); p += step {
						v := w.View(p, min(p+step, w.Panels()))
						MatMulBF16(c[p*PanelWidth%ldc:], ldc, a, s.k, s.m, &v, 0, v.Panels(), false)
					}
				}
				b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

func BenchmarkPackBF16(b *testing.B) {
	for _, s := range benchShapes[:4] {
		b.Run(fmt.Sprintf("%dx%d", s.n, s.k), func(b *testing.B) {
			src := make([]float32, s.n*s.k)
			w := NewPanelsBF16(s.n, s.k)
			b.SetBytes(int64(4 * len(src)))
			for b.Loop() {
				w.Pack(0, src, s.n)
			}
		})
	}
}

func BenchmarkRoundBF16(b *testing.B) {
	const n = 1536
	src, dst := make([]float32, n), make([]uint16, n)
	b.SetBytes(4 * n)
	for b.Loop() {
		RoundBF16(dst, src)
	}
}
